"""Learning-rate schedules over the steps of a training."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from probeline.types import DoubleArray

Schedule = Literal["constant", "cosine", "step", "one-cycle"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)

_DROP = 0.1
"""Factor of the rate at each drop of ``step``."""

_RISE, _FIRST, _LAST = 0.3, 1 / 25, 1 / 25 / 1e4
"""Of ``one-cycle``: the share of the steps that rise, and the first and last rate as shares of the highest."""


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
