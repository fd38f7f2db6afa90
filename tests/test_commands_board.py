"""Board: reports of real small fits, a recipe of several data sets, and what is said of those that cannot be run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from threadpoolctl import threadpool_limits

from probeline.cli import program as cli
from probeline.recipes import read
from probeline.results.owner import ORIGINS
from probeline.results.score import SCORES
from small_runs import make_coloured, make_photos

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

NETS = ("squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small")

RECIPE = f"""
title = "Three data sets"

[options]
backbones = {list(NETS)}
weights = "none"
image_size = 32

[[datasets]]
dataset = "digits"
limit = 60

[[datasets]]
dataset = "folder:coloured"

[[datasets]]
dataset = "folder:photos"

[[steps]]
verbs = ["probe", "baselines"]
"""


class Result(NamedTuple):
    """What a run left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe of three data sets, after it was run with its board; tests may read it."""
    root = tmp_path_factory.mktemp("board")
    make_coloured(root / "coloured")
    make_photos(root / "photos", n=12)
    (root / "three.toml").write_text(RECIPE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1):
        patch.chdir(root)
        patch.setattr("probeline.report.figures.draw", lambda *_: [])
        assert cli.main(["board", "--recipe", "three.toml", "--workers", "1"]) == 0
    return root


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in that folder."""
    monkeypatch.chdir(place)
    monkeypatch.setattr("probeline.report.figures.draw", lambda *_: [])

    def run(*words: str) -> Result:
        return Result(cli.main(list(words)), *capsys.readouterr())

    return run


