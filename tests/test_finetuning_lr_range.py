"""The range test on a trainer: rates that rise by one factor, an early end, and a trainer that stays as it was."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from probeline.console import Bar, Silence
from probeline.errors import BadOption, OutOfMemory
from probeline.finetuning.lr_range_test import RateSweep, sweep_rates
from probeline.finetuning.training.losses import CrossEntropy
from probeline.finetuning.training.steps import rates
from probeline.finetuning.training.trainer import Trainer
from probeline.images import PixelArray
from probeline.metrics.lr_range import STEPS, descent, is_over, rising
from probeline.types import IntArray
from small_trainings import FEED, TRAIN, TRAINING, Steps, fit, lines, make_trainer, moved, state

UNIT = replace(TRAINING, lr=1.0, decay=0.5)
"""A rate of 1, as the stage has it: what a group has of it is its share."""


def swept(trainer: Trainer) -> RateSweep:
    return sweep_rates(trainer, TRAIN, console=Silence(), title="a test")


@dataclass(frozen=True, eq=False)
class ScriptedLoss(CrossEntropy):
    """Mean losses of the steps that follow a script, whatever the net says."""

    left: list[float]

    def loss(self, output: Tensor, labels: Tensor, rows: IntArray) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return 0 * output.sum() + self.left.pop(0), torch.tensor(0)


def scripted(losses: Sequence[float]) -> ScriptedLoss:
    return ScriptedLoss(0.0, list(losses))


# Rates


def test_rates_rise_by_one_factor_and_every_stage_keeps_its_share() -> None:
    seen: list[dict[int | None, float]] = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: seen.append({group["stage"]: group["lr"] for group in optimizer.param_groups})
    )
    try:
        found = swept(make_trainer(UNIT, make=Steps))
    finally:
        hook.remove()
    assert len(seen) == len(found.rates) == len(found.losses) + (found.ended == "not finite")
    assert list(found.rates) == rising()[: len(found.rates)]
    # By the definition of body (0.1) and decay (0.5): the top stage has 0.1 of the head's, each below it half of that.
    for rate, groups in zip(found.rates, seen, strict=False):
        assert groups == {None: rate, 2: rate * 0.1, 1: rate * 0.05, 0: rate * 0.025}
    for before, after in pairwise(found.rates):
        assert after / before == pytest.approx(10 ** (7 / 99), rel=1e-12)


def test_the_trainings_own_rate_does_not_matter() -> None:
    found, other = swept(make_trainer(UNIT)), swept(make_trainer(replace(UNIT, lr=0.25)))
    # Powers of two have no roundings.
    assert (found.rates, found.losses, found.ended) == (other.rates, other.losses, other.ended)


# When it ends


def test_it_ends_where_the_loss_rises() -> None:
    script = [1.0] * 40 + [0.5] * 20 + [50.0] * 40
    read: list[int] = []

    def feed(batches: Sequence[IntArray], epoch: int | None) -> Iterator[PixelArray]:
        for pixels in FEED(batches, epoch):
            read.append(len(pixels))
            yield pixels

    found = swept(make_trainer(feed=feed, loss=scripted(script)))
    # The mean is about 0.55 after step 60: that of the next step, with a tenth of 50, is nine times as high.
    assert found.ended == "loss too high"
    assert found.losses == tuple(script[:61])
    assert len(read) == 61, "no batch is read that no step takes"
    place = descent(found.rates, found.losses)
    assert place is not None
    assert place.lowest < rising()[60]


def test_it_ends_where_the_loss_is_not_finite() -> None:
    found = swept(make_trainer(loss=scripted([1.0] * 30 + [math.nan])))
    assert (found.ended, len(found.rates), len(found.losses)) == ("not finite", 30, 30)


def test_it_ends_with_the_highest_rate_and_never_sees_the_loss_fall() -> None:
    found = swept(make_trainer(loss=scripted([1.0] * STEPS)))
    assert (found.ended, len(found.losses), found.rates[-1]) == ("highest rate", STEPS, 10.0)
    assert descent(found.rates, found.losses) is None


def test_a_real_net_learns_before_it_diverges() -> None:
    training = replace(UNIT, optimizer="sgd", body=1.0, decay=1.0)
    found = swept(make_trainer(training, make=Steps))
    # Weights whose squares sum to about one cannot stay near them with steps of the order of 10.
    assert found.ended == "loss too high"
    assert not any(is_over(found.losses[:number]) for number in range(1, len(found.losses)))
    place = descent(found.rates, found.losses)
    assert place is not None
    # Guessing among three has a loss of log 3.
    assert min(found.losses) < 0.5 * math.log(3)
    assert 1e-3 < place.steepest <= place.lowest < found.rates[-1]


# What it begins with


def test_the_steps_are_those_that_training_would_take(tmp_path: Path) -> None:
    training = replace(TRAINING, dropout=0.3, clip=1.0, label_smoothing=0.1)
    history = fit(make_trainer(training), tmp_path).history
    batches = [8, 8, 8, 6]
    losses = make_trainer(training).sweep(
        TRAIN, rates(training, len(batches)), lambda _: False, console=Silence(), title="as it would"
    )
    assert len(losses) == training.epochs * len(batches)
    for epoch, told in enumerate(history):
        here = losses[epoch * len(batches) : (epoch + 1) * len(batches)]
        # Means of float32 sums, summed in another order.
        assert np.average(here, weights=batches) == pytest.approx(told["train_loss"], rel=1e-6)


def test_rows_come_in_the_epochs_own_orders(tmp_path: Path) -> None:
    orders: list[tuple[int | None, list[int]]] = []

    def feed(batches: Sequence[IntArray], epoch: int | None) -> Iterator[PixelArray]:
        orders.append((epoch, np.concatenate(batches).tolist()))
        return FEED(batches, epoch)

    fit(make_trainer(feed=feed), tmp_path)
    fitted, orders = list(orders), []
    swept(make_trainer(feed=feed, loss=scripted([1.0] * STEPS)))
    assert orders[: len(fitted)] == fitted
    # 30 rows in batches of 8 are 4 steps, so 100 steps are 25 epochs, whatever the training's own number.
    assert [epoch for epoch, _ in orders] == list(range(25))
    assert all(sorted(order) == TRAIN.tolist() for _, order in orders)


def test_no_more_rows_are_asked_for_than_steps_take() -> None:
    asked: list[int] = []

    def feed(batches: Sequence[IntArray], epoch: int | None) -> Iterator[PixelArray]:
        asked.extend(len(rows) for rows in batches)
        return FEED(batches, epoch)

    trainer = make_trainer(feed=feed, loss=scripted([1.0] * 6))
    trainer.sweep(TRAIN, [1.0] * 6, lambda _: False, console=Silence(), title="six")
    assert asked == [8, 8, 8, 6, 8, 8]


def test_a_gradual_training_is_tested_as_it_begins() -> None:
    trained: set[frozenset[str]] = set()
    trainer = make_trainer(UNIT, make=Steps, strategy="gradual")
    names = {id(parameter): name.partition(".")[0] for name, parameter in trainer.net.named_parameters()}

    def watch(optimizer: torch.optim.Optimizer, *_: object) -> None:
        moving = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        trained.add(frozenset(names[id(parameter)] for parameter in moving))

    hook = register_optimizer_step_pre_hook(watch)
    try:
        swept(trainer)
    finally:
        hook.remove()
    assert trained == {frozenset({"fc"})}


# What stays


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_trainer_stays_as_it_was(precision: str, tmp_path: Path) -> None:
    training = replace(TRAINING, precision=precision)
    trainer = make_trainer(training)
    before = state(trainer.net)
    swept(trainer)
    assert moved(before, trainer.net.state_dict()) == set()
    trained, plain = fit(trainer, tmp_path / "after"), make_trainer(training)
    assert lines(trained.history) == lines(fit(plain, tmp_path / "plain").history)
    assert moved(plain.net.state_dict(), trainer.net.state_dict()) == set()


def test_it_is_repeatable_bit_for_bit_and_the_seed_decides() -> None:
    found = []
    for number, seed in enumerate([0, 0, 1]):
        torch.manual_seed(number)
        found.append(swept(make_trainer(replace(UNIT, seed=seed, dropout=0.2))))
    assert found[0].losses == found[1].losses
    assert found[0].losses[0] != found[2].losses[0]


def test_global_random_states_stay_as_they_are() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]  # noqa: NPY002

    def check() -> None:
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]  # noqa: NPY002
        assert random.getstate() == before[2]

    swept(make_trainer())
    check()

    def interrupt(_: object) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer().sweep(TRAIN, [1.0], interrupt, console=Silence(), title="interrupted")
    check()


# What goes wrong


class Counting(Silence):
    """A console that keeps its lines, and how far its bar came."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bars: list[list[int]] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Bar]:  # noqa: ARG002
        assert unit == "step"
        counted = [total, 0]
        self.bars.append(counted)

        class Counter:
            def update(self, n: int) -> None:
                counted[1] += n

        yield Counter()


