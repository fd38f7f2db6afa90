"""Training a whole net: the rates, what is kept, and that an interrupted run takes an uninterrupted one's steps."""

from __future__ import annotations

import itertools
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from probeline.backbones import torchvision_import as vision
from probeline.backbones.penultimate import find_tap
from probeline.backbones.stages import find_stages
from probeline.errors import BadCache, BadOption, Diverged, OutOfMemory
from probeline.finetuning import checkpoint
from probeline.finetuning.head import fresh_head
from probeline.finetuning.training.losses import CrossEntropy
from probeline.finetuning.training.setup import Feed, TrainingOptions, TrainingSetup
from probeline.finetuning.training.trainer import Trainer, TrainingResult
from probeline.finetuning.training.unfreezing import plan_unfreezing
from probeline.images import PixelArray
from probeline.types import IntArray
from small_trainings import (
    BATCHES_AN_EPOCH,
    CLASSES,
    CPU,
    FEED,
    KEY,
    LABELS,
    SIZE,
    TRAIN,
    TRAIN_BATCHES,
    TRAINING,
    VAL,
    Interrupted,
    Tiny,
    fit,
    lines,
    make_trainer,
    moved,
    pictures,
    plain_feed,
    preprocess,
    seeded,
    state,
)

# Rates


def test_rates_fall_by_a_cosine_and_the_backbones_are_a_tenth_of_the_heads(tmp_path: Path) -> None:
    rates: list[set[float]] = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append({group["lr"] for group in optimizer.param_groups})
    )
    try:
        trained = fit(make_trainer(), tmp_path)
    finally:
        hook.remove()
    steps = TRAINING.epochs * math.ceil(len(TRAIN) / TRAINING.batch_size)
    assert len(rates) == steps
    for number, found in enumerate(rates):
        factor = (1 + math.cos(math.pi * number / steps)) / 2
        assert sorted(found) == pytest.approx([0.002 * factor, 0.02 * factor], rel=1e-12)
    # The step after the last would have a rate of zero.
    assert (1 + math.cos(math.pi * steps / steps)) / 2 == 0
    assert max(rates[-1]) < 0.02 * (math.pi / 2 / steps) ** 2 * 1.01
    per_epoch = steps // TRAINING.epochs
    assert [epoch["lr"] for epoch in trained.history] == pytest.approx([max(found) for found in rates[::per_epoch]])


def test_one_step_moves_by_the_rate_and_decays_matrices_and_convolutions_alone(tmp_path: Path) -> None:
    decay, lr, backbone_lr = 100.0, 1e-3, 1e-4
    training = replace(TRAINING, epochs=1, batch_size=len(TRAIN), lr=lr, weight_decay=decay)
    trainer = make_trainer(training)
    before = state(trainer.net)
    fit(trainer, tmp_path)
    after = trainer.net.state_dict()
    for name, parameter in trainer.net.named_parameters():
        rate = lr if name.startswith("fc.") else backbone_lr
        shrink = rate * decay if name in ("conv.weight", "wide.weight", "fc.weight") else 0.0
        # Adam's first step is the rate times g / (|g| + 1e-8): at most the rate, and nearly it for most elements.
        step = (after[name] - before[name] * (1 - shrink)).abs() / rate
        assert float(step.max()) <= 1.01, name
        if name != "conv.bias":  # BatchNorm takes a constant away again: no gradient but roundings
            assert float(step.median()) > 0.9, name
        assert parameter.requires_grad


def test_every_parameter_in_use_is_trained(tmp_path: Path) -> None:
    trainer = make_trainer()
    before = state(trainer.net)
    fit(trainer, tmp_path)
    assert moved(before, trainer.net.state_dict()) == set(before)


# BatchNorm


def test_frozen_batchnorm_stays_bit_for_bit(tmp_path: Path) -> None:
    trainer = make_trainer(replace(TRAINING, freeze_batchnorm=True))
    before = state(trainer.net)
    fit(trainer, tmp_path)
    norms = {name for name in before if name.startswith(("norm.", "narrow."))}
    assert len(norms) == 2 * 5
    assert moved(before, trainer.net.state_dict()) == set(before) - norms
    assert trainer.total - trainer.trainable == 2 * 8 + 2 * 12


