"""Bootstrap statistics of the metrics of several labels and of numbers, of which some values may be unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from probeline.metrics.bootstrap import Statistic, bootstrap
from probeline.metrics.regression import spearman_per_target
from probeline.metrics.resampled import (
    resampled_exact_match,
    resampled_macro_auroc,
    resampled_macro_f1,
    resampled_mae,
    resampled_map,
    resampled_micro_average_precision,
    resampled_micro_f1,
    resampled_r2,
    resampled_rmse,
    resampled_samples_f1,
)
from probeline.types import AnyArray, DoubleArray, IntArray

_MOST_SORTED = 100_000
"""Values whose ranks are resampled: each resample sorts them again."""

_SEED = 0


def label_intervals(
    Y: DoubleArray, probabilities: DoubleArray, thresholds: DoubleArray, groups: AnyArray | None = None
) -> dict[str, tuple[float, float]]:
    """Return the 95 % interval of each metric of labels that is defined, for other images, or groups of images."""
    statistics = {
        "map": resampled_map(Y, probabilities),
        "map-micro": resampled_micro_average_precision(Y, probabilities),
        "auroc": resampled_macro_auroc(Y, probabilities),
        "f1": resampled_macro_f1(Y, probabilities, thresholds),
        "f1-micro": resampled_micro_f1(Y, probabilities, thresholds),
        "f1-samples": resampled_samples_f1(Y, probabilities, thresholds),
        "exact-match": resampled_exact_match(Y, probabilities, thresholds),
    }
    return _intervals(statistics, len(Y), groups)


def number_intervals(
    Y: DoubleArray, outputs: DoubleArray, groups: AnyArray | None = None
) -> dict[str, tuple[float, float]]:
    """Return the same of metrics of numbers; without that of Spearman's correlation for very many values."""
    statistics = {
        "r2": of_targets(resampled_r2, Y, outputs),
        "mae": of_targets(resampled_mae, Y, outputs),
        "rmse": of_targets(resampled_rmse, Y, outputs),
    }
    if Y.size <= _MOST_SORTED:
        statistics["spearman"] = of_targets(_resampled_spearman, Y, outputs)
    return _intervals(statistics, len(Y), groups)


def of_targets(
    resampled: Callable[[DoubleArray, DoubleArray], Statistic], Y: DoubleArray, outputs: DoubleArray
) -> Statistic:
    """Return the mean over targets of a statistic of each on the rows where it is known."""
    known = ~np.isnan(Y)
    if known.all():
        return resampled(Y, outputs)
    own = [
        (rows, resampled(Y[rows, column, None], outputs[rows, column, None]))
        for column, rows in enumerate(known.T)
        if rows.any()
    ]

    def statistic(counts: IntArray) -> DoubleArray:
        values = np.full((len(counts), len(own)), np.nan)
        for column, (rows, of_target) in enumerate(own):
            drawn = counts[:, rows]
            some = drawn.any(axis=1)
            if some.any():
                values[some, column] = of_target(drawn[some])
        is_defined = ~np.isnan(values)
        sums, totals = np.where(is_defined, values, 0.0).sum(axis=1), is_defined.sum(axis=1)
        return np.where(totals > 0, sums / np.maximum(totals, 1), np.nan)

    return statistic


def _resampled_spearman(Y: DoubleArray, outputs: DoubleArray) -> Statistic:
    def statistic(counts: IntArray) -> DoubleArray:
        rows = np.arange(len(Y))
        values = []
        for of_images in counts:
            drawn = np.repeat(rows, of_images)
            own = spearman_per_target(Y[drawn], outputs[drawn])
            values.append(own[~np.isnan(own)].mean() if not np.isnan(own).all() else np.nan)
        return np.array(values, np.float64)

    return statistic


def _intervals(statistics: Mapping[str, Statistic], n: int, groups: AnyArray | None) -> dict[str, tuple[float, float]]:
    found = {name: bootstrap(statistic, n, seed=_SEED, groups=groups) for name, statistic in statistics.items()}
    return {name: (interval.low, interval.high) for name, interval in found.items() if interval is not None}
