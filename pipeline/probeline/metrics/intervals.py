"""Confidence intervals of scores, and paired tests on the same images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.special import bdtr, ndtri

from probeline.metrics.scores import check_classes
from probeline.types import DoubleArray, IntArray


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion; `successes` of `n` may be fractional, as a mean over seeds.

    References
    ----------
    Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not 0 <= successes <= n or n < 1 or not 0 < confidence < 1:
        raise ValueError(f"no interval for {successes} of {n} at {confidence}")
    z = float(ndtri((1 + confidence) / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = max(0.0, centre - half) if successes > 0 else 0.0  # at the ends rounding would leave 1e-17
    high = min(1.0, centre + half) if successes < n else 1.0
    return low, high


def mean_interval(values: Sequence[float], intervals: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the interval of the mean of independent values, each with an interval of the same confidence.

    The distances to the ends are added as standard errors are. So it is about what the intervals are about: those of
    accuracies for other test images give that of their mean for other test images of the same data sets.

    References
    ----------
    Zou and Donner 2008, "Construction of confidence limits about effect measures: a general approach", Statistics in
    Medicine 27, 1693-1702.
    """
    if not values or len(values) != len(intervals):
        raise ValueError(f"no mean of {len(values)} values with {len(intervals)} intervals")
    low = math.sqrt(sum((value - own[0]) ** 2 for value, own in zip(values, intervals, strict=True)))
    high = math.sqrt(sum((own[1] - value) ** 2 for value, own in zip(values, intervals, strict=True)))
    mean = math.fsum(values) / len(values)
    return mean - low / len(values), mean + high / len(values)


def mcnemar(labels: IntArray, a: IntArray, b: IntArray) -> float:
    """Return the exact two-sided p-value that two predictors are right equally often, given the classes of each [n].

    References
    ----------
    McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages".
    """
    check_classes(labels, a, b)
    only_a = int(((a == labels) & (b != labels)).sum())
    only_b = int(((a != labels) & (b == labels)).sum())
    # A binomial distribution of 1/2 is symmetric, so both of its tails are as likely.
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def paired_bootstrap(
    labels: IntArray, a: IntArray, b: IntArray, *, draws: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Return a percentile interval for the top-1 of `a` minus that of `b`, by resampling the test images.

    Both are int64 [n] or [seeds, n]. With several seeds an image counts by the share of them that are right: the
    interval is that of the difference of two mean top-1, over other images and with these very seeds.

    Images matter by their difference alone, which takes few values. So each draw is one of a multinomial distribution
    over these, which equals sampling the images with replacement. NumPy does not promise the same draws in each of its
    versions: the ends may then move by about a hundredth of the interval's width for 10,000 draws.

    References
    ----------
    Efron 1979, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1-26; the percentile
    interval is that of Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13.
    """
    if draws < 1 or not 0 < confidence < 1:
        raise ValueError(f"no interval of {draws} draws at {confidence}")
    differences = _share_right(labels, a) - _share_right(labels, b)
    values, counts = np.unique(differences.round(12), return_counts=True)  # 1/3 + 1/3 may differ from 2/3 in a last bit
    return _interval_of_mean(tuple(values.tolist()), tuple(counts.tolist()), draws, seed, confidence)


@lru_cache(maxsize=4096)
def _interval_of_mean(
    values: tuple[float, ...], counts: tuple[int, ...], draws: int, seed: int, confidence: float
) -> tuple[float, float]:
    """Return a percentile interval for the mean of `values` of which there are so many; a report needs each twice."""
    n = sum(counts)
    samples = np.random.default_rng(seed).multinomial(n, np.array(counts) / n, size=draws)
    low, high = np.quantile(samples @ np.array(values) / n, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _share_right(labels: IntArray, predictions: IntArray) -> DoubleArray:
    """Return the share of seeds that are right per image, float64 [n]."""
    seeds = np.atleast_2d(predictions)
    check_classes(labels, *seeds)
    shares: DoubleArray = (seeds == labels).mean(axis=0)
    return shares


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted for multiple comparisons, in the order given.

    References
    ----------
    Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    if not all(0 <= p <= 1 for p in ps):
        raise ValueError(f"not all of these are probabilities: {list(ps)}")
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = highest
    return adjusted