@pytest.mark.parametrize("n_train", [25, 17, 9])
def test_a_last_batch_of_one_row_joins_the_one_before(n_train: int, tmp_path: Path) -> None:
    sizes: list[int] = []

    def feed(batches: Sequence[IntArray], augmentation: int | None) -> Iterator[PixelArray]:
        sizes.extend(len(rows) for rows in batches)
        return FEED(batches, augmentation)

    training = replace(TRAINING, epochs=1)
    trained = fit(make_trainer(training, feed=feed), tmp_path, train=TRAIN[:n_train])
    assert sizes == [8] * (n_train // 8 - 1) + [9]
    assert math.isfinite(trained.history[0]["train_loss"])


@pytest.mark.parametrize(("batch_size", "n_train"), [(1, 4), (8, 1)])
def test_a_batch_of_one_image_is_refused_where_batchnorm_cannot_take_it(
    batch_size: int, n_train: int, tmp_path: Path
) -> None:
    training = replace(TRAINING, epochs=1, batch_size=batch_size)
    with pytest.raises(BadOption, match="--batch-size 2 or more, or --freeze-batchnorm"):
        fit(make_trainer(training), tmp_path, train=TRAIN[:n_train])
    fit(make_trainer(replace(training, freeze_batchnorm=True)), tmp_path, train=TRAIN[:n_train])


# What is kept


@dataclass(frozen=True, eq=False)
class ScriptedValidation(CrossEntropy):
    """Lets val top-1 and the sharpness of the logits follow a script by epoch, and keeps the net of each epoch."""

    script: Sequence[tuple[float, float]]
    nets: list[nn.Module] = field(default_factory=list)
    states: list[dict[str, Tensor]] = field(default_factory=list)

    def measure(self, output: Tensor, labels: Tensor, rows: IntArray) -> dict[str, Any]:  # noqa: ARG002
        self.states.append(state(self.nets[0]))
        epoch = int(self.states[-1]["narrow.num_batches_tracked"]) // TRAIN_BATCHES
        top1, sharpness = self.script[epoch - 1]
        wrong = torch.arange(len(labels)) >= round(top1 * len(labels))
        predicted = torch.where(wrong, (labels + 1) % CLASSES, labels)
        return super().measure(nn.functional.one_hot(predicted, CLASSES) * sharpness, labels, rows)


def scripted(
    script: Sequence[tuple[float, float]], training: TrainingOptions = TRAINING, feed: Feed = FEED
) -> tuple[Trainer, list[dict[str, Tensor]]]:
    """Return a trainer whose validation follows a script by epoch, and the list of its net's states after each."""
    loss = ScriptedValidation(training.label_smoothing, script)
    trainer = make_trainer(training, feed=feed, loss=loss)
    loss.nets.append(trainer.net)
    return trainer, loss.states


@pytest.mark.parametrize(
    ("script", "best"),
    [
        # Among equal top-1 above one half, a larger sharpness is a lower loss.
        ([(0.5, 1.0), (0.75, 1.0), (1.0, 1.0), (0.75, 1.0)], 3),
        ([(0.75, 1.0), (0.75, 1.5), (0.5, 0.1), (0.75, 1.2)], 2),
        ([(0.75, 1.0), (0.75, 1.0), (0.75, 1.0), (0.5, 1.0)], 1),
        ([(0.5, 1.0), (0.5, 1.0), (0.5, 1.0), (1.0, 0.1)], 4),
    ],
    ids=["top-1", "loss among equals", "earliest among equals", "last"],
)
def test_the_best_epochs_weights_are_kept(script: list[tuple[float, float]], best: int, tmp_path: Path) -> None:
    trainer, seen = scripted(script)
    trained = fit(trainer, tmp_path)
    assert [epoch["val_top1"] for epoch in trained.history] == [top1 for top1, _ in script]
    assert trained.best_epoch == best
    assert moved(seen[best - 1], trainer.net.state_dict()) == set()
    assert all(moved(seen[best - 1], other) for number, other in enumerate(seen) if number != best - 1)
    kept = checkpoint.read(tmp_path, "best", KEY)
    assert kept is not None
    assert moved(seen[best - 1], kept[0]) == set()


def test_history_tells_what_happened(tmp_path: Path) -> None:
    trainer, _ = scripted([(0.75, 2.0)] * 4)
    trained = fit(trainer, tmp_path)
    # Three classes, the said one's logit 2: by hand.
    log_sum = math.log(math.exp(2.0) + 2)
    for epoch in trained.history:
        assert epoch["val_loss"] == pytest.approx(0.75 * (log_sum - 2) + 0.25 * log_sum, rel=1e-6)
    assert [epoch["epoch"] for epoch in trained.history] == [1, 2, 3, 4]
    assert trained.seconds == sum(epoch["seconds"] for epoch in trained.history)
    assert trained.resumed_from == 0
    assert trained.history[0]["train_loss"] > trained.history[-1]["train_loss"]


def test_it_learns_and_predicts_row_by_row(tmp_path: Path) -> None:
    trainer = make_trainer(replace(TRAINING, epochs=12))
    trained = fit(trainer, tmp_path)
    # The strongest channel tells the class; guessing would give 1/3.
    assert trained.history[trained.best_epoch - 1]["val_top1"] >= 0.9
    together = trainer.predict(VAL, FEED)
    assert together.shape == (len(VAL), CLASSES)
    assert together.dtype == torch.float32
    assert not together.requires_grad
    backwards = trainer.predict(VAL[::-1].copy(), FEED)
    # Another place in a batch, no other rounding than float32's.
    assert torch.allclose(backwards.flip(0), together, rtol=1e-5, atol=1e-5)
    accuracy = float((together.argmax(1).numpy() == LABELS[VAL]).mean())
    assert accuracy == trained.history[trained.best_epoch - 1]["val_top1"]


# Kill and resume

# The second of four epochs is the best, so that a run may stop before it, right after it, and later.
SCRIPT = [(0.5, 1.0), (0.75, 1.2), (0.5, 1.5), (0.75, 1.0)]

Whole = tuple[dict[str, Tensor], TrainingResult]


def run(folder: Path, feed: Feed = FEED, training: TrainingOptions = TRAINING) -> Whole:
    trainer, _ = scripted(SCRIPT, training, feed)
    trained = fit(trainer, folder, feed=feed)
    return state(trainer.net), trained


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    found = run(tmp_path_factory.mktemp("whole"))
    assert found[1].best_epoch == 2
    return found


def assert_goes_on(whole: Whole, folder: Path) -> TrainingResult:
    """Go on with a new trainer, and require the uninterrupted run's weights and history, bit for bit."""
    weights, trained = run(folder)
    assert moved(whole[0], weights) == set()
    assert lines(trained.history) == lines(whole[1].history)
    assert trained.best_epoch == whole[1].best_epoch
    return trained


@pytest.mark.parametrize("after", range(0, 4 * BATCHES_AN_EPOCH, 5))
def test_interrupted_in_any_batch(after: int, whole: Whole, tmp_path: Path) -> None:
    feed = Interrupted(after)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, feed)
    trained = assert_goes_on(whole, tmp_path)
    assert trained.resumed_from == after // BATCHES_AN_EPOCH


