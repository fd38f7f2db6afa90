"""The report's files: written when there is news, untouched when there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from made_scores import make_score
from pages import write_report
from probeline.disk import make_folder, publish
from probeline.errors import CannotWrite
from probeline.identity import digest
from probeline.report.model.content import ReportContent, ReportFigure
from probeline.report.write import Report
from probeline.results.score import SCORES, Score

ROWS = [make_score(n_test=60, class_names=("ants", "bees"), path=())]
MISSING = [("fine-tune", "probeline finetune")]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write two small files in place of figures, which take long to draw."""

    def draw(content: ReportContent) -> list[ReportFigure]:
        folder = content.folder / "figures"
        paths = [folder / name for name in ("accuracy.png", "cost.png")[: len(content.rows)]]
        make_folder(folder)
        for path in paths:
            publish(path, path.name.encode() * 20, replace=True)
        return [ReportFigure(path.stem, path, "Headline", "", "<svg></svg>") for path in paths]

    monkeypatch.setattr("probeline.report.figures.draw", draw)


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file()
    }


def run(folder: Path, scores: Sequence[Score] = ROWS) -> Report:
    return write_report(folder, scores, MISSING, more_conditions={"Feature caches": ["cache/a"]})


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    report = run(tmp_path)
    assert report.written
    names = {
        "report.md",
        "report.json",
        "report.csv",
        "index.html",
        *(f"figures/{path.name}" for path in report.figures),
    }
    assert set(state(tmp_path)) == names
    assert [path.name for path in report.figures] == ["accuracy.png"]
    text = report.markdown.read_text()
    for path in report.figures:
        assert f"](figures/{path.name})" in text
    record = json.loads(report.json.read_text())
    assert set(record["files"]) == names - {"report.json"}
    assert record["rows"][0]["method"] == "probe"


def test_a_second_report_touches_nothing(tmp_path: Path) -> None:
    first = run(tmp_path)
    before = state(tmp_path)
    second = run(tmp_path)
    assert not second.written
    assert replace(second, written=True) == first
    assert state(tmp_path) == before


def test_the_order_of_scores_is_no_news(tmp_path: Path) -> None:
    scores = [*ROWS, make_score("knn", n_test=60, class_names=("ants", "bees"))]
    run(tmp_path, scores)
    assert not run(tmp_path, scores[::-1]).written


def test_an_up_to_date_report_needs_neither_torch_nor_matplotlib(tmp_path: Path) -> None:
    run(tmp_path / "report")
    SCORES.save(tmp_path, ROWS[0])
    program = f"""
import sys
from pathlib import Path
from probeline.results.score import SCORES
from probeline.report.model.rows import blocks
from probeline.report.model.content import NotRun, ReportContent
from probeline.report.terminal import terminal_table
from probeline.report.write import write_report
scores, ignored = SCORES.load(Path({str(tmp_path)!r}))
terminal_table(blocks(scores))
report = write_report(
    ReportContent(
        blocks=blocks(scores),
        not_run=[NotRun(*pair) for pair in {MISSING!r}],
        more_conditions={{"Feature caches": ["cache/a"]}},
        folder=Path({str(tmp_path / "report")!r}),
    )
)
print(report.written, sorted({{"torch", "matplotlib", "sklearn", "jinja2"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "False []\n"


@pytest.mark.parametrize(
    "news",
    [
        ([make_score(n_test=60, class_names=("ants", "bees"), path=(), warm_seconds=9.0)], MISSING, ["cache/a"]),
        (ROWS, [], ["cache/a"]),
        (ROWS, MISSING, ["cache/b"]),
    ],
)
def test_news_are_written(tmp_path: Path, news: tuple[list[Score], list[tuple[str, str]], list[str]]) -> None:
    run(tmp_path)
    scores, missing, caches = news
    assert write_report(tmp_path, scores, missing, more_conditions={"Feature caches": caches}).written
    assert not write_report(tmp_path, scores, missing, more_conditions={"Feature caches": caches}).written


@pytest.mark.parametrize("name", ["report.md", "report.csv", "report.json", "index.html", "figures/accuracy.png"])
@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_a_damaged_report_is_made_anew(tmp_path: Path, name: str, damage: str) -> None:
    run(tmp_path)
    whole = {path: (tmp_path / path).read_bytes() for path in state(tmp_path)}
    if damage == "lost":
        (tmp_path / name).unlink()
    else:
        os.truncate(tmp_path / name, 100)
    assert run(tmp_path).written
    assert {path: (tmp_path / path).read_bytes() for path in state(tmp_path)} == whole


@pytest.mark.parametrize("text", ["", "[]", "null", '{"key": NaN}', '{"key": 1, "sha256": "x"}'])
def test_a_foreign_record_vouches_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    assert run(tmp_path).written


def test_an_edited_record_vouches_for_nothing(tmp_path: Path) -> None:
    report = run(tmp_path)
    record = json.loads(report.json.read_text())
    record["rows"][0]["top1"] = 1.0
    report.json.write_text(json.dumps(record))
    assert run(tmp_path).written


def test_figures_of_the_report_before_are_removed_and_no_others(tmp_path: Path) -> None:
    run(tmp_path, [*ROWS, make_score("knn", n_test=60, class_names=("ants", "bees"))])
    (tmp_path / "figures" / "mine.png").write_bytes(b"mine")
    (tmp_path / "notes.md").write_text("mine")
    assert (tmp_path / "figures" / "cost.png").exists()
    run(tmp_path)
    assert not (tmp_path / "figures" / "cost.png").exists()
    assert (tmp_path / "figures" / "mine.png").read_bytes() == b"mine"
    assert (tmp_path / "notes.md").read_text() == "mine"


def test_a_record_cannot_have_files_elsewhere_removed(tmp_path: Path) -> None:
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"precious")
    folder = tmp_path / "report"
    folder.mkdir()
    names = ["../victim.png", str(victim), "figures/../../victim.png", "figures"]
    record = {"key": "old", "files": dict.fromkeys(names, "")}
    (folder / "report.json").write_text(json.dumps({**record, "sha256": digest(record)}))
    run(folder)
    assert victim.read_bytes() == b"precious"


def test_without_scores_there_is_a_report_of_what_is_missing(tmp_path: Path) -> None:
    report = run(tmp_path, [])
    assert report.figures == ()
    assert "probeline finetune" in report.markdown.read_text()
    assert not run(tmp_path, []).written


def test_a_folder_that_cannot_be_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="cannot write"):
        run(tmp_path / "file")
