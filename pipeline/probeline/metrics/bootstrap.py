"""Bootstrap intervals over images, of any metric and of the difference of two predictors on the same images.

A metric is given as a `Statistic`: a function of how often each image is in each resample, so that what it sorts or
multiplies is done once for all resamples. :func:`of_rows` makes one of any function of row indices. The module
``resampled.py`` has those of the usual metrics.

The images are drawn by the raw 64-bit stream of PCG64 alone, which NumPy promises not to change: the same seed draws
the same images on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from probeline.types import AnyArray, BoolArray, DoubleArray, IntArray

Statistic = Callable[[IntArray], DoubleArray]
"""A metric's values float64 [B] in B resamples, from counts int64 [B, n] of each image; NaN where it is not defined."""

DRAWS = 1000
"""Resamples: each end of a 95 % interval then varies with the seed, with a standard deviation of 2 % of its width."""

_PURPOSE = 200
"""Parts the draws from those that other modules make with the same seed."""

_BLOCK = 1 << 17
"""Counts in memory at once: 1 MB, which stays in the processor's caches with what is derived from it."""


@dataclass(frozen=True)
class Interval:
    """A metric's value on the images themselves and its percentile interval.

    `draws` is the number of resamples in which the metric is defined, `undefined` that of the others, such as those
    without a positive entry, which are left out.
    """

    value: float
    low: float
    high: float
    draws: int
    undefined: int


@dataclass(frozen=True)
class Difference:
    """An interval of the difference of two predictors, and the two-sided p-value that there is none."""

    value: float
    low: float
    high: float
    p: float
    draws: int
    undefined: int


def bootstrap(
    statistic: Statistic,
    n: int,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = 0.95,
    groups: AnyArray | None = None,
) -> Interval | None:
    """Return the percentile interval of a metric on n images, by resampling them with replacement.

    Parameters
    ----------
    statistic : Statistic
    n : int
        Images.
    draws, seed : int
    confidence : float
        Share of the resampled values within the interval, in (0, 1).
    groups : array [n], optional
        The group of each image, such as its patient: whole groups are drawn, since images of one group are no
        independent evidence.

    Returns
    -------
    Interval or None
        None if the metric is not defined on the images, or in no resample, or if there is one image or group alone.

    References
    ----------
    Efron 1979, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1-26; the percentile
    interval is that of Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13. Of groups: Davison
    and Hinkley 1997, "Bootstrap methods and their application", section 3.8, their first strategy.
    """
    found = _resampled(statistic, n, draws, seed, confidence, groups)
    return None if found is None else Interval(*found[:3], len(found[3]), draws - len(found[3]))


def bootstrap_difference(
    a: Statistic,
    b: Statistic,
    n: int,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = 0.95,
    groups: AnyArray | None = None,
) -> Difference | None:
    """Return the metric of predictor `a` minus that of `b`, both on each resample of the same n images.

    The parameters, and when it returns None, are those of :func:`bootstrap`. The p-value is the smallest alpha of which
    the percentile interval at confidence 1 - alpha does not reach beyond 0: twice the share of resamples whose
    difference has the rarer sign, where 0 counts for both signs and the images themselves count as one more resample,
    so that it is 2 / (draws + 1) at least. It is rough where there are few images.

    References
    ----------
    Davison and Hinkley 1997, "Bootstrap methods and their application", sections 4.2 (one more resample) and 5.5 (tests
    by inverting an interval).
    """
    found = _resampled(lambda counts: a(counts) - b(counts), n, draws, seed, confidence, groups)
    if found is None:
        return None
    value, low, high, values = found
    rarer = min(int((values <= 0).sum()), int((values >= 0).sum()))
    p = min(1.0, 2 * (rarer + 1) / (len(values) + 1))
    return Difference(value, low, high, p, len(values), draws - len(values))


def of_rows(function: Callable[[IntArray], float | None]) -> Statistic:
    """Return the statistic of a function of row indices, int64 [m] ascending with repeats; None where it has no value.

    It is called once for each resample.
    """

    def statistic(counts: IntArray) -> DoubleArray:
        rows = np.arange(counts.shape[1])
        values = (function(np.repeat(rows, of_images)) for of_images in counts)
        return np.array([np.nan if value is None else value for value in values], np.float64)

    return statistic


def draw_counts(n: int, draws: int, seed: int, groups: AnyArray | None = None) -> Iterator[IntArray]:
    """Yield how often each of n images is in each resample, in blocks int64 [B, n] of as many as fit in memory.

    Without groups each resample has n images, with groups as many groups as there are.
    """
    if groups is None:
        units, group_of = n, None
    else:
        names, group_of = np.unique(groups, return_inverse=True)
        units = len(names)
    stream = np.random.PCG64(np.random.SeedSequence([seed, _PURPOSE]))
    size = max(1, _BLOCK // n)
    for start in range(0, draws, size):
        block = min(size, draws - start)
        # The remainder of 64 bits: no unit is likelier than another one by more than units / 2^64.
        drawn = (stream.random_raw(block * units) % np.uint64(units)).astype(np.int64).reshape(block, units)
        drawn += units * np.arange(block)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=block * units).reshape(block, units)
        yield counts if group_of is None else counts[:, group_of]


def _resampled(
    statistic: Statistic, n: int, draws: int, seed: int, confidence: float, groups: AnyArray | None
) -> tuple[float, float, float, DoubleArray] | None:
    """Return the value on the images, the ends of the interval, and the values of the resamples that have one."""
    if n < 1 or draws < 1 or seed < 0 or not 0 < confidence < 1:
        raise ValueError(f"no interval of {n} images by {draws} draws of seed {seed} at {confidence}")
    if groups is not None and groups.shape != (n,):
        raise ValueError(f"groups must be [{n}], not {list(groups.shape)}")
    value = float(statistic(np.ones((1, n), np.int64))[0])
    if np.isnan(value) or (n if groups is None else len(np.unique(groups))) < 2:
        return None
    values = np.concatenate([statistic(counts) for counts in draw_counts(n, draws, seed, groups)])
    is_defined: BoolArray = ~np.isnan(values)
    if not is_defined.any():
        return None
    values = values[is_defined]
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return value, float(low), float(high), values
