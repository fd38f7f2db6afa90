"""What all heads trained in minibatches share: settings, schedules, checked arrays, random streams, first weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from probeline.heads.checks import check_features, check_labelled
from probeline.heads.class_weights import check_weights
from probeline.heads.tensors import resident
from probeline.types import DoubleArray, FloatArray, IntArray

WEIGHTS, ORDER, DROPOUT = range(3)
"""The streams of a seed."""

Labelled = tuple[Tensor, Tensor]

Schedule = Literal["constant", "cosine", "step", "one-cycle"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)

_DROP = 0.1
"""Factor of the rate at each drop of ``step``."""

_RISE, _FIRST, _LAST = 0.3, 1 / 25, 1 / 25 / 1e4
"""Of ``one-cycle``: the share of the steps that rise, and the first and last rate as shares of the highest."""


@dataclass(frozen=True, eq=False)
class TrainingSettings:
    """How one head is trained.

    `dropout` is the share of the last layer's inputs that is set to zero in each row of a minibatch, `label_smoothing`
    the share of the target that is spread over all classes. `seed` decides the first weights, the order of the rows and
    the dropout. `row_weights`, float32 [N], multiply the losses of the train rows; their mean should be 1, so that the
    learning rate means what it does without them. None if all are 1.
    """

    lr: float
    weight_decay: float = 0.0
    dropout: float = 0.0
    label_smoothing: float = 0.0
    seed: int = 0
    row_weights: FloatArray | None = None

    def __post_init__(self) -> None:
        if not (0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf and self.seed >= 0):
            raise ValueError(f"no training with lr {self.lr}, weight decay {self.weight_decay} and seed {self.seed}")
        if not (0 <= self.dropout < 1 and 0 <= self.label_smoothing < 1):
            raise ValueError(f"no training with dropout {self.dropout} and label smoothing {self.label_smoothing}")


@dataclass(frozen=True)
class TrainedHead:
    """A head after its last epoch, and its linear layer: weight float32 [K, inputs] and bias float32 [K].

    `history` has per epoch: epoch, train_loss (nats, smoothed by the setting) and train_top1, both while it trains, and
    seconds; with validation rows also val_loss (never smoothed) and val_top1. It ends before `diverged`, the epoch in
    which the loss or a weight was no longer finite.
    """

    weight: FloatArray
    bias: FloatArray
    history: tuple[dict[str, Any], ...]
    diverged: int | None


def load_rows(
    X: FloatArray,
    y: IntArray,
    classes: int,
    validation: tuple[FloatArray, IntArray] | None,
    device: str | torch.device,
) -> tuple[Labelled, Labelled | None]:
    """Return train and validation rows on the device, checked."""
    check_labelled(X, y, classes)
    if validation is None:
        return (resident(X, device), resident(y, device)), None
    X_val, y_val = validation
    check_features(X_val, columns=X.shape[1])
    check_labelled(X_val, y_val, classes)
    return (resident(X, device), resident(y, device)), (resident(X_val, device), resident(y_val, device))


def load_target_rows(
    X: FloatArray, Y: FloatArray, validation: tuple[FloatArray, FloatArray] | None, device: str | torch.device
) -> tuple[Labelled, Labelled | None]:
    """Return train and validation rows with float32 targets [N, T], NaN where unknown, on the device, checked."""
    loaded: list[Labelled] = []
    for own, targets in ((X, Y), *(() if validation is None else (validation,))):
        check_features(own, columns=X.shape[1])
        if targets.dtype != np.float32 or targets.shape != (len(own), Y.shape[1]) or np.isinf(targets).any():
            raise ValueError(f"targets must be finite float32 or NaN, [{len(own)}, T], not {targets.dtype}")
        loaded.append((resident(own, device), resident(targets, device)))
    return loaded[0], loaded[1] if validation is not None else None


def weights_on(device: str | torch.device, weights: FloatArray | None, count: int) -> Tensor | None:
    """Return the weights of the train rows on the device, checked; None if there are none."""
    if weights is None:
        return None
    check_weights(weights, count)
    return resident(weights, device)


def check_lengths(epochs: int, batch_size: int) -> None:
    """Require at least one epoch and one row per minibatch."""
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"no training with {epochs} epochs and batches of {batch_size}")


def stream(seed: int, purpose: int) -> torch.Generator:
    """Return a generator for one purpose of a seed, which must not be negative.

    The streams are independent, so that heads of one seed see the rows in one order whatever else they sample.
    """
    state = np.random.SeedSequence((seed, purpose)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def fuses(device: torch.device) -> bool | None:
    """Return what `fused` of torch's optimizers should be: one call for all tensors, where torch has it."""
    return True if device.type in ("cpu", "cuda") else None


def linear(columns: int, outputs: int, generator: torch.Generator) -> Tensor:
    """Return first weights and, last, bias, uniform within 1 / sqrt(columns) as in ``nn.Linear``.

    They are float32 [outputs, columns + 1].
    """
    bound = 1 / math.sqrt(columns)
    return torch.empty(outputs, columns + 1).uniform_(-bound, bound, generator=generator)


def factors(schedule: Schedule, steps: int) -> DoubleArray:
    """Return the factor of the learning rate at each of `steps` minibatches, float64 [steps].

    ``constant``: 1. ``cosine``: half a cosine from 1 towards 0 (Loshchilov and Hutter 2017, "SGDR", without
    restarts). ``step``: a tenth after each third of the steps. ``one-cycle``: up from 1 / 25 in the first three
    tenths and down to 4e-6, both along half a cosine (Smith and Topin 2018, "Super-convergence"); the momentum stays.
    They are torch's CosineAnnealingLR, StepLR and OneCycleLR, stepped after every minibatch.
    """
    if steps < 1:
        raise ValueError(f"no schedule has {steps} steps")
    step = np.arange(steps, dtype=np.float64)
    if schedule == "constant":
        return np.ones(steps)
    if schedule == "cosine":
        return _fall(step / steps)
    if schedule == "step":
        return _DROP ** (step // math.ceil(steps / 3))
    if schedule == "one-cycle":
        peak = _RISE * steps - 1
        up = _FIRST + (1 - _FIRST) * (1 - _fall(step / peak)) if peak > 0 else np.zeros(steps)
        down = _LAST + (1 - _LAST) * _fall((step - peak) / (steps - 1 - peak))
        return np.where(step <= peak, up, down)
    raise ValueError(f"unknown schedule {schedule!r}, there are {', '.join(SCHEDULES)}")


def _fall(part: DoubleArray) -> DoubleArray:
    return 0.5 * (1 + np.cos(np.pi * part))
