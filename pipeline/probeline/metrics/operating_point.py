"""The operating point of a test for one of two classes: the threshold that costs least, and what it costs."""

from __future__ import annotations

import math

import numpy as np

from probeline.metrics.scores import check_classes
from probeline.types import AnyFloatArray, DoubleArray, IntArray

Costs = tuple[float, float]
"""What an image of the first class costs that is called the second, and the other way round; both above 0."""


def choose_threshold(labels: IntArray, log_odds: AnyFloatArray, costs: Costs) -> float:
    """Return the log-odds from which on an image is called the second class, at the least mean cost on these images.

    Between two images that follow one another any threshold costs the same. It is then the one that would be right for
    true probabilities, ``log(costs[0] / costs[1])``, if that lies between them, else the middle. Of several gaps that
    cost the same, it is in the one that is nearest to that value.

    Parameters
    ----------
    labels : int64 [n]
        0 or 1.
    log_odds : float [n]
        Of the second class, finite.
    costs : Costs

    References
    ----------
    Elkan 2001, "The foundations of cost-sensitive learning", IJCAI, section 1 and equation 2.
    """
    _check(labels, log_odds, costs)
    best = math.log(costs[0] / costs[1])
    values, gap_of = np.unique(log_odds.astype(np.float64), return_inverse=True)
    firsts = np.bincount(gap_of, labels == 0, len(values))
    seconds = np.bincount(gap_of, labels == 1, len(values))
    # Gap i is below value i and above all before it: from i on, images are called the second class.
    false_seconds = np.append(firsts[::-1].cumsum()[::-1], 0)
    false_firsts = np.append(0, seconds.cumsum())
    total = costs[0] * false_seconds + costs[1] * false_firsts
    low, high = np.append(-np.inf, values), np.append(values, np.inf)
    low[0], high[-1] = min(values[0] - 2, best - 1), max(values[-1] + 2, best + 1)  # any value beyond the last image
    middles = (low + high) / 2
    thresholds = np.where((low < best) & (best <= high), best, middles)
    cheapest = np.flatnonzero(np.isclose(total, total.min(), rtol=1e-12, atol=0))
    return float(thresholds[cheapest[np.abs(thresholds[cheapest] - best).argmin()]])


def cost_per_image(labels: IntArray, predictions: IntArray, costs: Costs) -> DoubleArray:
    """Return what each image costs, float64 [n]: 0 if it is called its own class, else the cost of that."""
    check_classes(labels, predictions, classes=2)
    paid: DoubleArray = np.where(labels == predictions, 0.0, np.asarray(costs, np.float64)[labels])
    return paid


def _check(labels: IntArray, log_odds: AnyFloatArray, costs: Costs) -> None:
    check_classes(labels, classes=2)
    if log_odds.shape != labels.shape or not np.isfinite(log_odds).all():
        raise ValueError(f"log-odds must be [{len(labels)}] and finite, not {log_odds.dtype} {list(log_odds.shape)}")
    if not all(0 < cost < math.inf for cost in costs):
        raise ValueError(f"costs must be positive and finite, not {costs}")