def crash_at(count: int, monkeypatch: pytest.MonkeyPatch, *, before: bool) -> list[Path]:
    """Let the process end at the file number `count` that is written, before or after; return those that were."""
    take_name = os.replace
    names: list[Path] = []

    def crash(source: Path, target: Path) -> None:
        if ".next." not in target.name:  # a written file that gets its last name
            take_name(source, target)
            return
        if before and len(names) == count:
            raise KeyboardInterrupt
        take_name(source, target)
        names.append(target)
        if not before and len(names) > count:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    return names


def test_interrupted_at_any_file(whole: Whole, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        names = crash_at(10**6, monkeypatch, before=True)
        run(tmp_path / "all")
    files = ["last.next.safetensors", "last.next.json", "best.next.safetensors", "best.next.json"]
    assert [path.name for path in names[:4]] == files
    for count in range(len(names)):
        folder = tmp_path / str(count)
        with pytest.MonkeyPatch.context() as monkeypatch:
            crash_at(count, monkeypatch, before=False)
            with pytest.raises(KeyboardInterrupt):
                run(folder)
        trained = assert_goes_on(whole, folder)
        epochs = sum(path.name == "last.next.json" for path in names[: count + 1])
        assert trained.resumed_from == epochs, count


def test_interrupted_before_the_first_file(whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        crash_at(0, patch, before=True)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert assert_goes_on(whole, tmp_path).resumed_from == 0


def test_interrupted_again_and_again(whole: Whole, tmp_path: Path) -> None:
    for _ in range(3):
        feed = Interrupted(BATCHES_AN_EPOCH + 2)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, feed)
    assert assert_goes_on(whole, tmp_path).resumed_from == 3


def test_a_finished_run_is_taken_over_without_a_step(whole: Whole, tmp_path: Path) -> None:
    run(tmp_path)
    weights, trained = run(tmp_path, Interrupted(0))
    assert trained.resumed_from == 4
    assert moved(whole[0], weights) == set()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_goes_on_too(precision: str, tmp_path: Path) -> None:
    training = replace(TRAINING, precision=precision, epochs=3)
    trainer = make_trainer(training)
    trained = fit(trainer, tmp_path / "whole")
    assert {tensor.dtype for tensor in trainer.net.state_dict().values()} == {torch.float32, torch.int64}
    assert trainer.predict(VAL, FEED).dtype == torch.float32
    exact = make_trainer(replace(training, precision="fp32"))
    fit(exact, tmp_path / "exact")
    assert moved(exact.net.state_dict(), trainer.net.state_dict()), "half precision changed nothing"

    feed = Interrupted(2 * BATCHES_AN_EPOCH + 1)
    with pytest.raises(KeyboardInterrupt):
        fit(make_trainer(training, feed=feed), tmp_path / "cut", feed=feed)
    again = make_trainer(training)
    resumed = fit(again, tmp_path / "cut")
    assert resumed.resumed_from == 2
    assert moved(trainer.net.state_dict(), again.net.state_dict()) == set()
    assert lines(resumed.history) == lines(trained.history)
    ends = [checkpoint.read(tmp_path / name, "last", KEY) for name in ("whole", "cut")]
    scales = [end[1]["scaler"] for end in ends if end is not None]
    # fp16 has a loss scale and counts the steps it went well.
    assert scales[0] == scales[1]
    assert bool(scales[0]) == (precision == "fp16")


# Checkpoints that are not used


def stopped_after(epochs: int, folder: Path) -> None:
    feed = Interrupted(epochs * BATCHES_AN_EPOCH)
    with pytest.raises(KeyboardInterrupt):
        run(folder, feed)


@pytest.mark.parametrize("file", ["last.json", "last.safetensors"])
@pytest.mark.parametrize("damage", ["a byte", "cut", "gone"])
def test_a_damaged_last_checkpoint_is_not_used(file: str, damage: str, whole: Whole, tmp_path: Path) -> None:
    stopped_after(3, tmp_path)
    spoil(tmp_path / file, damage)
    assert assert_goes_on(whole, tmp_path).resumed_from == 0


def spoil(path: Path, damage: str) -> None:
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


@pytest.mark.parametrize("file", ["best.json", "best.safetensors"])
def test_without_its_best_epoch_a_run_begins_anew(file: str, whole: Whole, tmp_path: Path) -> None:
    stopped_after(3, tmp_path)
    spoil(tmp_path / file, "a byte")
    assert assert_goes_on(whole, tmp_path).resumed_from == 0


@pytest.mark.parametrize("file", ["best.json", "best.safetensors"])
def test_the_best_epoch_is_made_again_where_it_is_the_last(file: str, whole: Whole, tmp_path: Path) -> None:
    stopped_after(whole[1].best_epoch, tmp_path)
    spoil(tmp_path / file, "a byte")
    assert assert_goes_on(whole, tmp_path).resumed_from == whole[1].best_epoch


def test_another_attempts_best_epoch_is_not_used(whole: Whole, tmp_path: Path) -> None:
    stopped_after(3, tmp_path / "run")
    found = checkpoint.read(tmp_path / "run", "best", KEY)
    assert found is not None
    history = [{**epoch, "val_loss": epoch["val_loss"] * 1.01} for epoch in found[1]["history"]]
    checkpoint.write(tmp_path / "run", "best", found[0], {"key": KEY, "history": history})
    assert assert_goes_on(whole, tmp_path / "run").resumed_from == 0


def test_another_keys_checkpoints_are_not_used(whole: Whole, tmp_path: Path) -> None:
    trainer = make_trainer(replace(TRAINING, seed=3))
    fit(trainer, tmp_path, key="b" * 64)
    assert assert_goes_on(whole, tmp_path).resumed_from == 0


def test_a_best_epoch_that_vanishes_is_told(tmp_path: Path) -> None:
    def feed(batches: Sequence[IntArray], epoch: int | None) -> Iterator[PixelArray]:
        for name in ("best.json", "best.safetensors"):  # under their last names: others may be in the writer's hands
            (tmp_path / name).unlink(missing_ok=True)
        yield from FEED(batches, epoch)

    trainer, _ = scripted(SCRIPT)
    with pytest.raises(BadCache, match=r"best epoch's checkpoint .* run the same command again"):
        fit(trainer, tmp_path, feed=feed)


# What goes wrong


def test_a_training_loss_that_is_not_finite_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Diverged) as caught:
        fit(make_trainer(replace(TRAINING, lr=1e30, body=1.0)), tmp_path)
    assert str(caught.value) == "the training loss is nan in epoch 1; use a lower --lr"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step_seconds", [2.0, 0.0])
