"""Two shares of different images: an interval of their difference, and an exact test that they are equal."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln

from probeline.metrics.intervals import wilson
from probeline.types import DoubleArray, IntArray

_TIE = 1e-7
"""Relative: tables whose probabilities differ by less are as likely, since rounding alone would part them."""


def newcombe(first: tuple[float, int], second: tuple[float, int], confidence: float = 0.95) -> tuple[float, float]:
    """Return an interval of the share of `first` minus that of `second`, in [-1, 1].

    Each is ``(successes, n)`` of images of its own; successes may be fractional, as a mean over seeds.

    References
    ----------
    Newcombe 1998, "Interval estimation for the difference between independent proportions: comparison of eleven
    methods", Statistics in Medicine 17, 873-890, method 10: without a correction for continuity.
    """
    share, other = first[0] / first[1], second[0] / second[1]
    low, high = wilson(*first, confidence)
    other_low, other_high = wilson(*second, confidence)
    below = math.hypot(share - low, other_high - other)
    above = math.hypot(high - share, other - other_low)
    return max(-1.0, share - other - below), min(1.0, share - other + above)


def fisher(successes: int, n: int, other_successes: int, other_n: int) -> float:
    """Return the exact two-sided p-value that two groups of images have the same share of successes.

    It is the probability of all tables with these margins that are as likely as the observed one or less.

    References
    ----------
    Fisher 1935, "The logic of inductive inference", Journal of the Royal Statistical Society 98, 39-82.
    """
    if not (0 <= successes <= n and 0 <= other_successes <= other_n and n >= 1 and other_n >= 1):
        raise ValueError(f"no test of {successes} of {n} against {other_successes} of {other_n}")
    total = successes + other_successes
    tables = np.arange(max(0, total - other_n), min(n, total) + 1)
    logs = _log_choose(n, tables) + _log_choose(other_n, total - tables)
    likely = np.exp(logs - logs.max())
    observed = likely[successes - int(tables[0])]
    return min(1.0, float(likely[likely <= observed * (1 + _TIE)].sum() / likely.sum()))


def _log_choose(n: int, k: IntArray) -> DoubleArray:
    logs: DoubleArray = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return logs
