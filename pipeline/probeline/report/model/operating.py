"""What a row costs at the threshold that validation chooses for it, if the errors of two classes cost differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy.special import expit

from probeline.metrics.bootstrap import Statistic, bootstrap, bootstrap_difference
from probeline.metrics.operating_point import Costs, choose_threshold, cost_per_image
from probeline.report.model.two_classes import TwoClasses, rates
from probeline.results.score import Score
from probeline.types import DoubleArray, IntArray


@dataclass(frozen=True)
class Cost:
    """A mean cost per test image, over the seeds, or a difference of two."""

    value: float
    interval: tuple[float, float] | None
    """95 % for other test images and the same thresholds, by a bootstrap; None of one image."""


@dataclass(frozen=True)
class OperatingPoint:
    """A row at the thresholds that validation chose, one for each seed."""

    thresholds: tuple[float, ...]
    """[seeds] Probabilities of the positive class above which an image is called so."""
    cost: Cost
    plain: Cost
    """Of the predictions as they are: the class with the higher probability."""
    saved: Cost
    """`cost` minus `plain`, on the same images."""
    two_classes: TwoClasses
    """The rates at these thresholds."""


def operating_point(scores: Sequence[Score], costs: Costs, positive: int) -> OperatingPoint | None:
    """Return the operating point of a row's scores; None if one has no log-odds.

    `positive` is the class whose probability the thresholds are of.
    """
    known = [(score, score.odds) for score in scores if score.odds is not None]
    if len(known) < len(scores):
        return None
    labels = np.asarray(scores[0].labels, np.int64)
    thresholds, chosen = [], []
    for _, odds in known:
        threshold = choose_threshold(np.asarray(odds.val_labels, np.int64), np.asarray(odds.val), costs)
        thresholds.append(threshold)
        chosen.append((np.asarray(odds.test) >= threshold).astype(np.int64))
    plain = [np.asarray(score.predictions, np.int64) for score in scores]
    at_threshold, as_they_are = (_mean_cost(labels, by_seed, costs) for by_seed in (chosen, plain))
    n = len(labels)
    both = bootstrap_difference(_mean(at_threshold), _mean(as_they_are), n)
    saved = float(at_threshold.mean() - as_they_are.mean())
    return OperatingPoint(
        tuple(float(expit(value if positive == 1 else -value)) for value in thresholds),
        _cost(at_threshold),
        _cost(as_they_are),
        Cost(saved, None if both is None else (both.low, both.high)),
        rates(labels, np.stack(chosen), positive, scores[0].class_names[positive]),
    )


def cheapest_class(scores: Sequence[Score], costs: Costs) -> tuple[str, float]:
    """Return the class that costs least on test if all images are called it, and that mean cost."""
    labels = np.asarray(scores[0].labels, np.int64)
    means = [fmean(cost_per_image(labels, np.full_like(labels, one), costs).tolist()) for one in (0, 1)]
    best = int(means[1] < means[0])
    return scores[0].class_names[best], means[best]


def _mean_cost(labels: IntArray, by_seed: Sequence[IntArray], costs: Costs) -> DoubleArray:
    """Return what each image costs, the seeds averaged, float64 [n]."""
    paid: DoubleArray = np.mean([cost_per_image(labels, predictions, costs) for predictions in by_seed], axis=0)
    return paid


def _cost(paid: DoubleArray) -> Cost:
    interval = bootstrap(_mean(paid), len(paid))
    return Cost(float(paid.mean()), None if interval is None else (interval.low, interval.high))


def _mean(paid: DoubleArray) -> Statistic:
    return lambda counts: counts @ paid / counts.sum(axis=1)
