"""The fine-tune stage: its views of images, its keys, its scores, and that a second run trains nothing."""

from __future__ import annotations

import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from conftest import make_part
from probeline.backbones.build import random_net
from probeline.backbones.penultimate import find_tap
from probeline.commands import extract, finetune, probe
from probeline.console import Bar
from probeline.data.pixels.decode import decode, resize_crop
from probeline.data.sampling.splits import split
from probeline.errors import BadData, Diverged
from probeline.finetuning import fit
from probeline.finetuning.head import fresh_head
from probeline.finetuning.lr_range_test import request_range_test
from probeline.finetuning.requests import plan_jobs
from probeline.finetuning.training.losses import CrossEntropy
from probeline.finetuning.training.setup import TrainingOptions
from probeline.finetuning.training.trainer import Trainer
from probeline.identity import digest_bytes
from probeline.images import ImageArray, ImageFiles
from probeline.metrics.intervals import wilson
from probeline.options.settings import Settings
from probeline.results.score import SCORES, Score
from probeline.session import Session
from probeline.types import DataSet
from small_finetunes import CLASS_NAMES, NET, SIZE, SQUEEZENET, keys, options, run, timeless
from small_runs import Listening, Stopping, watch_images, watched

pytestmark = pytest.mark.usefixtures("one_thread")


def checkpoints(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.folders.cache.rglob("seed*/*"))


@pytest.fixture(scope="module")
def first(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict[str, Score]]:
    """A finished run of both strategies; leave it as it is."""
    settings = options(world, tmp_path_factory.mktemp("first"))
    return settings, run(settings)


# Scores


def test_the_epoch_and_the_candidate_are_selected_by_the_metric(world: Path, tmp_path: Path) -> None:
    settings = options(world, tmp_path, metric="macro", train=("lr=1e-3,3e-3",), strategies=("full",))
    score = run(settings)["finetune"]
    assert score.options["select_by"] == "macro"
    chosen = score.history[score.chosen["epoch"] - 1]
    assert score.val_score == chosen["val_score"] == max(epoch["val_score"] for epoch in score.history)
    assert score.val_top1 == chosen["val_top1"]
    assert max(point["macro"] for point in score.path) == score.val_score
    assert run(settings)["finetune"] == score, "it is found again"


