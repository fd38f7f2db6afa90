"""The report's files: written when there is news, untouched when there is none."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from made_records import make_curve
from made_scores import make_score
from pages import write_report
from probeline.errors import BadOption, CannotWrite
from probeline.identity import digest, digest_bytes
from probeline.report.write import Report
from probeline.results.score import SCORES, Score
from variants import slow_after

TWO = ("ants", "bees")
KNN = make_score("knn", n_test=60, class_names=TWO)
ROWS = [make_score(n_test=60, class_names=TWO, path=()), KNN]
MISSING = [("fine-tune", "probeline finetune")]


CURVE = make_curve()


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A report of two rows, which takes seconds to draw; tests may read it."""
    return run(tmp_path_factory.mktemp("complete"))


@pytest.fixture
def folder(complete: Report, tmp_path: Path) -> Path:
    """A copy of that report's folder."""
    return shutil.copytree(complete.markdown.parent, tmp_path / "report")


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with a single figure; tests may read it."""
    return run(tmp_path_factory.mktemp("curve"), [], curves=[CURVE]).markdown.parent


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file()
    }


def run(folder: Path, scores: Sequence[Score] = ROWS, **records: Any) -> Report:
    return write_report(folder, scores, MISSING, more_conditions={"Feature caches": ["cache/a"]}, **records)


def test_a_report_is_written_whole(complete: Report) -> None:
    assert complete.written
    names = {
        "report.md",
        "report.json",
        "report.csv",
        "index.html",
        *(f"figures/{path.name}" for path in complete.figures),
    }
    assert set(state(complete.markdown.parent)) == names
    assert "accuracy.png" in [path.name for path in complete.figures]
    text = complete.markdown.read_text()
    for path in complete.figures:
        assert f"](figures/{path.name})" in text
    record = json.loads(complete.json.read_text())
    assert set(record["files"]) == names - {"report.json"}
    assert record["rows"][0]["method"] == "probe"


def test_a_second_report_touches_nothing(complete: Report) -> None:
    before = state(complete.markdown.parent)
    second = run(complete.markdown.parent)
    assert not second.written
    assert replace(second, written=True) == complete
    assert state(complete.markdown.parent) == before


def test_the_order_of_scores_is_no_news(complete: Report) -> None:
    assert not run(complete.markdown.parent, ROWS[::-1]).written


def test_an_up_to_date_report_needs_neither_torch_nor_matplotlib(complete: Report, tmp_path: Path) -> None:
    for score in ROWS:
        SCORES.save(tmp_path, score)
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
        folder=Path({str(complete.markdown.parent)!r}),
    )
)
print(report.written, sorted({{"torch", "matplotlib", "sklearn", "jinja2"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "False []\n"


@pytest.mark.parametrize(("missing", "caches"), [([], ["cache/a"]), (MISSING, ["cache/b"])])
def test_other_changes_are_written(tmp_path: Path, missing: list[tuple[str, str]], caches: list[str]) -> None:
    run(tmp_path, [])
    assert write_report(tmp_path, [], missing, more_conditions={"Feature caches": caches}).written
    assert not write_report(tmp_path, [], missing, more_conditions={"Feature caches": caches}).written


@pytest.mark.parametrize("name", ["report.md", "report.csv", "report.json", "index.html", "figures/learning.png"])
@pytest.mark.parametrize("damage", slow_after(1, ["lost", "cut"]))
def test_a_damaged_report_is_written_again(curve: Path, tmp_path: Path, name: str, damage: str) -> None:
    copy = shutil.copytree(curve, tmp_path / "report")
    whole = {path: (copy / path).read_bytes() for path in state(copy)}
    if damage == "lost":
        (copy / name).unlink()
    else:
        os.truncate(copy / name, 100)
    assert run(copy, [], curves=[CURVE]).written
    assert {path: (copy / path).read_bytes() for path in state(copy)} == whole


@pytest.mark.parametrize("text", ["", "[]", "null", '{"key": NaN}', '{"key": 1, "sha256": "x"}'])
def test_a_foreign_record_is_no_proof(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.warns(UserWarning, match=r"put aside.*1 file, report\.json") if text else contextlib.nullcontext():
        assert run(tmp_path, []).written
    assert not run(tmp_path, []).written
    if text:
        assert (tmp_path / "report.json.bad").read_text() == text


def test_a_record_that_lists_nothing_is_no_proof(tmp_path: Path) -> None:
    path = run(tmp_path, []).json
    record = json.loads(path.read_text())
    del record["sha256"]
    for files in ({}, [], "x", {"report.md": 1}):
        forged = {**record, "files": files}
        path.write_text(json.dumps({**forged, "sha256": digest(forged)}))
        (tmp_path / "index.html").unlink()
        assert run(tmp_path, []).written
        assert (tmp_path / "index.html").is_file()


@pytest.mark.parametrize("name", ["figures", "figures/learning.png", "index.html", "report.json", "report.md"])
@pytest.mark.parametrize("leads", slow_after(1, ["to somebody's", "nowhere"]))
def test_nothing_is_written_through_a_link(name: str, leads: str, curve: Path, tmp_path: Path) -> None:
    copy, outside = shutil.copytree(curve, tmp_path / "report"), tmp_path / "outside"
    if leads == "nowhere":
        shutil.rmtree(copy / name) if name == "figures" else (copy / name).unlink()
    else:
        (copy / name).rename(outside)
        mine = outside / "mine.png" if name == "figures" else outside
        mine.write_bytes(b"mine")
    (copy / name).symlink_to(outside)
    (copy / "report.csv").write_text("the report is not up to date")
    before = state(tmp_path)
    with pytest.raises(BadOption, match=f"this is a link.*{re.escape(str(copy / name))} .*remove the link") as caught:
        run(copy, [], curves=[CURVE])
    assert "\n" not in str(caught.value)
    assert outside.exists() is (leads != "nowhere")
    if leads != "nowhere":
        assert mine.read_bytes() == b"mine"
    assert (copy / name).is_symlink()
    assert state(tmp_path) == before


def test_files_of_somebody_else_are_put_aside(tmp_path: Path) -> None:
    mine = {"index.html": b"<p>mine", "report.json": b'{"tests": 7}', "figures/learning.png": b"mine"}
    (tmp_path / "figures").mkdir()
    for name, data in mine.items():
        (tmp_path / name).write_bytes(data)
    with pytest.warns(UserWarning, match=r"put aside as \*\.bad in .*: 3 files, "):
        assert run(tmp_path, [], curves=[CURVE]).written
    assert {name: (tmp_path / f"{name}.bad").read_bytes() for name in mine} == mine
    assert not run(tmp_path, [], curves=[CURVE]).written


def test_a_stale_figure_that_has_changed_is_left(folder: Path) -> None:
    (folder / "figures" / "cost.png").write_bytes(b"edited")
    with pytest.warns(UserWarning, match=r"left in .*: 1 file, figures/cost\.png"):
        assert run(folder, [KNN]).written
    assert (folder / "figures" / "cost.png").read_bytes() == b"edited"
    assert not (folder / "figures" / "ladder.png").exists()


def test_an_edited_record_is_no_proof(tmp_path: Path) -> None:
    report = run(tmp_path, [])
    record = json.loads(report.json.read_text())
    record["verdict"] = ["All is well."]
    report.json.write_text(json.dumps(record))
    assert run(tmp_path, []).written


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"key":1' + "0" * 5000 + "}",
        '{"key":NaN}',
        '{"files":{"../x":"0"}}',
        '{"key":null}',
    ],
    ids=lambda text: text[:12],
)
def test_an_odd_record_of_the_previous_report_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text, encoding="utf-8")
    with pytest.warns(UserWarning, match="not of a report, so put aside"):
        assert run(tmp_path, []).written


@pytest.mark.parametrize(
    "files",
    [
        None,
        [],
        {"report.md": 3},
        {"figures/..": "0" * 64},
        {"figures/a/b.png": "0" * 64},
        {f"figures/{'x' * 300}.png": "0" * 64},
    ],
)
def test_a_sealed_record_of_a_report_names_files_of_a_report(files: object, tmp_path: Path) -> None:
    record = {"key": "x", "files": files}
    (tmp_path / "figures").mkdir()
    (tmp_path / "report.json").write_text(json.dumps({**record, "sha256": digest(record)}), encoding="utf-8")
    with pytest.warns(UserWarning, match="not of a report, so put aside"):
        assert run(tmp_path, []).written
    assert (tmp_path / "figures").is_dir()


def test_figures_of_the_previous_report_are_removed_and_no_others(folder: Path) -> None:
    (folder / "figures" / "mine.png").write_bytes(b"mine")
    (folder / "notes.md").write_text("mine")
    assert (folder / "figures" / "cost.png").exists()
    report = run(folder, [KNN])
    assert report.written
    assert not run(folder, [KNN]).written
    assert not (folder / "figures" / "cost.png").exists()
    assert set((folder / "figures").iterdir()) == {*report.figures, folder / "figures" / "mine.png"}
    assert (folder / "figures" / "mine.png").read_bytes() == b"mine"
    assert (folder / "notes.md").read_text() == "mine"


def test_a_record_cannot_have_files_elsewhere_removed(tmp_path: Path) -> None:
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"precious")
    folder = tmp_path / "report"
    folder.mkdir()
    names = ["../victim.png", str(victim), "figures/../../victim.png", "figures"]
    record = {"key": "0" * 64, "files": dict.fromkeys(names, digest_bytes(b"precious"))}
    (folder / "report.json").write_text(json.dumps({**record, "sha256": digest(record)}))
    run(folder, [])
    assert victim.read_bytes() == b"precious"


def test_without_scores_there_is_a_report_of_what_is_missing(tmp_path: Path) -> None:
    report = run(tmp_path, [])
    assert report.figures == ()
    assert "probeline finetune" in report.markdown.read_text()
    assert not run(tmp_path, []).written


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="cannot write"):
        run(tmp_path / "file", [])