def state(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def record_of(reports: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((reports / "board" / "board.json").read_text(encoding="utf-8"))
    return found


def test_a_recipe_of_several_data_sets_is_run_and_compared(place: Path) -> None:
    record = record_of(place / "reports")
    assert record["standing"]["datasets"] == ["digits-limit60", "folder--coloured", "folder--photos"]
    assert {one["backbone"] for one in record["standing"]["backbones"]} == {*NETS}
    assert "missing" not in record
    for name in record["standing"]["datasets"]:
        assert (place / "reports" / name / "index.html").exists(), "each has a report of its own"
    text = (place / "reports" / "board" / "board.md").read_text(encoding="utf-8")
    assert "- [folder--photos](../folder--photos/index.html)" in text


def test_accuracies_are_those_of_the_scores_and_their_method_is_chosen_on_validation(place: Path) -> None:
    from probeline.options.settings import Settings
    from probeline.report.board.board import make_board

    board = make_board(Settings.of(reports=place / "reports"))
    for (net, data), entry in board.cells.items():
        scores = [one for one in SCORES.load(place / "reports" / data.name)[0] if one.backbone == net.backbone]
        assert max(one.val_top1 for one in scores) == pytest.approx(entry.row.val_top1)
        assert entry.row.top1 in {one.top1 for one in scores if one.method == entry.row.method}


def test_a_second_run_computes_and_writes_nothing(place: Path, run: Run) -> None:
    before = state(place)
    done = run("board", "--recipe", "three.toml", "--workers", "1")
    assert done.code == 0
    assert "board: the board is up to date in reports/board/board.md" in done.out
    assert state(place) == before


def test_the_folder_alone_gives_the_same_board(place: Path, run: Run) -> None:
    done = run("board", "--out", "elsewhere", "--json")
    assert done.code == 0
    result = json.loads(done.out)["board"]
    assert result["page"] == "elsewhere/index.html"
    record = json.loads((place / "elsewhere" / "board.json").read_text(encoding="utf-8"))
    assert record["standing"] == record_of(place / "reports")["standing"]


def test_names_and_conditions_limit_what_is_shown(run: Run) -> None:
    done = run("board", "folder--photos", "digits-limit60", "--method", "knn", "--out", "two")
    assert done.code == 0
    assert "folder--coloured" not in done.out
    assert "2 data sets of 3 needed" in done.out
    assert "board: left out digits-limit60: 24 scores of another method than knn" in done.out
    done = run("board", "--precision", "bf16", "--out", "none")
    assert done.code == 0
    assert "Nothing comparable has been scored yet." in done.out


def test_a_dry_run_says_what_would_run_and_writes_nothing(place: Path, run: Run) -> None:
    before = state(place)
    done = run("board", "--recipe", "three.toml", "--dry-run", "--backbone", *NETS, "mnasnet0_5")
    assert done.code == 0
    assert "board: folder:photos, 3 of 3 data sets" in done.out
    assert "dry run: probe: linear probe (exact) of mnasnet0_5: would be fitted on" in done.out
    assert "dry run: baselines: k-NN of squeezenet1_1: already scored" in done.out
    assert "dry run: board: would be written to reports/board" in done.out
    assert state(place) == before


@pytest.mark.parametrize("words", [["alpha"], ["digits-limit60", "alpha"]])
def test_an_unknown_report_is_refused(words: list[str], run: Run) -> None:
    done = run("board", *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "unknown report with scores in reports 'alpha'" in done.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["board", "--limit", "60"], "nothing that is run uses --limit (expected it with extract, probe"),
        (["board", "--backbone", "resnet50"], "nothing that is run uses --backbone"),
        (["board", "--dataset", "digits"], "probeline board does not use --dataset"),
        (["board", "digits-limit60", "--recipe", "three.toml"], "a recipe says which data sets"),
        (["run", "--recipe", "three.toml"], "recipe three.toml is of several data sets (got digits, folder:coloured"),
        (
            ["probe", "--recipe", "board-small"],
            "run them all by probeline board --recipe board-small, or one by --dataset",
        ),
        (["board", "--reports", "nowhere"], "no such folder of reports: nowhere"),
        (["board", "--method", "half"], "unknown method 'half'"),
        (["board", "--out", "reports/folder--photos"], "this folder holds the report of a data set"),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], line: str, run: Run) -> None:
    done = run(*words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert line in done.err


def test_other_verbs_run_a_recipe_of_several_data_sets_on_one(run: Run) -> None:
    done = run("baselines", "--recipe", "three.toml", "--dataset", "digits", "--workers", "1")
    assert done.code == 0
    assert "knn: digits-limit60 x squeezenet1_1" in done.out, "with the options that the recipe has for it"


def test_a_data_set_that_cannot_be_loaded_costs_its_own_column_alone(place: Path, run: Run) -> None:
    text = RECIPE.replace("folder:photos", "folder:nowhere")
    (place / "lost.toml").write_text(text, encoding="utf-8")
    done = run("board", "--recipe", "lost.toml", "--workers", "1", "--out", "lost")
    assert done.code == 2
    assert "board: folder:nowhere: " in done.err
    assert done.err.splitlines()[-1].startswith("probeline: ")
    record = json.loads((place / "lost" / "board.json").read_text(encoding="utf-8"))
    assert record["standing"]["datasets"] == ["digits-limit60", "folder--coloured"], "and no others of the folder"
    assert [one["what"] for one in record["missing"]] == [
        f"{verb} of squeezenet1_1, shufflenet_v2_x0_5 and mobilenet_v3_small on folder:nowhere"
        for verb in ("probe", "baselines")
    ]
    assert all("--dataset folder:nowhere --backbone squeezenet1_1 " in one["command"] for one in record["missing"])


def test_the_command_of_a_missing_row_makes_it(place: Path, tmp_path: Path, run: Run) -> None:
    """Run as printed, in another folder, on a data set whose options are not the defaults."""
    for path in (place / "reports").glob("digits-limit60/scores/shufflenet*/knn-*.json"):
        path.unlink()
    done = run("board", "-q", "--out", "gap", "--json")
    assert done.code == 0
    (missing,) = json.loads((place / "gap" / "board.json").read_text(encoding="utf-8"))["missing"]
    assert missing["what"] == "shufflenet_v2_x0_5, untrained on digits-limit60: k-NN and k-NN (weighted)"
    words = shlex.split(missing["command"])[1:]
    assert words[:5] == ["baselines", "--dataset", "digits", "--data", str(place / "data")]
    assert run(*words, "--workers", "1").code == 0
    assert run("board", "-q", "--out", "gap").code == 0
    assert "missing" not in json.loads((place / "gap" / "board.json").read_text(encoding="utf-8"))


def test_where_images_are_from_is_kept_with_the_scores(place: Path) -> None:
    (origin,) = ORIGINS.load(place / "reports" / "folder--photos")[0]
    assert origin.dataset == f"folder:{place / 'photos'}"
    assert origin.options["data"] == place / "data"
    (digits,) = ORIGINS.load(place / "reports" / "digits-limit60")[0]
    assert (digits.dataset, digits.limit, digits.data_seed) == ("digits", 60, 0)
    assert digits.splits in {score.splits for score in SCORES.load(place / "reports" / "digits-limit60")[0]}


def test_the_packaged_recipe_is_of_three_data_sets() -> None:
    recipe = read("board-small")
    assert [own["dataset"] for own in recipe.datasets] == ["digits", "hymenoptera", "cifar10"]
    assert len(recipe.options["backbones"]) == 3
