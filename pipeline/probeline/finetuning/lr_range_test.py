"""A learning-rate range test: a few steps of a training while the rate rises, and the loss of each.

Smith 2017, "Cyclical learning rates for training neural networks", WACV, section 3.3.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probeline.console import Console
from probeline.evaluate.requests import ScoreRequest, record_fields
from probeline.finetuning.requests import TrainingJob, options_with_selection, request_training, single_values
from probeline.finetuning.training_run import prepare_training
from probeline.metrics.lr_range import HIGHEST, LOWEST, SMOOTHING, STEPS, TOO_HIGH, is_over, rising
from probeline.names import Strategy
from probeline.results.range_test import RANGE_TESTS, RangeTest, StopReason
from probeline.types import IntArray

if TYPE_CHECKING:
    from probeline.finetuning.training.trainer import Trainer

_UNUSED = ("lr", "schedule", "warmup", "epochs", "patience", "wise_steps")
"""Options of a training that do not matter to its first steps once their rates are given."""

_TEST_OPTIONS = {"rates": (LOWEST, HIGHEST, STEPS), "smoothing": (SMOOTHING,), "too_high": (TOO_HIGH,)}


@dataclass(frozen=True)
class RateSweep:
    """The steps of a range test, with the rates of parameters that train at the full rate, such as a new head's."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    ended: StopReason
    seconds: float


def sweep_rates(trainer: Trainer, train: IntArray, *, console: Console, title: str) -> RateSweep:
    """Take the first steps of a training at rising rates, each group's with its own share; the trainer stays as it is.

    Of the images only the rows `train` are read.
    """
    rates = rising()
    started = time.perf_counter()
    shares = [rate / trainer.options.lr for rate in rates]
    losses = trainer.sweep(train, shares, is_over, console=console, title=title)
    ended: StopReason = "highest rate"
    if not math.isfinite(losses[-1]):
        ended = "not finite"
        losses = losses[:-1]
    elif is_over(losses):
        ended = "loss too high"
    return RateSweep(tuple(rates[: len(losses)]), tuple(losses), ended, time.perf_counter() - started)


def request_range_test(job: TrainingJob) -> ScoreRequest:
    """Return the request for a job's range test."""
    options = _options(job)
    used = {name: values for name, values in options.items() if name not in _UNUSED}
    # The number of epochs decides which stages a gradual training begins with.
    used |= {"epochs": options["epochs"]} if job.strategy == Strategy.GRADUAL else {}
    return request_training(job, {**used, **_TEST_OPTIONS})


def _options(job: TrainingJob) -> dict[str, tuple[Any, ...]]:
    """Return the values of each option of a job; nothing is selected."""
    options = options_with_selection(job.session, job.strategy)
    return {name: values for name, values in options.items() if name != "select_by"}


def run_range_test(job: TrainingJob, request: ScoreRequest) -> RangeTest:
    """Run a job's range test on the train rows, save and return it."""
    from probeline.backbones.device import exact_float32

    session, settings = job.session, job.session.settings
    options = _options(job)
    # With a peak rate of 1 a group's rate is its share, to the last digit.
    unused = {name: values[:1] for name, values in options.items() if name in _UNUSED}
    values = single_values(options | unused, "lrfind") | {"lr": 1.0}
    job.warn_of_random_weights("lrfind")
    prepared = prepare_training(job, values)
    prepared.say_adapters("lrfind", job)
    with exact_float32(settings.nets.precision):
        rows, title = session.splits.train.rows, f"lrfind: {job.title}"
        sweep = sweep_rates(prepared.trainer, rows, console=settings.console, title=title)
    test = RangeTest(
        **record_fields(session, job.backbone, request, prepared.device),
        seed=job.seed,
        **vars(sweep),
    )
    RANGE_TESTS.save(session.reports, test)
    return test
