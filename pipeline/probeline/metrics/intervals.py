"""How sure a number is: an interval for one score, tests for differences on the same images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, norm

from probeline.metrics.scores import check_classes
from probeline.types import DoubleArray, IntArray


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a proportion.

    Parameters
    ----------
    successes : float
        In [0, n]; fractional where it is a mean over seeds.
    n : int
        Trials, at least 1.
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : float
        In [0, 1].

    References
    ----------
    Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not 0 <= successes <= n or n < 1 or not 0 < confidence < 1:
        raise ValueError(f"no interval for {successes} of {n} at {confidence}")
    z = float(norm.ppf((1 + confidence) / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = max(0.0, centre - half) if successes > 0 else 0.0  # at the ends rounding would leave 1e-17
    high = min(1.0, centre + half) if successes < n else 1.0
    return low, high


def mcnemar(labels: IntArray, a: IntArray, b: IntArray) -> float:
    """Return the two-sided p-value that two predictors are right equally often, from the images they split on.

    Parameters
    ----------
    labels, a, b : int64 [n]
        True classes, and the two predictors' ones for the same images.

    References
    ----------
    McNemar 1947, "Note on the sampling error of the difference between correlated proportions", in its exact form.
    """
    check_classes(labels, a, b)
    only_a = int(((a == labels) & (b != labels)).sum())
    only_b = int(((a != labels) & (b == labels)).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b).pvalue)


def paired_bootstrap(
    labels: IntArray, a: IntArray, b: IntArray, *, draws: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Return an interval for the top-1 of `a` minus that of `b`, by drawing the test images anew.

    Where a predictor has several seeds, an image counts by the share of them that are right, so that the interval is
    that of the difference of two mean top-1: for drawing other images, with these very seeds.

    An image matters by its difference alone, which takes few values. So each draw is one of a multinomial
    distribution over these, which is what drawing the images one by one with replacement amounts to.

    Parameters
    ----------
    labels : int64 [n]
    a, b : int64 [n] or [seeds, n]
        The two predictors' classes for the same images.
    draws : int
        At least 1.
    seed : int
        0 or more. NumPy does not promise the same draws in each of its versions: the ends may then move by the luck of
        the draws, about a hundredth of the interval's width for 10,000 of them.
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : float
        In [-1, 1]: the percentiles of the differences drawn.

    References
    ----------
    Efron 1979, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1-26; the percentile
    interval is that of Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13.
    """
    if draws < 1 or not 0 < confidence < 1:
        raise ValueError(f"no interval of {draws} draws at {confidence}")
    differences = _share_right(labels, a) - _share_right(labels, b)
    values, counts = np.unique(differences.round(12), return_counts=True)  # 1/3 + 1/3 may differ from 2/3 in a last bit
    drawn = np.random.default_rng(seed).multinomial(len(labels), counts / len(labels), size=draws)
    low, high = np.quantile(drawn @ values / len(labels), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _share_right(labels: IntArray, predictions: IntArray) -> DoubleArray:
    """Return for each image the share of seeds that are right: float64 [n]."""
    seeds = np.atleast_2d(predictions)
    check_classes(labels, *seeds)
    shares: DoubleArray = (seeds == labels).mean(axis=0)
    return shares


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several, in the order given; each stays within [0, 1].

    Raises
    ------
    ValueError
        Where one is no probability.

    References
    ----------
    Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    if not all(0 <= p <= 1 for p in ps):
        raise ValueError(f"not all of these are probabilities: {list(ps)}")
    order = sorted(range(len(ps)), key=lambda place: ps[place])
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = highest
    return adjusted
