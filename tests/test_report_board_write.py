"""The board's files: what they hold, that they are left alone when up to date, and text of others in them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from made_boards import THREE, board_of, board_score, make_reports, save_scores
from pages import Element, parsed, table
from probeline.errors import BadOption
from probeline.identity import digest, digest_bytes
from probeline.report.board.answer import view
from probeline.report.board.cost import costs
from probeline.report.board.figures import cost, critical_difference
from probeline.report.board.terminal import board_table
from probeline.report.board.write import BoardFiles, write_board
from probeline.report.figures.sheet import default_look
from probeline.results.score import SCORES

HOSTILE = "x\u202e<script>alert(1)</script>|`=cmd()\x1b[31m\u200b$e^x$"


def write(reports: Path, **options: Any) -> BoardFiles:
    return write_board(board_of(reports, to=reports / "board", **options))


def page_of(files: BoardFiles) -> Element:
    return parsed(files.page.read_text(encoding="utf-8"))


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three data sets and nets with their board, which takes seconds to draw; tests may read it."""
    folder = make_reports(tmp_path_factory.mktemp("reports"))
    (folder / "alpha" / "index.html").write_text("<p>a report")
    write(folder)
    return folder


def test_a_board_is_written_whole(reports: Path) -> None:
    folder = reports / "board"
    names = {"board.md", "board.csv", "board.json", "index.html", "figures/critical-difference.png", "figures/cost.png"}
    if pytest.importorskip("pyarrow"):
        names.add("board.parquet")
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == names
    record = json.loads((folder / "board.json").read_text(encoding="utf-8"))
    assert set(record["files"]) == names - {"board.json"}
    assert record.pop("sha256") == digest(record)
    assert record["standing"]["recommended"] == "one"
    assert [one["mean_rank"] for one in record["standing"]["backbones"]] == [1, 2, 3]
    assert record["standing"]["tests"]["friedman"]["p_exact"] == pytest.approx(1 / 36)


def test_it_cannot_be_taken_for_the_report_of_a_data_set(reports: Path) -> None:
    names = {path.name for path in (reports / "board").iterdir()}
    assert not names & {"report.json", "report.md", "report.csv", "scores", "curves", ".owner", ".data"}
    assert [data.name for data in board_of(reports).datasets] == ["alpha", "beta", "gamma"]


def test_an_up_to_date_board_is_left_alone(reports: Path) -> None:
    before = state(reports)
    assert not write(reports).written
    assert state(reports) == before


@pytest.mark.parametrize("change", ["score", "lost file", "edited file", "version", "condition", "page"])
def test_a_board_that_is_not_up_to_date_is_written_again(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probeline.report.board.figures.draw", lambda _: [])
    make_reports(tmp_path)
    files = write(tmp_path)
    options: dict[str, Any] = {}
    if change == "score":
        save_scores(tmp_path, [board_score("alpha", "four", "probe", 0.9)])
    elif change == "lost file":
        files.csv.unlink()
    elif change == "edited file":
        files.markdown.write_text("edited")
    elif change == "version":
        monkeypatch.setattr("probeline.report.board.board.BOARD_VERSION", 1000)
    elif change == "condition":
        options = {"method": "probe"}
    else:
        (tmp_path / "beta" / "index.html").write_text("<p>a report")
    assert write(tmp_path, **options).written
    assert not write(tmp_path, **options).written


def test_an_up_to_date_board_needs_neither_torch_nor_matplotlib(reports: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from probeline.cli.program import main
assert main(["board", "--reports", {str(reports)!r}, "-q"]) == 0
print(sorted({{"torch", "matplotlib", "sklearn", "jinja2", "pyarrow", "pandas"}} & sys.modules.keys()))
"""
    before = state(reports)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert state(reports) == before


def test_a_new_board_does_not_import_torch(tmp_path: Path) -> None:
    make_reports(tmp_path)
    program = f"""
import sys
from probeline.cli.program import main
from probeline.report.board import figures
figures.png = lambda figure: b"none"  # by the same library as the page's, and it takes seconds
assert main(["board", "--reports", {str(tmp_path)!r}, "-q"]) == 0
assert "torch" not in sys.modules
assert "matplotlib" in sys.modules, "it was drawn"
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_the_folder_of_a_report_is_refused(tmp_path: Path) -> None:
    make_reports(tmp_path)
    with pytest.raises(BadOption, match=r"this folder holds the report of a data set: .*; name one with --out DIR"):
        write_board(board_of(tmp_path, to=tmp_path / "alpha"))
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "report.json").write_text("{}")
    with pytest.raises(BadOption, match="this folder holds the report of a data set"):
        write(tmp_path)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    make_reports(tmp_path / "reports")
    (tmp_path / "reports" / "board").mkdir()
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "reports" / "board" / "board.md").symlink_to(tmp_path / "mine")
    with pytest.raises(BadOption, match="this is a link"):
        write(tmp_path / "reports")
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_files_of_somebody_else_are_put_aside(tmp_path: Path) -> None:
    make_reports(tmp_path, {"alpha": THREE["alpha"]})
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "index.html").write_bytes(b"mine")
    with pytest.warns(UserWarning, match=r"put aside as \*\.bad in .*: 1 file, index\.html"):
        write(tmp_path)
    assert (tmp_path / "board" / "index.html.bad").read_bytes() == b"mine"


