"""The curve stage, and runs with labels and groups of the user's own, on a slice of the digits with random weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from grids import few_l2_in
from probeline.cli import program as cli
from probeline.commands import compare, curve, extract, probe
from probeline.console import Silence
from probeline.data.source import LoadRequest, Subset
from probeline.data.sources.digits import load
from probeline.errors import CannotWrite
from probeline.evaluate.curve import draw_portions, find_curve, request_probe_curve
from probeline.evaluate.heads import exact
from probeline.files.memo import Memo
from probeline.heads.linear import decision
from probeline.heads.logistic.path import fit_path
from probeline.heads.select import L2_GRID
from probeline.heads.standardize import apply, fit_scaler
from probeline.options.groups.running import ComputeOptions
from probeline.report.records.loading import load_curves
from probeline.results.curve import CURVES, Curve
from probeline.session import Session
from small_runs import Listening, configuration, extracted, shards

REQUEST = LoadRequest(Path(), Subset(60), Memo(None), Silence())
SMALL: dict[str, Any] = {"fractions": (1.0, 50.0, 100.0), "shots": (1, 2, 9), "draws": 2}
DEFAULT: dict[str, Any] = {"batch_size": ComputeOptions().batch_size, "workers": ComputeOptions().workers}
"""What compare takes none of, though it prints the commands that do: its report is drawn once for all tests."""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the embeddings are extracted, and the curve of `SMALL` is fitted."""
    root = tmp_path_factory.mktemp("curve")
    with threadpool_limits(1):
        extracted(root / "cache")
        curve.run(Session(configuration(root / "cache", **SMALL)))
    return root


def session(root: Path, **options: Any) -> Session:
    return Session(configuration(root / "cache", **{**SMALL, **options}))


def ids() -> tuple[str, ...]:
    return load("", REQUEST).parts["all"].sample_ids


def write(path: Path, column: str, values: list[str]) -> Path:
    lines = [f"{sample_id},{value}" for sample_id, value in zip(ids(), values, strict=True)]
    path.write_text("\n".join([f"sample_id,{column}", *lines]), encoding="utf-8")
    return path


def coarse(folder: Path) -> Path:
    """Return a file that tells small digits from large ones and drops the nines."""
    part = load("", REQUEST).parts["all"]
    names = ["" if label == 9 else "small" if label < 5 else "large" for label in part.labels]
    return write(folder / "coarse.csv", "label", names)


def test_a_curve_has_a_point_for_each_part_and_draw(root: Path) -> None:
    now = session(root)
    (found,), ignored = CURVES.load(now.reports)
    assert ignored == []
    n = len(now.splits.train)
    assert (found.n_train, found.n_val, found.n_test) == (n, len(now.splits.val), len(now.splits.test))
    assert found.splits == now.splits_sha256
    drawn = [(point.kind, point.amount, point.draw) for point in found.points]
    wanted = [
        ("fraction", 1.0),
        ("fraction", 50.0),
        ("fraction", 100.0),
        ("shots", 1.0),
        ("shots", 2.0),
        ("shots", 9.0),
    ]
    once = {("fraction", 100.0), ("shots", 9.0)}  # of 60 images no class has more than 9 to fit on
    assert drawn == [(*what, draw) for what in wanted for draw in range(1 if what in once else 2)]
    by = {(point.kind, point.amount, point.draw): point for point in found.points}
    assert by["fraction", 100.0, 0].n_train == by["shots", 9.0, 0].n_train == n
    assert by["fraction", 1.0, 0].n_train == 10
    assert by["shots", 9.0, 0].short == 10
    assert by["shots", 2.0, 1].n_train == 20
    # The same rows are one fit, so they agree in all that was fitted.
    assert by["fraction", 1.0, 0].test_top1 == by["shots", 1.0, 0].test_top1
    assert all(point.converged and point.l2 in L2_GRID for point in found.points)


def test_the_last_step_is_the_probe_on_all_train_rows(root: Path) -> None:
    now = session(root)
    backbone, _ = now.backbone("squeezenet1_1")
    X, y = now.features(backbone, "all").features, now.dataset.parts["all"].labels
    train, test = now.splits.train.rows, now.splits.test.rows
    (found,), _ = CURVES.load(now.reports)
    point = next(point for point in found.points if point.amount == 100)
    scaler = fit_scaler(X[train])
    head = fit_path(apply(scaler, X[train]), y[train], 10, L2_GRID)[L2_GRID.index(point.l2)]
    assert point.test_top1 == float((decision(head, apply(scaler, X[test])).argmax(1) == y[test]).mean())


