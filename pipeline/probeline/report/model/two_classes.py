"""What is asked of a test for one of two classes: sensitivity, specificity and precision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from probeline.metrics.intervals import wilson
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