def test_a_parquet_file_of_an_earlier_board_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    make_reports(tmp_path, {"alpha": THREE["alpha"]})
    assert write(tmp_path).parquet == tmp_path / "board" / "board.parquet"
    monkeypatch.setattr("probeline.report.board.write.has_parquet", lambda: False)
    files = write(tmp_path)
    assert files.parquet is None
    assert not (tmp_path / "board" / "board.parquet").exists()


# What they hold


def test_csv_and_parquet_have_every_row_with_its_data_set(reports: Path) -> None:
    lines = list(csv.DictReader(io.StringIO((reports / "board" / "board.csv").read_text(encoding="utf-8"))))
    assert len(lines) == 18
    assert list(lines[0])[:3] == ["dataset", "title", "use"]
    assert {(line["dataset"], line["title"], line["method"]) for line in lines if line["use"] == "shown"} >= {
        ("alpha", "one", "probe"),
        ("alpha", "two", "knn"),
    }
    assert sum(line["use"] == "shown" for line in lines) == 9
    parquet = pytest.importorskip("pyarrow.parquet")
    frame = parquet.read_table(reports / "board" / "board.parquet").to_pandas()
    assert list(frame.columns) == list(lines[0])
    for name in ("dataset", "title", "use", "method"):
        assert list(frame[name]) == [line[name] for line in lines]
    for name in ("top1", "normalised", "chance", "mean_rank", "val_score", "interval_low", "cold_seconds"):
        assert list(frame[name]) == pytest.approx([float(line[name]) for line in lines])


def test_the_table_of_accuracies_has_intervals_ranks_and_means(reports: Path) -> None:
    text = (reports / "board" / "board.md").read_text(encoding="utf-8")
    first = table(text)
    assert [row["Backbone"] for row in first] == ["one", "two", "three"]
    assert [row["Mean rank"] for row in first] == ["1.00", "2.00", "3.00"]
    assert first[0]["Mean top-1 % (95 %)"].startswith("81.7 (")
    by_data, methods = table(text, 1), table(text, 2)
    assert by_data[0]["alpha"] == "90.0 (85.1–93.4)"
    assert by_data[2]["alpha"].endswith("↓"), "significantly below the best on validation"
    assert methods[1] == {
        "Backbone": "two",
        "alpha": "k-NN",
        "beta": "linear probe (exact)",
        "gamma": "linear probe (exact)",
    }
    assert "](figures/critical-difference.png)" in text
    assert "- [alpha](../alpha/index.html)" in text
    assert "[beta](" not in text, "it has no page"


def test_the_page_has_the_boards_sections(reports: Path) -> None:
    page = parsed((reports / "board" / "index.html").read_text(encoding="utf-8"))
    assert page.all("h1")[0].text == "Which backbone? 3 backbones on 3 data sets"
    names = [section.facts["id"] for section in page.all("section") if "id" in section.facts]
    assert names == ["accuracy", "critical-difference", "methods", "cost", "rows", "datasets", "reports", "making"]
    (link,) = [one for one in page.all("a") if one.text == "alpha"]
    assert link.facts["href"] == "../alpha/index.html"
    summary = page.all("table", **{"data-name": "summary"})[0]
    assert [row.all("th")[0].text for row in summary.all("tbody")[0].all("tr")] == ["one", "two", "three"]
    assert "recommended" in summary.all("tbody")[0].all("tr")[0].classes
    rows = page.all("table", id="table-results")[0].all("tbody")[0].all("tr")
    assert len(rows) == 18
    assert all("data-value" in row.all("td")[2].facts for row in rows)


def test_the_first_screen_says_who_is_fastest_and_smallest(tmp_path: Path) -> None:
    for data in ("alpha", "beta", "gamma"):
        costs = {"one": (9.0, 300), "two": (5.0, 100), "three": (1.0, 200)}
        save_scores(
            tmp_path,
            [
                board_score(data, net, "probe", 0.9 - 0.1 * i, cold_seconds=cold, total=total)
                for i, (net, (cold, total)) in enumerate(costs.items())
            ],
        )
    rows = {row.name: row for row in view(board_of(tmp_path))["rows"]}
    assert rows["one"].roles == "Recommended, best mean rank on test"
    assert rows["two"].roles == "Smallest"
    assert rows["three"].roles == "Fastest"
    assert rows["one"].cells[-2:] == ("27", "300")


