"""Where a loss falls as the learning rate rises: a range test's rates, when it ends, and what it suggests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probeline.types import DoubleArray

LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 100
"""The rates of a test: 14 steps for each factor of ten."""

SMOOTHING = 0.9
"""What the exponential mean keeps from step to step. Its mean age is 9 steps, less than a factor of ten of the rate;
the 0.98 of longer tests would have 49, half of this one."""

TOO_HIGH = 4.0
"""A test ends where the smoothed loss is so many times its lowest."""

EARLY = STEPS // 10
"""Steps whose rates are too low to change the loss: how high it is and how far it scatters before it falls."""

REACH = 4
"""Steps to either side over which a slope is taken: together about as many as the mean is old. From one step to the
next it moves by a tenth of a single batch's scatter, which is no slope."""

LEFT = 0.9
"""What is left of the fall where the way down begins."""


@dataclass(frozen=True)
class Descent:
    """What a test suggests.

    Attributes
    ----------
    steepest : float
        The rate at which the smoothed loss falls fastest.
    lowest : float
        The rate at which it is lowest.
    at_end : bool
        Whether that is the last of all `STEPS`: at higher rates the loss may fall further.
    """

    steepest: float
    lowest: float
    at_end: bool

    @property
    def tenth(self) -> float:
        """A tenth of the rate at which the smoothed loss is lowest, where it is about to rise again."""
        return self.lowest / 10


def rising() -> list[float]:
    """Return the rates of a test, each the same factor above the one before."""
    rates: list[float] = np.geomspace(LOWEST, HIGHEST, STEPS).tolist()
    return rates


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the exponential mean of the values up to each, corrected for its beginning with 0 (Kingma and Ba 2015).

    Their quotient is taken step by step, so that the mean of equal values is that value to the last digit.
    """
    mean, found = 0.0, []
    for number, value in enumerate(values, start=1):
        mean += (1 - SMOOTHING) / (1 - SMOOTHING**number) * (value - mean)
        found.append(mean)
    return found


def is_over(losses: Sequence[float]) -> bool:
    """Say whether the last loss is not finite, or the smoothed one `TOO_HIGH` times its lowest."""
    means = smoothed(losses)
    return not math.isfinite(losses[-1]) or means[-1] > TOO_HIGH * min(means)


def smooth_curve(rates: Sequence[float], losses: Sequence[float]) -> tuple[DoubleArray, DoubleArray]:
    """Return smoothed losses and the rates they stand for, each float64 [n].

    An exponential mean of losses is one of steps that were taken before, at lower rates. So it stands at the equally
    weighted geometric mean of their rates: what falls evenly over the logarithm of the rate stays in its place.
    """
    return np.exp(smoothed(np.log(rates).tolist())), np.array(smoothed(losses))


def descent(rates: Sequence[float], losses: Sequence[float]) -> Descent | None:
    """Return what a test suggests (Smith 2017, "Cyclical learning rates for training neural networks", section 3.3).

    The steepest place is looked for on the way down from the smoothed loss after `EARLY` steps to the lowest, which
    begins where `LEFT` of it was last to come. So the scatter before is not taken for a slope.

    Parameters
    ----------
    rates, losses : sequence of float
        Of the steps that were taken, all of them finite.

    Returns
    -------
    Descent or None
        None where the loss never falls beyond its scatter: where, after the first `EARLY` steps, no smoothed loss lies
        below all of theirs.
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
