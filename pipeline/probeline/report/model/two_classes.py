"""What is asked where accuracy says too little.

Of a test for one of two classes: sensitivity, specificity and precision; of ordered classes: how far errors are off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from probeline.metrics.bootstrap import bootstrap
from probeline.metrics.intervals import wilson
from probeline.metrics.resampled import resampled_kappa
from probeline.metrics.scores import class_error
from probeline.results.score import Score
from probeline.types import IntArray


@dataclass(frozen=True)
class Rate:
    """A share of test images, the mean over the seeds, in [0, 1]."""

    share: float
    interval: tuple[float, float]
    """Wilson's 95 % interval at the mean share for other images of the class."""
    n: int
    """Test images of the class."""


@dataclass(frozen=True)
class Ordered:
    """How a row does with classes that have an order."""

    error: float
    """By how many classes predictions are off, the mean over test images and seeds."""
    kappa: float | None
    """Cohen's kappa with quadratic weights, the mean over the seeds; None if all images and predictions are one class.
    """
    interval: tuple[float, float] | None
    """Its 95 % interval for other test images, by bootstrap."""


def report_order(groups: Sequence[tuple[Score, ...]]) -> tuple[str, ...] | None:
    """Return the order of the classes that the scores name; None if they name none, or several."""
    orders = {tuple(group[0].options["order"]) for group in groups if group[0].options.get("order")}
    return orders.pop() if len(orders) == 1 else None


def ordered(group: tuple[Score, ...], order: tuple[str, ...] | None) -> Ordered | None:
    """Return how far the errors of one row's seeds are off; None without an order of its classes."""
    first = group[0]
    if order is None or set(order) != set(first.class_names):
        return None
    ranks = np.array([order.index(name) for name in first.class_names], np.int64)
    pairs = [(np.asarray(one.labels, np.int64), np.asarray(one.predictions, np.int64)) for one in group]
    statistics = [resampled_kappa(labels, predictions, ranks) for labels, predictions in pairs]
    found = bootstrap(lambda counts: np.mean([one(counts) for one in statistics], axis=0), first.n_test)
    return Ordered(
        error=fmean(class_error(labels, predictions, ranks) for labels, predictions in pairs),
        kappa=None if found is None else found.value,
        interval=None if found is None else (found.low, found.high),
    )


@dataclass(frozen=True)
class TwoClasses:
    """How a row does with two classes, one of which is called positive."""

    positive: str
    """Name of the positive class."""
    sensitivity: Rate | None
    """Share of the positive images that are predicted positive; None without positive test images."""
    specificity: Rate | None
    """Share of the negative images that are predicted negative; None without negative test images."""
    precision: float
    """Share of the images that are predicted positive which are, the mean over the seeds; 0 if none is predicted so."""


def positive_class(rows: Sequence[Sequence[Score]]) -> int | None:
    """Return which of two classes all rows call positive; None if there are more classes or fewer.

    It is the one with fewer test images, over all sets of test images; if they are equal, the second class.
    """
    if not rows or len(rows[0][0].class_names) != 2:
        return None
    labels = {scores[0].splits: scores[0].labels for scores in rows}
    images = sum((Counter(own) for own in labels.values()), Counter[int]())
    return 0 if images[0] < images[1] else 1


def two_classes(scores: Sequence[Score], positive: int | None) -> TwoClasses | None:
    """Return the rates of a row; None if no class is positive."""
    if positive is None:
        return None
    predictions = np.asarray([score.predictions for score in scores])
    return rates(np.asarray(scores[0].labels), predictions, positive, scores[0].class_names[positive])


def rates(labels: IntArray, predictions: IntArray, positive: int, name: str) -> TwoClasses:
    """Return the rates of predictions int64 [seeds, n], with labels [n], of the positive class and its name."""
    is_positive, predicted = labels == positive, predictions == positive
    return TwoClasses(
        name,
        _rate(predicted[:, is_positive]),
        _rate(~predicted[:, ~is_positive]),
        fmean((own & is_positive).sum() / max(own.sum(), 1) for own in predicted),
    )


def _rate(right: np.ndarray) -> Rate | None:
    """Return the share of True in [seeds, n]; None without images."""
    n = right.shape[1]
    if not n:
        return None
    share = float(right.mean())
    return Rate(share, wilson(share * n, n), n)