def test_nets_that_do_not_differ_are_joined_by_a_bar(tmp_path: Path) -> None:
    make_reports(tmp_path)
    board = board_of(tmp_path)
    assert board.standing is not None
    assert board.standing.tests is not None
    with default_look():
        sheet = critical_difference(board, board.standing, board.standing.tests)
    assert "the best first: one 1.00, two 2.00, three 3.00. Joined by a bar: one to two; two to three." in sheet.alt
    (axes,) = sheet.axes
    bars = [line.get_xdata() for line in axes.lines if line.get_linewidth() > 3]
    assert [(round(float(min(bar))), round(float(max(bar)))) for bar in bars] == [(1, 2), (2, 3)]
    assert {text.get_text() for text in axes.texts} >= {"CD 1.91", "one  1.00", "3.00  three"}


@pytest.mark.parametrize("nets", [3, 14])
def test_long_names_that_end_differently_are_told_apart_in_figures(nets: int, tmp_path: Path) -> None:
    names = [f"timm:vit_base_patch16_clip_224.openai_ft_in12k_in1k_{i}" for i in range(nets)]
    tops = {name: {"probe": 0.9 - 0.02 * i} for i, name in enumerate(names)}
    make_reports(tmp_path, dict.fromkeys(("alpha", "beta", "gamma"), tops))
    board = board_of(tmp_path)
    assert board.standing is not None
    assert board.standing.tests is not None
    with default_look():
        ranked = critical_difference(board, board.standing, board.standing.tests)
        dear = cost(board, board.standing, costs(board.standing, ()))
    shown = [text.get_text().split("  ") for text in ranked.axes[0].texts if "timm:" in text.get_text()]
    assert len({next(word for word in words if "timm:" in word) for words in shown}) == nets
    (legend,) = (axes.get_legend() for axes in dear.axes if axes.get_legend())
    assert len({text.get_text() for text in legend.get_texts()}) == nets
    dear.draw_without_rendering()
    boxes = [legend.get_window_extent(), dear.surrounding[-1].get_window_extent()]
    assert not boxes[0].overlaps(boxes[1]), "the legend covers the caption"


@pytest.mark.parametrize("datasets", [1, 2])
def test_few_data_sets_have_no_diagram_and_say_why(datasets: int, tmp_path: Path) -> None:
    make_reports(tmp_path, {name: THREE[name] for name in list(THREE)[:datasets]})
    files = write(tmp_path)
    text = files.markdown.read_text(encoding="utf-8")
    assert "No test over data sets and no critical-difference diagram" in text
    assert not (tmp_path / "board" / "figures" / "critical-difference.png").exists()
    assert "Friedman's test: chi-squared" not in text


def test_nothing_to_show_is_said(tmp_path: Path) -> None:
    (tmp_path / "alpha" / "scores").mkdir(parents=True)
    files = write(tmp_path)
    assert "Nothing comparable has been scored yet" in files.markdown.read_text(encoding="utf-8")
    assert "Nothing comparable has been scored yet" in page_of(files).all("h1")[0].text
    assert files.parquet is None
    assert not write(tmp_path).written


def test_names_of_others_cannot_act(tmp_path: Path) -> None:
    """In the terminal, in Markdown, on the page, and in a spreadsheet."""
    for dataset in ("alpha", "beta", "gamma"):
        nets = {HOSTILE: 0.9, "=cmd()": 0.8, "three": 0.7}
        save_scores(tmp_path, [board_score(dataset, net, "probe", top1) for net, top1 in nets.items()])
    (tmp_path / f"folder--{HOSTILE}".replace("/", "-")).mkdir()
    odd = f"folder--{HOSTILE}".replace("/", "-")
    SCORES.save(tmp_path / odd, board_score(odd, "three", "probe", 0.7))
    board = board_of(tmp_path, to=tmp_path / "board")
    files = write_board(board)
    for text in (board_table(board), *(path.read_text(encoding="utf-8") for path in (files.markdown, files.page))):
        assert not {"\u202e", "\x1b", "\u200b"} & set(text)
    page = files.page.read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert len(parsed(page).all("script")) == 1
    assert "\n=cmd()" not in files.csv.read_text(encoding="utf-8").replace(",", "\n")
    assert all(os.path.commonpath([tmp_path, path]) == str(tmp_path) for path in (files.page, files.csv))
    record = json.loads(files.json.read_text(encoding="utf-8"))
    assert record["files"]["board.md"] == digest_bytes(files.markdown.read_bytes())
