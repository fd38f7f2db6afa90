"""The verbs on a data set of several labels or of numbers: features from elsewhere, and a file of targets."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probeline.cli import program
from probeline.results.targets.score import TARGET_SCORES, TargetScore

pytestmark = pytest.mark.usefixtures("one_thread", "drawn_figures")

N = 240


def write(folder: Path) -> list[str]:
    """Write features whose columns decide two labels and a number, and the file of these; return the options."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 12)).astype(np.float32)
    np.savez(folder / "made.npz", X=X)
    noise = 0.3 * rng.normal(size=(N, 3))
    red, big = X[:, 0] + noise[:, 0] > 0.5, X[:, 1] + noise[:, 1] > 0
    lines = ["sample_id,red,big,tags,age"]
    for row in range(N):
        tags = "|".join(name for name, own in (("red", red[row]), ("big", big[row])) if own) or "|"
        age = 30 + 5 * X[row, 2] + noise[row, 2]
        lines.append(f"all/{row:07d},{red[row]:d},{big[row]:d},{tags},{age:.4f}")
    (folder / "targets.csv").write_text("\n".join(lines), encoding="utf-8")
    folders = ["--cache", str(folder / "cache"), "--reports", str(folder / "reports")]
    return ["--dataset", f"features:{folder / 'made.npz'}", "--labels", str(folder / "targets.csv"), *folders]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = program.main(list(words))
    read = capsys.readouterr()
    return code, " ".join(read.out.split()), " ".join(read.err.split())


def scores(folder: Path) -> list[TargetScore]:
    (reports,) = (folder / "reports").iterdir()
    return sorted(TARGET_SCORES.load(reports)[0], key=lambda score: score.method)


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    return write(tmp_path)


