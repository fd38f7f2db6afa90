"""The history of a training: a record for each epoch, and the best of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probeline.errors import Diverged


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave.

    Attributes
    ----------
    history : tuple of mappings
        Per epoch: epoch, lr (of the head, at the epoch's first step), train_loss, train_top1 (on augmented images),
        val_loss, val_top1 and what else the loss measures on val, seconds.
    best_epoch : int
        The epoch whose weights the net now has: highest val top-1, then lowest val loss, then earliest.
    trainable, total : int
        As the trainer's.
    seconds : float
        Summed over epochs, also those of an interrupted run that this one continues.
    resumed_from : int
        Epochs taken over from a checkpoint.
    """

    history: tuple[dict[str, Any], ...]
    best_epoch: int
    trainable: int
    total: int
    seconds: float
    resumed_from: int


def selection_score(epoch: Mapping[str, Any]) -> tuple[float, float]:
    """Return what epochs and trainings are compared by, the higher the better: val top-1, then minus the val loss."""
    return epoch["val_top1"], -epoch["val_loss"]


def best_epoch(history: Sequence[Mapping[str, Any]]) -> int:
    """Return the number, from 1, of the epoch of highest val top-1, then lowest val loss, then the earliest."""
    number: int = max(history, key=selection_score)["epoch"]
    return number


def check_finite(which: str, loss: float, epoch: int) -> None:
    """Raise `Diverged` if the loss of an epoch, from 0, is not finite."""
    if not math.isfinite(loss):
        raise Diverged(f"the {which} loss is {loss} in epoch {epoch + 1}", remedy="use a lower --lr")