def test_class_weights_are_in_the_loss_and_the_key(
    world: Path, tmp_path: Path, first: tuple[Settings, dict[str, Score]], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[CrossEntropy] = []
    plain = fit.prepare_training

    def keep(*arguments: Any) -> Any:
        prepared = plain(*arguments)
        losses.append(prepared.trainer.setup.loss)
        return prepared

    monkeypatch.setattr(fit, "prepare_training", keep)
    settings = options(world, tmp_path, strategies=("full", "head"), class_weights=("red=6", "blue=3"))
    scores = run(settings)
    before = first[1]["finetune"]
    assert scores["finetune"].options == {**before.options, "class_weights": {"blue": 3.0, "red": 6.0}}
    assert scores["finetune"].key != before.key
    session = Session(settings)
    train = session.dataset.parts[session.splits.train.part].labels[session.splits.train.rows]
    for loss in losses:
        weights = np.array(loss.class_weights)
        assert weights / weights[1] == pytest.approx([3, 1, 6])
        assert weights[train].mean() == pytest.approx(1)
    assert len(losses) == 2
    first_losses = [score.history[0]["train_loss"] for score in (scores["finetune"], before)]
    assert first_losses[0] != first_losses[1]
    balanced = request_range_test(next(plan_jobs(Session(settings.changed(class_weights=("balanced",))), [0])))
    assert balanced.options["class_weights"] == "balanced"
    metric = request_range_test(next(plan_jobs(Session(settings.changed(class_weights=(), metric="macro")), [0])))
    assert metric.key == request_range_test(next(plan_jobs(Session(settings.changed(class_weights=())), [0]))).key


@pytest.mark.parametrize("method", ["finetune", "scratch"])
def test_a_score_says_what_was_done(method: str, first: tuple[Settings, dict[str, Score]]) -> None:
    settings, scores = first
    assert set(scores) == {"finetune", "scratch"}
    score = scores[method]
    session = Session(settings)
    splits = session.splits
    part = session.dataset.parts[splits.test.part]
    truth = part.labels[splits.test.rows]
    assert (score.dataset, score.backbone, score.seed) == (session.dataset.name, NET, 0)
    assert score.weights == ("squeezed.safetensors" if method == "finetune" else "none")
    assert (score.image_size, score.precision) == (SIZE, "fp32")
    assert (score.n_train, score.n_val, score.n_test) == tuple(map(len, (splits.train, splits.val, splits.test)))
    assert score.class_names == CLASS_NAMES
    assert score.labels == tuple(truth.tolist())
    predicted = np.array(score.predictions)
    assert len(predicted) == len(truth)
    assert score.top1 == (predicted == truth).mean()
    assert score.macro == pytest.approx(np.mean([(predicted == truth)[truth == k].mean() for k in range(3)]))
    assert score.interval == wilson(int((predicted == truth).sum()), len(truth))
    assert [epoch["epoch"] for epoch in score.history] == [1, 2]
    best = score.history[score.chosen["epoch"] - 1]
    assert score.val_top1 == best["val_top1"] == max(epoch["val_top1"] for epoch in score.history)
    assert score.chosen == {"epoch": best["epoch"]}
    assert score.options["lr"] == 1e-3
    assert score.splits == session.splits_sha256
    assert score.chosen_by == f"val (n={len(splits.val)})"
    assert score.trainable == score.total == SQUEEZENET
    assert score.warm_seconds == score.cold_seconds == sum(epoch["seconds"] for epoch in score.history)
    assert score.environment["device"] == "CPU"
    assert score.options["body"] == (0.1 if method == "finetune" else 1.0)
    assert re.fullmatch("[0-9a-f]{64}", score.key)
    assert SCORES.path(session.reports, NET, score.weights, method, 0, score.key).is_file()


def test_a_score_tells_the_best_epoch_not_the_last(world: Path, tmp_path: Path) -> None:
    score = run(options(world, tmp_path, strategies=("full",), epochs=3, lr=0.3))["finetune"]
    ranking = [(epoch["val_top1"], -epoch["val_loss"]) for epoch in score.history]
    best = ranking.index(max(ranking))
    assert best < len(ranking) - 1, "at this rate the last epoch is not the best"
    assert score.val_top1 == score.history[best]["val_top1"] > score.history[-1]["val_top1"]
    assert score.chosen["epoch"] == best + 1
    assert score.warm_seconds == sum(epoch["seconds"] for epoch in score.history)


@pytest.mark.parametrize("method", ["finetune", "scratch"])
def test_predictions_are_those_of_the_kept_checkpoint(method: str, first: tuple[Settings, dict[str, Score]]) -> None:
    settings, scores = first
    (kept,) = settings.folders.cache.rglob(f"{NET}-{method}/seed0-{scores[method].key[:12]}/best.safetensors")
    net = random_net(NET, 0).eval()
    fresh_head(net, find_tap(net, SIZE, NET), 3, 0)
    net.load_state_dict(load_file(kept))
    session = Session(settings)
    test = session.splits.test
    files = session.dataset.images[test.part]
    assert isinstance(files, ImageFiles)
    preprocess = session.backbone(NET)[0].preprocess
    views = np.stack([resize_crop(decode(files.paths[row]), preprocess) for row in test.rows])
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (preprocess.mean, preprocess.std))
    images = (torch.from_numpy(views).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        assert tuple(net(images).argmax(1).tolist()) == scores[method].predictions


def test_it_learns(world: Path, tmp_path: Path) -> None:
    score = run(options(world, tmp_path, strategies=("full",), epochs=8, lr=3e-3))["finetune"]
    # One channel tells the classes apart; guessing among three has a loss of log 3.
    assert score.history[-1]["train_loss"] < 0.8 * math.log(3) < score.history[0]["train_loss"]


def test_the_optimizers_state_is_removed_and_the_best_epoch_kept(first: tuple[Settings, dict[str, Score]]) -> None:
    assert checkpoints(first[0]) == ["best.json", "best.json", "best.safetensors", "best.safetensors"]


def test_the_optimizers_state_stays_until_the_score_is_there(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = options(world, tmp_path, strategies=("full",), epochs=1)
    take_name = os.replace

    def stop_at_scores(source: Path, target: Path) -> None:
        if "scores" in target.parts:
            raise KeyboardInterrupt
        take_name(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop_at_scores)
        with pytest.raises(KeyboardInterrupt):
            run(settings)
    assert checkpoints(settings) == ["best.json", "best.safetensors", "last.json", "last.safetensors"]
    score = run(replace(settings, console=Stopping(0)))["finetune"]
    assert len(score.history) == 1
    assert checkpoints(settings) == ["best.json", "best.safetensors"]


@pytest.mark.parametrize(("strategy", "weights"), [("full", "none"), ("full", "squeezed"), ("scratch", "none")])
def test_a_net_that_only_seems_pretrained_is_named(strategy: str, weights: str, world: Path, tmp_path: Path) -> None:
    console = Listening()
    given = {"weights": "none"} if weights == "none" else {}
    run(options(world, tmp_path, strategies=(strategy,), epochs=1, console=console, **given))
    line = f"finetune: folder--pictures x {NET}, finetune, seed 0: starts from random weights, not pretrained ones"
    assert (line in console.said) == ((strategy, weights) == ("full", "none"))


# A second run


def test_a_second_run_trains_nothing_and_writes_nothing(first: tuple[Settings, dict[str, Score]]) -> None:
    console = Listening()
    settings = replace(first[0], console=console)
    folders = (settings.folders.cache, settings.folders.reports)
    before = {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}
    assert run(settings) == first[1]
    assert {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")} == before
    assert console.said[:2] == [
        f"finetune: folder--pictures x {NET}, {method}, seed 0: already scored, skipped (test top-1 {score.top1:.4f})"
        for method, score in sorted(first[1].items())
    ]


@pytest.mark.slow
def test_a_second_run_does_not_import_torch(first: tuple[Settings, dict[str, Score]]) -> None:
    settings = first[0]
    program = (
        "import sys\nfrom probeline.cli.program import main\nassert main(sys.argv[1:]) == 0\n"
        "assert not {'torch', 'torchvision', 'safetensors'} & set(sys.modules), 'torch was imported'"
    )
    words = ["finetune", "--dataset", settings.data.dataset, "--backbone", NET, "--weights", settings.nets.weights]
    words += [
        "--cache",
        str(settings.folders.cache),
        "--reports",
        str(settings.folders.reports),
        "--image-size",
        str(SIZE),
    ]
    words += ["--batch-size", "16", "--epochs", "2", "--workers", "1"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("already scored, skipped") == 2


def test_a_damaged_score_is_made_again(world: Path, tmp_path: Path) -> None:
    settings = options(world, tmp_path, strategies=("full",), epochs=1)
    score = run(settings)["finetune"]
    (path,) = settings.folders.reports.rglob("finetune-*.json")
    path.write_bytes(path.read_bytes().replace(b'"seed":0', b'"seed":1'))
    assert timeless(run(settings)["finetune"]) == timeless(score)


# Interrupted


def test_an_interrupted_run_gives_the_same_score(
    world: Path, tmp_path: Path, first: tuple[Settings, dict[str, Score]]
) -> None:
    session = Session(options(world, tmp_path, strategies=("full",)))
    epoch = len(session.splits.train) + len(session.splits.val)
    seen: list[int] = []

    def interrupt(row: int) -> None:
        seen.append(row)
        if len(seen) > epoch + 8:
            raise KeyboardInterrupt

    settings = session.settings.changed(workers=1)
    with pytest.raises(KeyboardInterrupt):
        run(settings, watch=interrupt)
    assert "last.json" in checkpoints(settings)
    assert not list(settings.folders.reports.rglob("*.json"))
    assert timeless(run(settings)["finetune"]) == timeless(first[1]["finetune"])


def test_test_rows_are_read_once_after_all_else(world: Path, tmp_path: Path) -> None:
    session = Session(options(world, tmp_path, strategies=("full",), workers=1))
    order: list[int] = []
    finetune.run(watch_images(session, order.append))
    splits = session.splits
    per_epoch = len(splits.train) + len(splits.val)
    # Val is read once more at the best epoch: its temperature is fitted before test is looked at.
    assert len(order) == 2 * per_epoch + len(splits.val) + len(splits.test)
    for epoch in range(2):
        of = order[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted(of[: len(splits.train)]) == splits.train.rows.tolist()
        assert of[len(splits.train) :] == splits.val.rows.tolist()
    assert order[2 * per_epoch :] == [*splits.val.rows, *splits.test.rows]
    assert not set(splits.test.rows) & set(order[: 2 * per_epoch])


def test_a_run_that_diverges_leaves_no_score(world: Path, tmp_path: Path) -> None:
    settings = options(world, tmp_path, strategies=("scratch",), lr=1e30)
    with pytest.raises(Diverged, match=r"loss is nan in epoch 1; use a lower --lr$"):
        run(settings)
    assert not list(settings.folders.reports.rglob("*.json"))


# Keys


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"epochs": 3}, {"finetune", "scratch"}),
        ({"batch_size": 8}, {"finetune", "scratch"}),
        ({"lr": 2e-3}, {"finetune", "scratch"}),
        ({"seed": 1}, {"finetune", "scratch"}),
        ({"data_seed": 1}, {"finetune", "scratch"}),
        ({"limit": 24}, {"finetune", "scratch"}),
        ({"image_size": 40}, {"finetune", "scratch"}),
        ({"backbones": ("squeezenet1_0",), "weights": "none"}, {"finetune", "scratch"}),
        ({"precision": "bf16"}, {"finetune", "scratch"}),
        ({"precision": "fp16"}, {"finetune", "scratch"}),
        ({"precision": "tf32"}, {"finetune", "scratch"}),
        ({"freeze_batchnorm": True}, {"finetune"}),
        ({"weights": "none"}, {"finetune"}),
        ({"workers": 1}, set()),
        ({"device": "cuda:7"}, set()),
        ({"device": "auto"}, set()),
        ({"reports": Path("elsewhere")}, set()),
        ({"batch_size": 16}, set()),
    ],
    ids=lambda value: ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None,
)
def test_a_key_changes_with_what_changes_the_numbers(
    changes: dict[str, Any],
    changed: set[str],
    first: tuple[Settings, dict[str, Score]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = keys(first[0].changed(**changes))
    assert {method for method, key in found.items() if key != first[1][method].key} == changed


def test_precisions_have_keys_of_their_own(
    first: tuple[Settings, dict[str, Score]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [keys(first[0].changed(precision=p))["finetune"] for p in ("fp32", "tf32", "bf16", "fp16")]
    assert len(set(found)) == 4


@pytest.mark.parametrize("what", ["labels", "flips", "content"])
def test_a_key_changes_with_the_data(
    what: str, first: tuple[Settings, dict[str, Score]], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Session(first[0]).dataset
    part = dataset.parts["all"]
    other = {
        "labels": replace(dataset, parts={"all": replace(part, labels=part.labels[::-1].copy())}),
        "content": replace(dataset, parts={"all": replace(part, content=part.content[::-1])}),
        "flips": replace(dataset, flips=False),
    }[what]
    found = keys(first[0], other)
    assert all(found[method] != score.key for method, score in first[1].items())


def test_seeds_are_independent_of_each_other(world: Path, tmp_path: Path) -> None:
    settings = options(world, tmp_path / "both", strategies=("full",), epochs=1, seeds=2)
    session = Session(settings)
    finetune.run(session)
    both = {score.seed: score for score in SCORES.load(session.reports)[0]}
    alone = run(options(world, tmp_path / "alone", strategies=("full",), epochs=1, seed=1))["finetune"]
    assert set(both) == {0, 1}
    assert timeless(both[1]) == timeless(alone)
    assert both[0].history[0]["train_loss"] != both[1].history[0]["train_loss"]


# What the trainer is given


class Stop(Exception):
    """Ends a stage before it trains."""


@dataclass
class Started:
    """A trainer as the stage hands it over."""

    weights: dict[str, Tensor]
    trainer: Trainer
    tf32: bool


def start(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Started:
    started: list[Started] = []

    def fit(trainer: Trainer, *_: Any, **__: Any) -> None:
        weights = {name: tensor.clone() for name, tensor in trainer.net.state_dict().items()}
        started.append(Started(weights, trainer, torch.backends.cuda.matmul.fp32_precision == "tf32"))
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", fit)
        with pytest.raises(Stop):
            run(settings)
    return started[0]


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    assert a.keys() == b.keys()
    return {name for name in a if not torch.equal(a[name], b[name])}


def test_from_scratch_all_random_weights_follow_the_seed(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = options(world, tmp_path, strategies=("scratch",), backbones=("shufflenet_v2_x0_5",), weights="none")
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]  # noqa: NPY002
    zero, again, one = (start(settings.changed(seed=seed), monkeypatch).weights for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]  # noqa: NPY002
    assert random.getstate() == before[2]
    assert differing(zero, again) == set()
    constant = {name for name, tensor in zero.items() if tensor.numel() == 1 or bool((tensor == tensor[0]).all())}
    assert differing(zero, one) == set(zero) - constant
    # Constant is what BatchNorm starts with, and nothing else: its four tensors and its count of batches.
    net = random_net("shufflenet_v2_x0_5", 0)
    norms = {name for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {name.rpartition(".")[0] for name in constant} == norms


def test_fine_tuning_starts_from_the_weights_with_a_head_of_the_seeds(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = options(world, tmp_path, strategies=("full",))
    zero, one = (start(settings.changed(seed=seed), monkeypatch).weights for seed in (0, 1))
    head = {"classifier.1.weight", "classifier.1.bias"}
    assert differing(zero, one) == head
    file = load_file(world / "squeezed.safetensors")
    assert {name for name in zero if name not in head and not torch.equal(zero[name], file[name])} == set()
    assert zero["classifier.1.weight"].shape == (3, 512, 1, 1)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("strategy", ["full", "scratch"])
def test_options_reach_the_trainer(
    strategy: Literal["full", "scratch"],
    precision: str,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = options(
        world,
        tmp_path,
        strategies=(strategy,),
        precision=precision,
        freeze_batchnorm=True,
        lr=0.02,
        seed=3,
        epochs=5,
        train=(
            "decay=0.5",
            "optimizer=sgd",
            "schedule=one-cycle",
            "warmup=1.5",
            "label_smoothing=0.1",
            "clip=1",
            "dropout=0.4",
            "accumulate=2",
            "patience=3",
        ),
    )
    before = torch.backends.cuda.matmul.fp32_precision
    started = start(settings, monkeypatch)
    training = started.trainer.options
    assert training == TrainingOptions(
        epochs=5,
        batch_size=16,
        lr=0.02,
        body=0.1 if strategy == "full" else 1.0,
        decay=0.5,
        optimizer="sgd",
        weight_decay=0.01,
        schedule="one-cycle",
        warmup=1.5,
        label_smoothing=0.1,
        clip=1.0,
        dropout=0.4,
        accumulate=2,
        patience=3,
        freeze_batchnorm=strategy == "full",
        precision=precision,
        seed=3,
    )
    assert started.tf32 == (precision == "tf32")
    assert torch.backends.cuda.matmul.fp32_precision == before


def test_the_default_batch_size_does_not_depend_on_the_machine(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = options(world, tmp_path, strategies=("full",), batch_size=None)
    assert start(settings, monkeypatch).trainer.options.batch_size == 32


def test_a_score_tells_the_precision_it_was_trained_in(world: Path, tmp_path: Path) -> None:
    score = run(options(world, tmp_path, strategies=("full",), precision="bf16", epochs=1))["finetune"]
    assert score.precision == score.certificate["precision"] == "bf16"


# Rows and images


def test_worker_counts_do_not_change_the_numbers(
    world: Path, tmp_path: Path, first: tuple[Settings, dict[str, Score]]
) -> None:
    score = run(options(world, tmp_path, strategies=("scratch",), workers=4))["scratch"]
    assert timeless(score) == timeless(first[1]["scratch"])


def test_an_image_that_cannot_be_read_is_one_line(world: Path, tmp_path: Path) -> None:
    session = Session(options(world, tmp_path, strategies=("full",), epochs=1))
    files = session.dataset.images["all"]
    assert isinstance(files, ImageFiles)
    bad = int(session.splits.train.rows[3])
    broken = tmp_path / "broken.png"
    broken.write_bytes(files.paths[bad].read_bytes()[:200])
    paths = (*files.paths[:bad], broken, *files.paths[bad + 1 :])
    content = (*files.content[:bad], digest_bytes(broken.read_bytes()), *files.content[bad + 1 :])
    session.__dict__["dataset"] = replace(session.dataset, images={"all": replace(files, paths=paths, content=content)})
    with pytest.raises(BadData) as caught:
        finetune.run(session)
    assert str(caught.value).count("cannot be read") == 1
    assert str(broken) in str(caught.value)


def test_val_rows_of_a_part_of_their_own(world: Path, tmp_path: Path) -> None:
    """Rows of val and test are looked up in their own parts, whose row numbers overlap those of train."""
    sizes = {"train": 9, "val": 6, "test": 5}
    parts = {name: make_part(n, name=name) for name, n in sizes.items()}
    parts["val"] = replace(parts["val"], labels=np.full(6, 2))
    shades = {"train": 10, "val": 100, "test": 200}
    seen: list[tuple[str, int]] = []
    images = {
        name: watched(
            ImageArray(np.full((n, 32, 32, 3), shades[name], np.uint8)), lambda row, name=name: seen.append((name, row))
        )
        for name, n in sizes.items()
    }
    dataset = DataSet("toy", parts, images, parts["train"].class_names, "train", "test", val="val")
    assert split(dataset, data_seed=0).val.part == "val"
    session = Session(options(world, tmp_path, strategies=("scratch",), epochs=1))
    session.__dict__["dataset"] = dataset
    finetune.run(session)
    assert sorted(seen[:9]) == [("train", row) for row in range(9)]
    val, test = ([(name, row) for row in range(sizes[name])] for name in ("val", "test"))
    assert seen[9:] == [*val, *val, *test], "val again at the best epoch, for the temperature"
    (score,), _ = SCORES.load(session.reports)
    assert score.labels == tuple(parts["test"].labels.tolist())
    # All val images are alike and of one class: all right or all wrong, and never so by the labels of train's rows.
    assert score.history[0]["val_top1"] in {0.0, 1.0}


def test_progress_counts_every_training_image(world: Path, tmp_path: Path) -> None:
    bars: dict[str, list[int]] = {}

    class Counting(Listening):
        @contextmanager
        def bar(self, title: str, total: int, unit: str) -> Iterator[Bar]:  # noqa: ARG002
            bars[title] = [total, 0]

            class Counter:
                def update(self, n: int) -> None:
                    bars[title][1] += n

            yield Counter()

    console = Counting()
    settings = options(world, tmp_path, strategies=("full",), console=console)
    run(settings)
    total = 2 * len(Session(settings).splits.train)
    title = f"folder--pictures x {NET}, finetune, seed 0"
    assert bars[f"finetune {title}"] == [total, total]
    line = rf"finetune: {title}: test top-1 [01]\.\d{{4}} in \d+ s"
    assert sum(re.fullmatch(line, said) is not None for said in console.said) == 1


# The ladder


def test_each_strategy_is_a_row_of_its_own(world: Path, tmp_path: Path) -> None:
    strategies = ("head", "last-1", "freeze-early", "freeze-middle", "gradual")
    found = run(options(world, tmp_path, strategies=strategies, limit=24))
    assert set(found) == set(strategies)
    trainable = {name: score.trainable for name, score in found.items()}
    # SqueezeNet 1.1 by hand: 513 x 3 in the head, and in the fires after the last pooling the rest.
    assert trainable["head"] == 513 * 3
    assert trainable["head"] < trainable["last-1"] < trainable["freeze-early"] < trainable["gradual"] == SQUEEZENET
    assert all(score.total == SQUEEZENET for score in found.values())


def test_lp_ft_starts_where_the_probe_ends(world: Path, tmp_path: Path) -> None:
    # With a rate of next to nothing the net says what the probe says.
    settings = options(world, tmp_path, strategies=("lp-ft",), epochs=1, lr=1e-12, train=("augment=none",))
    settings = settings.changed(sgd=("lr=1e-3", "epochs=1"))
    extract.run(Session(settings))
    probe.run(Session(settings))
    found = run(settings)
    assert found["lp-ft"].predictions == found["probe"].predictions
    assert found["lp-ft"].trainable == SQUEEZENET


@pytest.mark.slow
def test_lp_ft_extracts_the_embeddings_that_it_starts_from(world: Path, tmp_path: Path) -> None:
    settings = options(world, tmp_path, strategies=("lp-ft",))
    found = run(settings)
    assert list(settings.folders.cache.glob("*/*-penultimate/*/entry.json"))
    extracted = options(world, tmp_path / "extracted", strategies=("lp-ft",))
    extract.run(Session(extracted))
    assert timeless(run(extracted)["lp-ft"]) == timeless(found["lp-ft"])


def test_of_several_rates_val_chooses(world: Path, tmp_path: Path) -> None:
    settings = options(world, tmp_path, strategies=("full",), train=("lr=1e-7,3e-3",), epochs=3)
    score = run(settings)["finetune"]
    assert score.chosen["lr"] == 3e-3
    assert [point["lr"] for point in score.path] == [1e-7, 3e-3]
    assert score.certificate["edge"] is False, "of two values each stands at an end"
    kept = list(settings.folders.cache.rglob("best.safetensors"))
    assert [path.parent.name.rpartition("-")[2] for path in kept] == ["lr0.003"]


def test_any_number_may_be_swept(world: Path, tmp_path: Path) -> None:
    settings = options(world, tmp_path, strategies=("full",), train=("lr=1e-3,3e-3", "decay=0.5,1"), epochs=1)
    score = run(settings)["finetune"]
    tried = [(point["lr"], point["decay"]) for point in score.path]
    assert tried == [(1e-3, 0.5), (1e-3, 1.0), (3e-3, 0.5), (3e-3, 1.0)]
    best = max(score.path, key=lambda point: (point["top1"], -point["nll"]))
    assert (score.chosen["lr"], score.chosen["decay"]) == (best["lr"], best["decay"])
    (kept,) = settings.folders.cache.rglob("best.safetensors")
    assert kept.parent.name.endswith(f"-lr{best['lr']:g}-decay{best['decay']:g}")


def test_what_diverges_keeps_the_others_from_nothing(world: Path, tmp_path: Path) -> None:
    settings = options(world, tmp_path, strategies=("full", "head"), train=("optimizer=sgd", "body=1"), lr=100.0)
    with pytest.raises(Diverged, match="is nan in epoch 1"):
        finetune.run(Session(settings))
    assert {score.method for score in SCORES.load(Session(settings).reports)[0]} == {"head"}


def test_a_rate_that_diverges_is_no_candidate(world: Path, tmp_path: Path) -> None:
    score = run(options(world, tmp_path, strategies=("full",), train=("lr=1e-3,100", "optimizer=sgd", "body=1")))
    assert score["finetune"].chosen["lr"] == 1e-3
    assert score["finetune"].certificate["diverged"] == ["lr 100"]