@pytest.mark.slow
def test_a_batch_that_memory_does_not_hold_goes_in_parts_from_the_first_step_on() -> None:
    trainer = make_trainer(UNIT)
    sizes: list[int] = []

    def refuse(_: nn.Module, inputs: tuple[Tensor]) -> None:
        sizes.append(len(inputs[0]))
        if len(sizes) > 3 and sizes[-1] > 4:
            raise torch.OutOfMemoryError("out of memory")

    trainer.net.register_forward_pre_hook(refuse)
    console = Counting()
    found = sweep_rates(trainer, TRAIN, console=console, title="a test")
    assert sizes[:5] == [8, 8, 8, 6, 4]
    assert found.losses == swept(make_trainer(replace(UNIT, accumulate=2))).losses
    assert console.lines == ["a test: memory does not hold a batch; it goes in 2 parts"]
    steps = len(found.losses) + (found.ended == "not finite")
    assert console.bars == [[STEPS, steps]], "what was done in vain is taken back"


def test_memory_for_not_even_two_images_is_told() -> None:
    trainer = make_trainer(UNIT)

    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    trainer.net.register_forward_pre_hook(refuse)
    with pytest.raises(OutOfMemory, match="a batch of 2 images does not fit"):
        swept(trainer)


def test_a_batch_of_one_image_is_refused_where_batchnorm_cannot_take_it() -> None:
    with pytest.raises(BadOption, match=r"--batch-size 2 or more, or --freeze-batchnorm"):
        swept(make_trainer(replace(TRAINING, batch_size=1)))
