"""Which learning rate a training bears: a few of its steps while the rate rises, and the loss of each.

Smith 2017, "Cyclical learning rates for training neural networks", WACV, section 3.3.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from probeline.console import Console
from probeline.finetune.trainer import Trainer
from probeline.metrics.lr_range import is_over, rising
from probeline.results.range_test import StopReason
from probeline.types import IntArray


@dataclass(frozen=True)
class Swept:
    """What a range test gave.

    Attributes
    ----------
    rates : tuple of float
        Of each step: that of a group whose share is 1, such as a new head's.
    losses : tuple of float
        Of each step's batch, before the step was taken.
    ended : StopReason
        Why no further step was taken.
    seconds : float
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    ended: StopReason
    seconds: float


def range_test(trainer: Trainer, train: IntArray, *, console: Console, title: str) -> Swept:
    """Take the first steps of a training at rising rates, each group's with its own share; the trainer stays as it is.

    Parameters
    ----------
    trainer : Trainer
    train : int64 [n]
        Rows; no others are read.
    console : Console
    title : str

    Raises
    ------
    BadOption, OutOfMemory
        As :meth:`probeline.finetune.trainer.Trainer.sweep`.
    """
    rates = rising()
    started = time.perf_counter()
    losses = trainer.sweep(train, [rate / trainer.training.lr for rate in rates], is_over, console=console, title=title)
    ended: StopReason = "highest rate"
    if not math.isfinite(losses[-1]):
        ended = "not finite"
        losses = losses[:-1]
    elif is_over(losses):
        ended = "loss too high"
    return Swept(tuple(rates[: len(losses)]), tuple(losses), ended, time.perf_counter() - started)