def test_a_loss_that_is_not_finite_ends_the_epoch_where_it_is_seen(
    step_seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: step_seconds * next(ticks))
    feed = Interrupted(BATCHES_AN_EPOCH)
    with pytest.raises(Diverged, match=r"^the training loss is nan in epoch 1; use a lower --lr$"):
        fit(make_trainer(replace(TRAINING, lr=1e30, body=1.0), feed=feed), tmp_path, feed=feed)
    # The first step's loss is the fresh net's; one of the next is not finite.
    begun = BATCHES_AN_EPOCH - feed.left
    assert begun == TRAIN_BATCHES if step_seconds == 0 else begun < TRAIN_BATCHES


def test_a_val_loss_that_is_not_finite_is_one_line(tmp_path: Path) -> None:
    # A single step: the training loss is the fresh net's, and val is the first to see the new weights.
    training = replace(TRAINING, epochs=1, batch_size=len(TRAIN), lr=1e30, body=1.0)
    with pytest.raises(Diverged, match=r"^the val loss is (nan|inf) in epoch 1; use a lower --lr$"):
        fit(make_trainer(training), tmp_path)
    assert not list(tmp_path.iterdir())


class Greedy(nn.Module):
    """Asks for an exbibyte, in training or in eval mode."""

    def __init__(self, *, training: bool) -> None:
        super().__init__()
        self.when = training
        self.patient = True

    def forward(self, images: Tensor) -> Tensor:
        if self.training == self.when and not self.patient:
            torch.empty(2**60, dtype=torch.uint8)
        return images