SECOND = f"""
import sys
{few_l2_in(exact)}
from probeline.cli.program import main
for verb in ("curve", "compare"):
    assert main([verb, *sys.argv[1:]]) == 0, verb
heavy = {{"torch", "torchvision", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.slow
def test_a_second_run_imports_no_torch_and_writes_nothing(root: Path) -> None:
    compare.run(session(root, **DEFAULT))
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    options = "--backbone squeezenet1_1 --weights none --image-size 32 --limit 60"
    curves = "--fractions 1 50 100 --shots 1 2 9 --draws 2"
    command = [*options.split(), *curves.split(), f"--cache={root}/cache", f"--reports={root}/reports"]
    done = subprocess.run([sys.executable, "-c", SECOND, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "curve: digits-limit60 x squeezenet1_1: already computed, skipped" in done.stdout
    assert "the report is up to date" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("options", [{"fractions": (2.0, 100.0)}, {"shots": (0,)}, {"draws": 1}, {"data_seed": 1}])
def test_other_parts_are_another_curve(root: Path, options: dict[str, Any]) -> None:
    def find(now: Session) -> Curve | None:
        return find_curve(now, request_probe_curve(now, now.taps("squeezenet1_1")[0][0], draw_portions(now)))

    assert find(session(root)) is not None
    assert find(session(root, **options)) is None


def test_each_tap_has_a_curve_and_views_none(root: Path) -> None:
    taps = ("penultimate", "features.3+penultimate")
    extracted(root / "cache", taps=taps)
    shutil.copytree(session(root).reports / "curves", root / "taps" / "digits-limit60" / "curves")
    console = Listening()
    told = curve.run(session(root, taps=taps, views=2, console=console, reports=root / "taps"))
    assert [one["tap"] for one in told] == list(taps)
    assert any("squeezenet1_1 at features.3+penultimate: 100 %" in line for line in console.said)
    found, _ = CURVES.load(root / "taps" / "digits-limit60")
    assert len(found) == 2
    by = {one.tap: one for one in found}
    (plain,), _ = CURVES.load(session(root).reports)
    assert by["penultimate"] == plain, "views and other taps change nothing of it"
    assert any("squeezenet1_1: already computed, skipped" in line for line in console.said)
    assert by[taps[1]].points != plain.points
    # Both are shown; a second run fits nothing.
    assert len(load_curves(session(root, reports=root / "taps"))) == 2
    before = {path: path.stat().st_mtime_ns for path in (root / "taps").rglob("*.json")}
    console = Listening()
    assert curve.run(session(root, taps=taps, console=console, reports=root / "taps")) == told
    assert [line.rpartition(": ")[2] for line in console.said] == ["already computed, skipped"] * 2
    assert {path: path.stat().st_mtime_ns for path in (root / "taps").rglob("*.json")} == before


def test_compare_shows_the_curves_of_these_splits(root: Path, tmp_path: Path) -> None:
    console = Listening()
    compare.run(session(root, console=console, **DEFAULT))
    report = root / "reports" / "digits-limit60" / "report.md"
    text = report.read_text(encoding="utf-8")
    assert "## Learning curves" in text
    assert "| squeezenet1_1, untrained | 50 % " in text
    assert "![learning](figures/learning.png)" in text
    assert "val is not reduced" in text
    n = len(session(root).splits.train)
    assert f"squeezenet1_1, untrained: none, 32 x 32 px, fp32; {n} train" in text
    (told,) = json.loads((report.parent / "report.json").read_text(encoding="utf-8"))["curves"]
    assert [step["draws"] for step in told["steps"]] == [2, 2, 1, 2, 2, 1]
    # A curve of other rows is left out, and a damaged one is named.
    (file,) = (report.parent / "curves").iterdir()
    here = tmp_path / "reports" / "digits-limit60" / "curves"
    here.mkdir(parents=True)
    (here / file.name).write_bytes(file.read_bytes().replace(b'"draw":0', b'"draw":7'))
    console = Listening()
    assert load_curves(session(root, reports=tmp_path / "reports", console=console)) == []
    assert any("is damaged" in line for line in console.said)


def test_what_is_wrong_is_said_before_a_fit(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite):
        curve.run(session(tmp_path, reports=tmp_path / "file"))
    assert not list(tmp_path.rglob("entry.json")), "a fit would have extracted the features"


def test_features_that_are_missing_are_extracted_first(tmp_path: Path) -> None:
    console = Listening()
    options: dict[str, Any] = {"limit": 30, "views": 1, "fractions": (100.0,), "shots": (0,), "console": console}
    (told,) = curve.run(session(tmp_path, **options))
    assert told["steps"]
    assert "curve: features of squeezenet1_1 are not extracted yet; extracting what is missing" in console.said
    assert len(list((tmp_path / "cache").rglob("entry.json"))) == 1, "a curve reads no views"


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (["--fractions", "0"], r"bad --fractions (expected percentages above 0, up to 100; got 0)"),
        (["--fractions", "5", "101"], "got 101"),
        (["--fractions", "nan"], "bad --fractions"),
        (["--shots", "0", "1"], "bad --shots"),
        (["--shots", "-3"], "bad --shots"),
        (["--draws", "0"], "bad --draws (expected 1 to 1000, got 0)"),
        (["--labels", ""], "an empty name of a file"),
        (["--labels", "/nowhere.csv"], "no --labels file: /nowhere.csv"),
        (["--groups", "/nowhere.csv"], "no --groups file: /nowhere.csv"),
    ],
)
def test_options_that_cannot_be(option: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["curve", "--limit", "60", *option]) == 2
    said = capsys.readouterr().err
    assert line.replace("; got", ", got") in said
    assert said.count("\n") == 1


@pytest.mark.usefixtures("undrawn")
def test_other_labels_need_no_forward_pass(root: Path, tmp_path: Path) -> None:
    before = shards(root / "cache")
    options: dict[str, Any] = {"fractions": (100.0,), "shots": (0,), "sgd": ("lr=1e-3", "epochs=1")}
    now = session(root, labels=coarse(tmp_path), reports=tmp_path / "reports", **options)
    assert now.dataset.class_names == ("large", "small")
    (told,) = extract.run(now)
    assert told["extracted_shards"] == 0
    probe.run(now)
    curve.run(now)
    result = compare.run(now)
    assert shards(root / "cache") == before
    report = Path(str(result["report"])).read_text(encoding="utf-8")
    assert Path(str(result["report"])).parent.name.startswith("digits-limit60--labels-")
    assert "coarse.csv: 2 classes; 6 images are dropped" in report
    assert "2 classes; the most frequent" in report
    (found,), _ = CURVES.load(now.reports)
    assert found.class_names == ("large", "small")
    assert CURVES.find(now.reports, "squeezenet1_1", found.key) == found
    assert not (tmp_path / "reports" / "digits-limit60").exists()


def test_a_dropped_row_is_shown_as_dropped(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = int(np.flatnonzero(load("", REQUEST).parts["all"].labels == 9)[0])
    command = ["show", str(row), "--backbone=squeezenet1_1", "--weights=none", "--image-size=32", "--limit=60"]
    assert cli.main([*command, f"--cache={root}/cache", f"--labels={coarse(tmp_path)}", "--json"]) == 0
    output = capsys.readouterr()
    (image,) = json.loads(output.out)["show"]
    assert (image["class"], image["label"], image["role"], image["fold"]) == (None, None, None, None)
    assert ", dropped, no role" in output.err


def test_groups_change_the_splits_and_stand_apart(root: Path, tmp_path: Path) -> None:
    plain = session(root)
    path = write(tmp_path / "scenes.csv", "group", [f"scene {number // 2}" for number in range(60)])
    now = session(root, groups=path, fractions=(50.0,), shots=(0,), draws=1, reports=tmp_path / "reports")
    assert now.splits_sha256 != plain.splits_sha256
    assert now.reports.name.startswith("digits-limit60--groups-")
    scenes = np.arange(60) // 2
    held = [set(scenes[rows.rows].tolist()) for rows in (now.splits.train, now.splits.val, now.splits.test)]
    assert sum(map(len, held)) == 30
    curve.run(now)
    (found,), _ = CURVES.load(now.reports)
    assert found.grouped
    assert found.points[0].n_train % 2 == 0