def test_numbers_from_fit_to_report(tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options += ["--task", "regression", "--columns", "label=age"]
    assert run(capsys, "run", *options)[0] == 0
    assert [score.method for score in scores(tmp_path)] == ["knn", "probe", "probe-refit"]
    probe, refit = scores(tmp_path)[1:]
    assert len(probe.path) == len(probe.options["l2"])
    assert (refit.path, refit.chosen, refit.val_score) == ((), probe.chosen, probe.val_score)
    # The noise of 0.3 beside a spread of 5 leaves R2 of 1 - 0.09 / 25.09 = 0.9964 at best.
    assert 0.97 < (probe.metrics["r2"].value or 0) < 0.9999
    (reports,) = (tmp_path / "reports").iterdir()
    page = (reports / "index.html").read_text(encoding="utf-8")
    assert "linear probe (ridge regression) on" in page
    assert (reports / "figures" / "predictions.png").stat().st_size > 1000
    lines = list(csv.DictReader(io.StringIO((reports / "report.csv").read_text(encoding="utf-8"))))
    assert {line["method"] for line in lines} == {"knn", "probe", "probe-refit"}
    assert float(next(line["r2"] for line in lines if line["method"] == "probe")) == probe.metrics["r2"].value
    record = json.loads((reports / "report.json").read_text(encoding="utf-8"))
    assert record["verdict"][0].startswith("Linear probe (ridge regression")
    before = {path: path.stat().st_mtime_ns for path in reports.rglob("*") if path.is_file()}
    code, shown, _ = run(capsys, "run", *options)
    assert code == 0
    assert "already scored, skipped (test R²" in shown
    assert {path: path.stat().st_mtime_ns for path in reports.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("column", ["tags", "red,big"])
def test_labels_from_fit_to_report(
    column: str, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options += ["--task", "multi-label", "--columns", f"label={column}"]
    assert run(capsys, "probe", *options)[0] == 0
    assert run(capsys, "baselines", *options)[0] == 0
    code, shown, _ = run(capsys, "compare", *options)
    assert code == 0
    by_method = {score.method: score for score in scores(tmp_path)}
    assert by_method.keys() == {"knn", "logistic", "probe", "probe-refit"}
    probe, reference = by_method["probe"], by_method["logistic"]
    assert sorted(probe.target_names) == ["big", "red"]
    assert (probe.metrics["map"].value or 0) > 0.9
    # The same objective at the reference's coarser values of l2: rankings differ little.
    assert probe.metrics["map"].value == pytest.approx(reference.metrics["map"].value, abs=0.02)
    assert "All labels right" in (next((tmp_path / "reports").iterdir()) / "report.md").read_text(encoding="utf-8")
    assert "mAP" in shown


def test_the_row_of_a_column_of_labels_and_of_its_indicators_is_the_same(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "probe", *options, "--task", "multi-label", "--columns", "label=tags")
    run(capsys, "probe", *options, "--task", "multi-label", "--columns", "label=big,red")
    folders = list((tmp_path / "reports").iterdir())
    assert len(folders) == 1  # the labels are the same, so is the digest of the join


def test_verbs_that_need_classes_say_so(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options += ["--task", "regression", "--columns", "label=age"]
    for verb in ("curve", "doctor"):
        code, _, err = run(capsys, verb, *options)
        assert code == 2
        assert f"{verb} needs one class for each image (got 1 target of" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("probe --metric macro", "--metric is about classes (got --task regression, where validation selects by R²"),
        ("probe --metric macro --dry-run", "--metric is about classes"),
        ("probe --class-weights balanced", "--class-weights is about classes"),
        ("probe --attentive lr=1e-3 --tap layer4:tokens", "--attentive is about classes"),
        ("probe --tap layer4:tokens", "--tap layer4:tokens is about classes, as the heads are that read tokens"),
        ("probe --sgd lr=1e-3", "--sgd is about classes"),
        ("probe --estimator sklearn.svm:SVC", "--estimator is about classes"),
        (
            "probe --mlp label_smoothing=0.1",
            "bad --mlp (expected NAME=VALUE[,VALUE...] of lr, weight_decay, dropout, width",
        ),
        ("compare --costs a=1 b=2", "--costs is about classes"),
        ("compare --add given.csv", "--add is about classes"),
        ("compare --report-by sites.csv:site", "--report-by is about classes"),
    ],
)
def test_options_about_classes_are_refused_before_anything_is_extracted(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for age in range(9):
        Image.new("RGB", (8, 8), (20 * age, 0, 0)).save(tmp_path / f"{age}.png")
    lines = "".join(f"{age}.png,{age}\n" for age in range(9))
    (tmp_path / "sizes.csv").write_text(f"file_name,age\n{lines}", encoding="utf-8")
    for file in tmp_path.iterdir():  # a file that has just been written is not remembered, and it depends on the load
        os.utime(file, (1_000_000_000, 1_000_000_000))
    data = ["--dataset", f"table:{tmp_path / 'sizes.csv'}", "--columns", "label=age", "--task", "regression"]
    folders = ["--cache", str(tmp_path / "cache"), "--reports", str(tmp_path / "reports")]
    code, _, err = run(capsys, *words.split(), *data, *folders, "--backbone", "resnet18@none")
    assert code == 2
    assert message in err
    files = {path.name for path in (tmp_path / "cache").rglob("*")}
    assert files <= {".memo-hashes.jsonl"}, "hashes of the data set's files alone"


def test_labels_that_look_like_several_are_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "probe", *options, "--columns", "label=tags")
    assert code == 2
    assert "labels look like several for one image" in err
    assert "--task multi-label, or --task single-label" in err
    code, shown, _ = run(capsys, "probe", *options, "--columns", "label=tags", "--task", "single-label")
    assert (code, "top-1" in shown) == (0, True)


def test_printed_commands_name_the_task(tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options += ["--task", "regression", "--columns", "label=age"]
    run(capsys, "probe", *options)
    code, shown, _ = run(capsys, "compare", *options)
    assert code == 0
    assert re.search(r"Not run: k-NN of \S+: probeline baselines --dataset", shown)
    assert "--task regression" in shown
    assert "--columns label=age" in shown


MLP = ["--mlp", "epochs=2", "lr=1e-3,1e-2", "width=8", "--seed", "4", "--seeds", "2"]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "column", "metric"), [("multi-label", "tags", "map"), ("regression", "age", "r2")])
def test_an_mlp_head_is_a_row_of_its_seeds(
    task: str, column: str, metric: str, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options += ["--task", task, "--columns", f"label={column}"]
    assert run(capsys, "probe", *options)[0] == 0
    assert "probe-mlp" not in {score.method for score in scores(tmp_path)}
    _, planned, _ = run(capsys, "probe", *options, *MLP, "--dry-run")
    assert "MLP head of features, seed 4" in planned.replace("made", "features")
    code, shown, _ = run(capsys, "compare", *options, *MLP)
    assert (code, shown.count("Not run: MLP head of")) == (0, 1)
    assert re.search(r"Not run: MLP head of \S+: probeline probe .*--mlp epochs=2 lr=1e-3,1e-2 width=8", shown)
    code, shown, _ = run(capsys, "probe", *options, *MLP)
    assert (code, shown.count("already scored, skipped")) == (0, 2)  # the keys of other rows stay as they are
    own = [score for score in scores(tmp_path) if score.method == "probe-mlp"]
    assert {score.seed for score in own} == {4, 5}
    assert own[0].outputs != own[1].outputs
    code, shown, _ = run(capsys, "probe", *options, *MLP)
    assert (code, shown.count("already scored, skipped")) == (0, 4)
    code, shown, _ = run(capsys, "compare", *options, *MLP)
    assert code == 0
    assert "Not run: MLP" not in shown
    (reports,) = (tmp_path / "reports").iterdir()
    page = " ".join((reports / "report.md").read_text(encoding="utf-8").split())
    mean = sum(score.metrics[metric].value or 0 for score in own) / 2
    places = f"{100 * mean:.1f}" if task == "multi-label" else f"{mean:.2f}".replace("-", "−")
    line = re.search(r"\| MLP head \|[^\n]*?2 \|", page)
    assert line is not None
    assert places in line[0]
    assert "Without a dot: the last epoch is kept." in (reports / "index.html").read_text(encoding="utf-8")
    # Another grid is another row, and a third seed another score.
    code, shown, _ = run(capsys, "compare", *options, *MLP[:-1], "3")
    assert "Not run: MLP head of" in shown
    code, shown, _ = run(capsys, "compare", *options, "--mlp", "width=9")
    assert "Not run: MLP head of" in shown


def test_the_printed_command_of_an_mlp_head_finds_its_scores(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options += ["--task", "regression", "--columns", "label=age"]
    run(capsys, "probe", *options, *MLP)
    run(capsys, "compare", *options)
    page = next((tmp_path / "reports").rglob("index.html")).read_text(encoding="utf-8")
    commands = [found for found in re.findall(r"probeline probe [^<]*", page) if "--mlp" in found]
    words = shlex.split(html.unescape(commands[0]))[1:]
    before = len(scores(tmp_path))
    code, shown, _ = run(capsys, *words)
    assert (code, shown.count("already scored, skipped")) == (0, 4)
    assert len(scores(tmp_path)) == before
