"""Fine-tuning on several labels and on numbers: from pictures to scores, processes that die, and the report."""

from __future__ import annotations

import csv
import html
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.special import logit
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error, r2_score

import probeline
from probeline.cli import program
from probeline.errors import BadOption
from probeline.files.decode import decode, encode
from probeline.report.targets.row import TargetRow
from probeline.results.targets.score import TARGET_SCORES, TargetScore
from probeline.types import DoubleArray
from small_ranks import start

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "drawn_figures")]

NET = """
import os, signal, torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.wide = torch.nn.Conv2d(8, 12, 3, stride=2)
        self.dropout = torch.nn.Dropout(0.2)
        self.fc = torch.nn.Linear(12, 5)
        self.passes = 0

    def forward(self, x):
        self.passes += self.training
        if self.passes == int(os.environ.get("PASSES", -1)):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.fc(self.dropout(self.wide(self.norm(self.conv(x)).relu()).relu().mean((2, 3))))

def make():
    torch.manual_seed(0)
    return Net()

preprocess = {"resize": 16, "crop": 16, "interpolation": "bilinear", "mean": [0.4] * 3, "std": [0.25] * 3}
"""
"""A net that kills its process at a pass of its training."""

N = 120
BATCHES = 5
"""Of an epoch: 77 or 78 train images in batches of 16."""
LABELS = ("--task", "multi-label", "--columns", "label=red,bright")
NUMBERS = ("--task", "regression", "--columns", "label=level,mean")
COMMON = ["--dataset", "table:pictures.csv", "--backbone", "python:net.py:make"]
COMPUTE = ["--device", "cpu", "--workers", "1"]
TRAINING = ["--epochs", "4", "--batch-size", "16", "--lr", "0.01"]


