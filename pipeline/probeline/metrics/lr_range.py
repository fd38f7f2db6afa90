"""Learning-rate range test: its rates, when it ends, and the rates it suggests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probeline.types import DoubleArray

LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 100
"""The rates of a test: 14 steps per factor of ten."""

SMOOTHING = 0.9
"""Factor of the exponential mean. Its mean age is 9 steps, less than a factor of ten of the rate; with the 0.98 of
longer tests it would be 49, half of this test."""

TOO_HIGH = 4.0
"""A test ends where the smoothed loss exceeds this multiple of its minimum."""

EARLY = STEPS // 10
"""First steps, whose rates are too low to change the loss: they show its level and scatter."""

REACH = 4
"""Steps to either side over which a slope is taken, together about the mean's age: single steps differ by a tenth of a
batch's scatter."""

LEFT = 0.9
"""Share of the descent that remains where its slopes begin to count."""


@dataclass(frozen=True)
class Descent:
    """Rates at which the smoothed loss falls fastest and is lowest.

    `at_end` is True if the latter is the last of all `STEPS`: the loss may fall further at higher rates.
    """

    steepest: float
    lowest: float
    at_end: bool

    @property
    def tenth(self) -> float:
        """A tenth of the rate at which the smoothed loss is lowest."""
        return self.lowest / 10


def rising() -> list[float]:
    """Return the rates of a test, geometrically spaced."""
    rates: list[float] = np.geomspace(LOWEST, HIGHEST, STEPS).tolist()
    return rates


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the running exponential means of the values, corrected for the start at 0 (Kingma and Ba 2015).

    The correction is part of each step, so that the mean of equal values is exactly that value.
    """
    mean, means = 0.0, []
    for number, value in enumerate(values, start=1):
        mean += (1 - SMOOTHING) / (1 - SMOOTHING**number) * (value - mean)
        means.append(mean)
    return means


def is_over(losses: Sequence[float]) -> bool:
    """Return whether the last loss is not finite, or the smoothed one above `TOO_HIGH` times its minimum."""
    means = smoothed(losses)
    return not math.isfinite(losses[-1]) or means[-1] > TOO_HIGH * min(means)


def smooth_curve(rates: Sequence[float], losses: Sequence[float]) -> tuple[DoubleArray, DoubleArray]:
    """Return the rates and the losses, both smoothed, each float64 [n].

    A mean over earlier steps belongs to the geometric mean of their rates with the same weights: a loss that falls
    evenly over the logarithm of the rate is then unchanged.
    """
    return np.exp(smoothed(np.log(rates).tolist())), np.array(smoothed(losses))


def descent(rates: Sequence[float], losses: Sequence[float]) -> Descent | None:
    """Return what a test suggests (Smith 2017, "Cyclical learning rates for training neural networks", section 3.3).

    The steepest point is sought between the last smoothed loss with `LEFT` of the descent from `EARLY` steps to the
    minimum ahead of it and that minimum, which excludes the scatter before. `losses` are finite. None is returned if no
    smoothed loss after the first `EARLY` steps is below all losses of these.
    """
    if len(losses) <= EARLY:
        return None
    at, means = smooth_curve(rates, losses)
    bottom = EARLY + int(means[EARLY:].argmin())
    if means[bottom] >= min(losses[:EARLY]):
        return None
    high = means[bottom] + LEFT * (means[EARLY - 1] - means[bottom])
    top = int(np.flatnonzero(means[:bottom] >= high)[-1])
    way = np.arange(top, bottom + 1)
    before, after = np.maximum(way - REACH, 0), np.minimum(way + REACH, len(means) - 1)
    slopes = (means[after] - means[before]) / np.log(at[after] / at[before])
    return Descent(steepest=float(at[way[slopes.argmin()]]), lowest=float(at[bottom]), at_end=bottom == STEPS - 1)
