"""Differences between rows of several labels or of numbers on the same test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probeline.metrics.bootstrap import Statistic, bootstrap_difference
from probeline.metrics.intervals import holm
from probeline.metrics.resampled import resampled_map, resampled_r2
from probeline.metrics.targets import of_targets
from probeline.names import MULTI_LABEL
from probeline.results.targets.score import TargetScore
from probeline.types import DoubleArray, IntArray

_LEVEL = 0.05


@dataclass(frozen=True)
class TargetDifference:
    """How far a row is above another in the metric that selects, higher being better."""

    value: float
    interval: tuple[float, float]
    """95 %, of a paired bootstrap of the test images, means over seeds."""
    p: float
    """Two-sided, by the same bootstrap; adjusted by Holm's method over all rows that are compared."""

    @property
    def is_significant(self) -> bool:
        """Whether `p` is below 0.05 and the interval excludes 0."""
        return self.p < _LEVEL and (self.interval[0] > 0 or self.interval[1] < 0)


def differences(
    rows: Sequence[Sequence[TargetScore]], reference: Sequence[TargetScore]
) -> list[TargetDifference | None]:
    """Return the difference of each row, the scores of its seeds, to the reference; None if it is not defined."""
    n = reference[0].n_test
    base = _mean_statistic(reference)
    found = [bootstrap_difference(_mean_statistic(row), base, n) for row in rows]
    ps = iter(holm([one.p for one in found if one is not None]))
    return [None if one is None else TargetDifference(one.value, (one.low, one.high), next(ps)) for one in found]


def _mean_statistic(scores: Sequence[TargetScore]) -> Statistic:
    statistics = [_statistic(score) for score in scores]

    def mean(counts: IntArray) -> DoubleArray:
        values: DoubleArray = np.mean([statistic(counts) for statistic in statistics], axis=0)
        return values

    return mean


def _statistic(score: TargetScore) -> Statistic:
    truth, outputs = columns_of(score)
    return resampled_map(truth, outputs) if score.task == MULTI_LABEL else of_targets(resampled_r2, truth, outputs)


def columns_of(score: TargetScore) -> tuple[DoubleArray, DoubleArray]:
    """Return truth and outputs of a score, both float64 [n_test, T]."""
    shape = (score.n_test, len(score.target_names))
    return np.array(score.truth, np.float64).reshape(shape), np.array(score.outputs, np.float64).reshape(shape)