def make_place(folder: Path) -> Path:
    """Write the net into a folder, and pictures whose channels decide two labels and two numbers, some unknown."""
    (folder / "net.py").write_text(NET)
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    level, other = rng.uniform(0, 180, N), rng.uniform(0, 180, N)
    rows = []
    for row in range(N):
        pixels = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        pixels[:, :, 0] += np.uint8(level[row])
        pixels[:, :, 1] += np.uint8(other[row])
        Image.fromarray(pixels).save(folder / "pictures" / f"{row:03d}.png")
        mean = 1e5 + 3 * other[row]
        rows.append(
            {
                "file_name": f"pictures/{row:03d}.png",
                "red": int(level[row] > other[row]),
                "bright": "" if row % 7 == 0 else int(level[row] + other[row] > 180),
                "level": f"{level[row]:.3f}",
                "mean": "" if row % 6 == 0 else f"{mean:.3f}",
            }
        )
    with (folder / "pictures.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def words(verb: str, name: str, *more: str) -> list[str]:
    own = {"probe": COMPUTE, "compare": []}.get(verb, [*COMPUTE, *TRAINING])
    return [verb, *COMMON, *own, "--cache", f"{name}/cache", "--reports", f"{name}/reports", *more]


def run(folder: Path, verb: str, name: str, *more: str) -> int:
    with chdir(folder):
        return program.main(words(verb, name, *more))


def reports_in(folder: Path, name: str) -> Path:
    (reports,) = (path.parent for path in (folder / name / "reports").glob("*/targets"))
    return reports


def scores_in(folder: Path, name: str) -> dict[str, TargetScore]:
    scores, ignored = TARGET_SCORES.load(reports_in(folder, name))
    assert not ignored
    return {score.method: score for score in scores}


def columns(score: TargetScore) -> tuple[DoubleArray, DoubleArray]:
    shape = score.n_test, len(score.target_names)
    return np.array(score.truth).reshape(shape), np.array(score.outputs).reshape(shape)


def timeless(score: TargetScore) -> dict[str, Any]:
    record = encode(score)
    for name in ("warm_seconds", "cold_seconds"):
        del record[name]
    record.pop("waited", None)  # not every system says it
    record["history"] = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record["history"]]
    return dict(json.loads(json.dumps(record)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def labels(place: Path, one_thread: None) -> Mapping[str, TargetScore]:
    """Scores of the labels: the probe and two trainings, with their report."""
    strategies = ("--strategy", "full", "lp-ft", "--train", "lr=0.003,0.01")
    assert run(place, "run", "labels", *LABELS, *strategies, "--metric", "top1") == 0
    return scores_in(place, "labels")


@pytest.fixture(scope="module")
def numbers(place: Path, one_thread: None) -> Mapping[str, TargetScore]:
    """Scores of the numbers: the probe, and what is trained of each kind."""
    assert run(place, "run", "numbers", *NUMBERS, "--strategy", "full", "head", "bitfit") == 0
    return scores_in(place, "numbers")


def test_labels_are_scored_as_scikit_learn_does(labels: Mapping[str, TargetScore]) -> None:
    assert {"probe", "probe-refit", "logistic", "knn", "finetune", "lp-ft"} == labels.keys()
    score = labels["finetune"]
    truth, outputs = columns(score)
    assert np.isnan(truth).sum() > 0
    known = ~np.isnan(truth)
    each = [average_precision_score(truth[known[:, i], i], outputs[known[:, i], i]) for i in range(2)]
    assert score.metrics["map"].value == pytest.approx(np.mean(each))
    predicted = outputs > np.array(score.thresholds)
    f1 = [f1_score(truth[known[:, i], i], predicted[known[:, i], i]) for i in range(2)]
    assert score.metrics["f1"].value == pytest.approx(np.mean(f1), abs=1e-6)
    assert score.selected_by == "map"
    assert np.mean(each) > 0.7
    low, high = score.metrics["map"].interval or (1, 0)
    assert low < high


def test_a_score_says_how_it_was_trained(labels: Mapping[str, TargetScore]) -> None:
    score = labels["finetune"]
    assert (score.n_train + score.n_val + score.n_test, score.seed, score.tap) == (N, 0, "penultimate")
    assert score.trainable == score.total == 8 * 27 + 16 + 8 * 12 * 9 + 12 + 12 * 2 + 2
    assert len(score.history) == 4
    assert all(epoch["train_loss"] > 0 and epoch["val_loss"] > 0 for epoch in score.history)
    assert score.val_score == max(epoch["val_score"] for epoch in score.history)
    assert score.history[score.chosen["epoch"] - 1]["val_score"] == score.val_score
    assert score.chosen_by == f"val (n={score.n_val})"
    assert {entry["lr"] for entry in score.path} == {0.003, 0.01}
    assert max(entry["map"] for entry in score.path) == score.val_score
    assert 0 < score.warm_seconds <= score.cold_seconds
    assert timeless(decode(TargetScore, encode(score))) == timeless(score)


def test_numbers_are_scored_in_their_own_unit(numbers: Mapping[str, TargetScore]) -> None:
    assert {"probe", "probe-refit", "knn", "finetune", "head", "bitfit"} == numbers.keys()
    for method in ("finetune", "head", "bitfit"):
        score = numbers[method]
        truth, outputs = columns(score)
        known = ~np.isnan(truth)
        each = [r2_score(truth[known[:, i], i], outputs[known[:, i], i]) for i in range(2)]
        assert score.metrics["r2"].value == pytest.approx(np.mean(each))
        errors = [mean_absolute_error(truth[known[:, i], i], outputs[known[:, i], i]) for i in range(2)]
        assert score.metrics["mae"].value == pytest.approx(np.mean(errors))
        assert 9e4 < outputs[:, 1].mean() < 1.1e5
        assert (score.options["loss"], score.options["augment"]) == ("mse", "none")
        assert "huber_delta" not in score.options
    assert (numbers["finetune"].metrics["r2"].value or 0) > 0.1
    assert numbers["head"].trainable == 12 * 2 + 2
    assert "label_smoothing" not in numbers["finetune"].options


def test_the_report_shows_trainings_beside_the_probe(
    place: Path, labels: Mapping[str, TargetScore], numbers: Mapping[str, TargetScore]
) -> None:
    for name, loss in (("labels", "binary cross-entropy"), ("numbers", "squared error")):
        reports = reports_in(place, name)
        text = (reports / "report.md").read_text(encoding="utf-8")
        assert "frozen features and fine-tuning" in text
        assert f"Fine-tunes minimise the {loss}" in text
        assert (reports / "figures" / "training.png").stat().st_size > 1000
        page = (reports / "index.html").read_text(encoding="utf-8")
        assert "Training curves" in page
        (line,) = [line for line in text.splitlines() if "| full fine-tune" in line]
        assert "epoch" in line
        assert "val (n=" in line
        record = json.loads((reports / "report.json").read_text(encoding="utf-8"))
        assert any(row["name"].startswith("full fine-tune on python:net.py:make") for row in record["rows"])
    begun_at_random = replace(numbers["finetune"], weights="none")
    of_method = [TargetRow((replace(begun_at_random, method=name),)).name for name in ("scratch", "finetune")]
    assert [", untrained" in name for name in of_method] == [False, True]


def test_a_second_run_trains_nothing_and_writes_nothing(
    place: Path, labels: Mapping[str, TargetScore], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (place / "labels").rglob("*") if path.is_file()}
    assert run(place, "finetune", "labels", *LABELS, "--strategy", "full", "lp-ft", "--train", "lr=0.003,0.01") == 0
    assert capsys.readouterr().out.count("already scored, skipped (test mAP") == 2
    after = {path: path.stat().st_mtime_ns for path in (place / "labels").rglob("*") if path.is_file()}
    assert all(path.name.startswith(".memo") for path in after if after[path] != before.get(path))


def test_a_dry_run_knows_what_is_scored(
    place: Path, numbers: Mapping[str, TargetScore], capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--strategy", "full", "scratch", "--train", "loss=mse", "--dry-run")
    assert run(place, "run", "numbers", *NUMBERS, *more) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("dry run: ")]
    scored = [line for line in said if line.endswith("already scored")]
    assert len(scored) == 4  # the probe, its refit, k-NN and the full fine-tune
    assert any("full fine-tune" in line for line in scored)
    (left,) = [line for line in said if "would be fitted" in line]
    assert "from scratch" in left
    assert run(place, "finetune", "numbers", *NUMBERS, "--strategy", "full", "--train", "loss=huber", "--dry-run") == 0
    assert "would be fitted" in capsys.readouterr().out


def test_a_second_run_does_not_import_torch(place: Path) -> None:
    more = (*NUMBERS, "--weights", "none", "--image-size", "32", "--strategy", "head", "--epochs", "1")
    own = {"python:net.py:make": "shufflenet_v2_x0_5"}
    command = [own.get(word, word) for word in words("finetune", "stock", *more)]
    with chdir(place):
        assert program.main(command) == 0
    code = f"import sys; from probeline.cli import program; print(program.main({command}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=place, check=True, capture_output=True, text=True)
    assert "already scored, skipped" in done.stdout
    assert done.stdout.split()[-2:] == ["0", "False"]


def test_a_printed_command_finds_its_row(
    place: Path, numbers: Mapping[str, TargetScore], capsys: pytest.CaptureFixture[str]
) -> None:
    huber = ("--strategy", "head", "--train", "loss=huber", "huber_delta=0.5", "augment=flip-crop")
    assert run(place, "finetune", "numbers", *NUMBERS, *huber) == 0
    scores, _ = TARGET_SCORES.load(reports_in(place, "numbers"))
    squared, with_huber = sorted((s for s in scores if s.method == "head"), key=lambda s: s.options["loss"])[::-1]
    assert (with_huber.options["loss"], with_huber.options["huber_delta"]) == ("huber", 0.5)
    assert with_huber.key != squared.key
    assert with_huber.outputs != squared.outputs
    assert run(place, "compare", "numbers", *NUMBERS) == 0
    page = (reports_in(place, "numbers") / "index.html").read_text(encoding="utf-8")
    (command,) = {html.unescape(line) for line in page.split("<") if "probeline finetune" in line and "huber" in line}
    capsys.readouterr()
    with chdir(place):
        assert program.main(shlex.split(command[command.index("probeline finetune") :])[1:]) == 0
    assert "already scored, skipped (test R²" in capsys.readouterr().out


@pytest.mark.parametrize("targets", [LABELS, NUMBERS, ("--task", "regression", "--columns", "label=level")])
def test_lp_ft_starts_where_the_probe_ends(place: Path, targets: tuple[str, ...]) -> None:
    name = f"start-{targets[1]}-{targets[3][6:]}"
    assert run(place, "probe", name, *targets) == 0
    still = ("--strategy", "lp-ft", "--lr", "1e-12", "--freeze-batchnorm", "--train", "augment=none", "dropout=0")
    with chdir(place):
        assert program.main([*words("finetune", name, *targets), *still, "--epochs", "1"]) == 0
    found = scores_in(place, name)
    probe, begun = found["probe"], found["lp-ft"]
    (_, expected), (_, outputs) = columns(probe), columns(begun)
    if probe.task == "regression":
        # Outputs near 1e5 whose float32 weights are rounded to 6e-8 of them; the spread is about 150.
        np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-3)
    else:  # their temperatures are of other rows, which no ranking depends on
        assert begun.metrics["map"].value == pytest.approx(probe.metrics["map"].value, abs=1e-9)
        for column in range(2):
            ours, its = logit(outputs[:, column]), logit(expected[:, column])
            ratios = ours / its
            np.testing.assert_allclose(ratios[np.abs(its) < 7], ratios[0], rtol=1e-2)


def test_a_killed_run_goes_on_and_two_processes_end_it(place: Path, numbers: Mapping[str, TargetScore]) -> None:
    more = (*NUMBERS, "--strategy", "full", "--train", "accumulate=2")
    assert run(place, "finetune", "whole", *more) == 0
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PASSES": str(2 * 2 * BATCHES + 3)}
    command = [sys.executable, "-m", "probeline"]
    for name in ("alone", "two"):
        killed = subprocess.run(
            [*command, *words("finetune", name, *more)], cwd=place, env=environ, capture_output=True, check=False
        )
        assert killed.returncode < 0
        (record,) = (place / name / "cache").glob("*/*/*/last.json")
        assert len(json.loads(record.read_text())["history"]) in (1, 2)
    assert run(place, "finetune", "alone", *more) == 0
    two = [*words("finetune", "two", *NUMBERS, "--strategy", "full")]
    processes = start(["-m", "probeline", *two], folder=place)
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    whole, alone, together = (scores_in(place, name)["finetune"] for name in ("whole", "alone", "two"))
    assert timeless(alone) == timeless(whole)
    assert together.key == whole.key
    # BatchNorm's statistics differ by rounding.
    np.testing.assert_allclose(columns(together)[1], columns(whole)[1], rtol=1e-3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--strategy", "wise-ft"), "--strategy wise-ft needs one class for each image (expected head, last-K, bitfit"),
        (("--strategy", "full", "distill", "--teacher", "resnet18"), "--strategy distill needs one class"),
        (("--class-weights", "balanced"), "--class-weights is about classes"),
        (("--metric", "macro"), "--metric is about classes"),
        (("--train", "loss=huber"), "--train loss is about numbers (expected it with --task regression"),
    ],
)
def test_what_is_about_classes_or_numbers_is_refused_in_one_line(
    place: Path, more: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, "finetune", "refused", *LABELS, *more) == 2
    assert message in capsys.readouterr().err
    assert not list((place / "refused").glob("cache/*/*finetune*"))


def test_from_python(place: Path, tmp_path: Path) -> None:
    files = sorted((place / "pictures").iterdir())
    with (place / "pictures.csv").open() as file:
        level = [float(line["level"]) for line in csv.DictReader(file)]
    options: dict[str, Any] = {"cache": tmp_path / "cache", "reports": tmp_path / "reports", "device": "cpu"}
    net = f"python:{place / 'net.py'}:make"
    result = probeline.finetune_targets(
        files, level, net, task="regression", epochs=3, lr=0.01, seeds=2, train={"loss": "huber"}, **options
    )
    assert [score.seed for score in result.scores] == [0, 1]
    assert result.scores[0].outputs != result.scores[1].outputs
    assert result.scores[0].options["loss"] == "huber"
    assert len(result.to_frame()) == result.scores[0].n_test
    features = probeline.extract(files, net, cache=tmp_path / "cache", device="cpu")
    again = probeline.finetune_targets(
        features, level, task="regression", epochs=3, lr=0.01, train={"loss": "huber"}, reports=tmp_path / "reports"
    )
    assert timeless(again.scores[0]) == timeless(result.scores[0])
    own: dict[str, Any] = {"cache": tmp_path / "cache", "task": "regression", "columns": {"label": "level"}}
    with pytest.warns(probeline.DataWarning):
        table = probeline.extract(f"table:{place / 'pictures.csv'}", net, **own)
    with pytest.raises(BadOption, match=r"use probeline\.finetune_targets"):
        probeline.finetune(table)