@pytest.mark.parametrize("training", [True, False])
def test_lack_of_memory_names_what_helps(training: bool, tmp_path: Path) -> None:
    greedy = Greedy(training=training)
    trainer = make_trainer(make=lambda: nn.Sequential(greedy, Tiny().conv, nn.Flatten(), nn.Linear(8 * 64, 2)))
    greedy.patient = False
    with pytest.raises(OutOfMemory) as caught:
        fit(trainer, tmp_path)
    # Training has gone in ever more parts before it gives up, of two images each: BatchNorm takes no fewer.
    assert str(caught.value) == (
        "a batch of 2 images does not fit into the memory of cpu; use a smaller --batch-size or --image-size"
        if training
        else "one image does not fit into the memory of cpu; use a smaller --image-size or net"
    )


def test_what_memory_does_not_hold_is_read_in_halves() -> None:
    trainer = make_trainer()
    whole = trainer.predict(VAL, FEED)
    sizes: list[int] = []

    def scarce(_: nn.Module, inputs: tuple[Tensor]) -> None:
        sizes.append(len(inputs[0]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("out of memory")

    trainer.net.register_forward_pre_hook(scarce)
    # In eval mode an image's output knows nothing of the batch, but for the order of its sums.
    torch.testing.assert_close(trainer.predict(VAL, FEED), whole, rtol=1e-5, atol=1e-6)
    assert sum(size for size in sizes if size <= 2) == len(VAL)
    assert max(sizes) > 2


def test_lack_of_memory_for_the_optimizers_state(tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hook = register_optimizer_step_pre_hook(refuse)
    try:
        with pytest.raises(OutOfMemory, match="--batch-size"):
            fit(make_trainer(), tmp_path)
    finally:
        hook.remove()


def test_a_defect_is_not_taken_for_lack_of_memory(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="must match"):
        fit(make_trainer(feed=plain_feed(pictures(SIZE * 2))), tmp_path)


# Nets


def test_squeezenets_convolution_gives_way_to_one_of_k_outputs(tmp_path: Path) -> None:
    size = 32
    feed = plain_feed(pictures(size))
    training = replace(TRAINING, epochs=2, lr=1e-3)

    def squeezenet() -> nn.Module:
        net: nn.Module = vision.models().squeezenet1_1(weights=None)
        return net

    trainer = make_trainer(training, make=squeezenet, size=size, feed=feed)
    head = trainer.net.get_submodule("classifier.1")
    assert isinstance(head, nn.Conv2d)
    assert head.weight.shape == (CLASSES, 512, 1, 1)
    # torchvision tells 1,235,496 with a head of 1,000 classes.
    assert trainer.total == trainer.trainable == 1_235_496 - 1_000 * 513 + CLASSES * 513
    before = state(trainer.net)
    trained = fit(trainer, tmp_path / "whole", feed=feed)
    assert moved(before, trainer.net.state_dict()) == set(before)
    assert trainer.predict(VAL, feed).shape == (len(VAL), CLASSES)

    cut = Interrupted(BATCHES_AN_EPOCH + 1, feed)
    with pytest.raises(KeyboardInterrupt):
        fit(make_trainer(training, make=squeezenet, size=size, feed=cut), tmp_path / "cut", feed=cut)
    again = make_trainer(training, make=squeezenet, size=size, feed=feed)
    resumed = fit(again, tmp_path / "cut", feed=feed)
    assert resumed.resumed_from == 1
    assert lines(resumed.history) == lines(trained.history)
    assert moved(trainer.net.state_dict(), again.net.state_dict()) == set()


@pytest.mark.parametrize(
    ("name", "size", "auxiliary", "parameters"),
    # torchvision's tables tell 6,624,904 and 27,161,264 parameters: without auxiliary heads for GoogLeNet, with for
    # Inception, whose auxiliary head has 768 x 128 + 2 x 128, 128 x 768 x 25 + 2 x 768 and 769 x 1,000.
    [
        ("googlenet", 64, ("aux1", "aux2"), 6_624_904 - 1_025 * 1_000 + 1_025 * CLASSES),
        (
            "inception_v3",
            96,
            ("AuxLogits",),
            27_161_264 - (768 * 128 + 256 + 128 * 768 * 25 + 1_536 + 769_000) - 2_049 * 1_000 + 2_049 * CLASSES,
        ),
    ],
)
def test_auxiliary_heads_are_neither_run_nor_trained_nor_counted(
    name: str, size: int, auxiliary: tuple[str, ...], parameters: int
) -> None:
    def make() -> nn.Module:
        net: nn.Module = getattr(vision.models(), name)(weights=None, init_weights=False)
        return net

    assert isinstance(make().get_submodule(auxiliary[0]), nn.Module)
    trainer = make_trainer(make=make, size=size)
    net = trainer.net
    assert trainer.total == trainer.trainable == parameters
    assert not [path for path, _ in net.named_parameters() if path.startswith(auxiliary)]
    net.train()
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        assert net(images)[0].shape == (2, CLASSES)
        assert net.eval()(images).shape == (2, CLASSES)


def test_a_net_with_auxiliary_heads_trains(tmp_path: Path) -> None:
    class Branched(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.aux = nn.Linear(8, 4)

        def forward(self, images: Tensor) -> Any:
            logits = super().forward(images)
            return (logits, self.aux(images.mean((1, 2))[:, :8])) if self.training else logits

    trainer = make_trainer(make=Branched)
    before = state(trainer.net)
    trained = fit(trainer, tmp_path)
    assert not [name for name in before if name.startswith("aux.")]
    assert moved(before, trainer.net.state_dict()) == set(before)
    plain = make_trainer()
    assert (trained.trainable, trained.total) == (plain.trainable, plain.total)


def test_vit_trains_and_its_positions_do_not_decay(tmp_path: Path) -> None:
    def vit() -> nn.Module:
        vision.models()
        from torchvision.models.vision_transformer import VisionTransformer

        net: nn.Module = VisionTransformer(
            image_size=SIZE, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, dropout=0.1
        )
        return net

    # With a rate of 1e-9 Adam moves nothing by more than 1e-9 a step, and decay takes 1e-9 * 1e8 of each value.
    training = replace(TRAINING, epochs=1, batch_size=len(TRAIN), lr=1e-9, body=1.0, weight_decay=1e8)
    trainer = make_trainer(training, make=vit)
    with torch.no_grad():
        for parameter in trainer.net.parameters():
            parameter.fill_(0.5)
    before = state(trainer.net)
    fit(trainer, tmp_path / "decay")
    decayed = {name for name, tensor in trainer.net.state_dict().items() if float((tensor - 0.5).abs().max()) > 1e-3}
    layers = [f"encoder.layers.encoder_layer_{number}." for number in range(2)]
    matrices = ("self_attention.in_proj_weight", "self_attention.out_proj.weight", "mlp.0.weight", "mlp.3.weight")
    heads = {"conv_proj.weight", "heads.head.weight"}
    assert decayed == heads | {layer + matrix for layer in layers for matrix in matrices}

    trainer = make_trainer(make=vit)
    before = state(trainer.net)
    fit(trainer, tmp_path / "run")
    assert moved(before, trainer.net.state_dict()) == set(before)


@pytest.mark.parametrize("freeze_batchnorm", [False, True])
def test_counts_of_resnet18(freeze_batchnorm: bool) -> None:
    net = vision.models().resnet18(weights=None)
    tap = find_tap(net, 32, "resnet18")
    stages = find_stages(net, tap, 32)
    fresh_head(net, tap, 2, 0)
    training = replace(TRAINING, freeze_batchnorm=freeze_batchnorm)
    unfreezing, loss = plan_unfreezing("full", len(stages), 1), CrossEntropy(0.0)
    trainer = Trainer(TrainingSetup(net, tap, stages, unfreezing, preprocess(32), FEED, LABELS, CPU, training, loss))
    # 11,689,512 in torchvision's table, less 1,000 x 513 of its head, and 2 x 513 of ours.
    assert trainer.total == 11_177_538 == 11_689_512 - 513_000 + 1_026
    # A scale and a shift for each channel of the norms: the stem, then four stages of four, three with a shortcut's.
    channels = 64 + 4 * (64 + 128 + 256 + 512) + 128 + 256 + 512
    assert trainer.trainable == 11_177_538 - (2 * channels if freeze_batchnorm else 0)


# Seeds


def test_the_seed_decides_everything_and_nothing_else_does(tmp_path: Path) -> None:
    # The net's own weights are the same here: what differs is the head, the order, augmentation and dropout.
    nets = []
    for number, seed in enumerate([0, 0, 1]):
        torch.manual_seed(number)
        trainer = make_trainer(replace(TRAINING, seed=seed))
        fit(trainer, tmp_path / str(number))
        nets.append(state(trainer.net))
    assert moved(nets[0], nets[1]) == set()
    assert moved(nets[0], nets[2]) >= {name for name in nets[0] if not name.endswith("num_batches_tracked")}


def test_heads_depend_on_the_seed() -> None:
    heads = []
    for seed in (0, 0, 1):
        net = seeded(Tiny)
        fresh_head(net, find_tap(net, SIZE, "tiny"), CLASSES, seed)
        heads.append(net.get_submodule("fc"))
    first, same, other = (head.state_dict() for head in heads)
    assert moved(first, same) == set()
    assert moved(first, other) == {"weight", "bias"}


@pytest.mark.parametrize("interrupted", [False, True])
def test_global_random_states_stay_as_they_are(interrupted: bool, tmp_path: Path) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]  # noqa: NPY002
    if interrupted:
        stopped_after(1, tmp_path)
    else:
        fit(make_trainer(), tmp_path)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]  # noqa: NPY002
    assert random.getstate() == before[2]


def test_every_epoch_has_its_own_order_and_augmentation_and_reads_each_row_once(tmp_path: Path) -> None:
    orders: list[list[int]] = []
    seeds: list[int] = []

    def feed(batches: Sequence[IntArray], augmentation: int | None) -> Iterator[PixelArray]:
        assert augmentation is not None
        orders.append(np.concatenate(batches).tolist())
        seeds.append(augmentation)
        return FEED(batches, augmentation)

    plain: list[int | None] = []

    def val_feed(batches: Sequence[IntArray], augmentation: int | None) -> Iterator[PixelArray]:
        assert np.concatenate(batches).tolist() == VAL.tolist()
        plain.append(augmentation)
        return FEED(batches, augmentation)

    fit(make_trainer(feed=feed), tmp_path, feed=val_feed)
    assert all(sorted(order) == TRAIN.tolist() for order in orders)
    assert len({tuple(order) for order in orders}) == len(set(seeds)) == 4
    assert plain == [None] * 4
