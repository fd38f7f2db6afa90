"""Scores of predicted numbers: truth and predictions float [n, T] of n images and T targets, finite.

A mean over targets has equal weights (scikit-learn's ``uniform_average``). A target that is the same for all images has
no R2 and no rank correlation: it is NaN by target and left out of the mean, which is None if no target is left.
"""

from __future__ import annotations

import numpy as np

from probeline.types import AnyFloatArray, BoolArray, DoubleArray


def check_targets(truth: AnyFloatArray, predictions: AnyFloatArray) -> None:
    """Require finite floats [n, T] of one shape, with n and T at least 1."""
    shapes = " and ".join(f"{of.dtype} {list(of.shape)}" for of in (truth, predictions))
    is_float = all(np.issubdtype(of.dtype, np.floating) for of in (truth, predictions))
    if not is_float or truth.ndim != 2 or truth.shape != predictions.shape or 0 in truth.shape:
        raise ValueError(f"truth and predictions must be floats of one shape [n, T], n and T at least 1, not {shapes}")
    if not np.isfinite(truth).all() or not np.isfinite(predictions).all():
        raise ValueError("a target or a prediction is not finite")


def r2_per_target(truth: AnyFloatArray, predictions: AnyFloatArray) -> DoubleArray:
    """Return the coefficient of determination of each target, float64 [T]; NaN for a target of one value.

    It is 1 less the ratio of the squared errors to those of the mean over these very images: 0 for predicting that mean
    everywhere, and below 0 for worse. scikit-learn's ``r2_score``, but for a target of one value, which has 0 or 1
    there.
    """
    errors = _errors(truth, predictions)
    around = truth - truth.mean(axis=0, dtype=np.float64)
    values = np.full(truth.shape[1], np.nan)
    np.divide(np.square(errors).sum(axis=0), np.square(around).sum(axis=0), out=values, where=_varies(truth))
    return 1 - values


def r2(truth: AnyFloatArray, predictions: AnyFloatArray) -> float | None:
    """Return the mean R2 over the targets that vary, at most 1."""
    return mean_over_targets(r2_per_target(truth, predictions))


def mae_per_target(truth: AnyFloatArray, predictions: AnyFloatArray) -> DoubleArray:
    """Return the mean absolute error of each target in its unit, float64 [T]."""
    means: DoubleArray = np.abs(_errors(truth, predictions)).mean(axis=0)
    return means


def mae(truth: AnyFloatArray, predictions: AnyFloatArray) -> float:
    """Return the mean absolute error over images and targets, which should have one unit."""
    return float(mae_per_target(truth, predictions).mean())


def rmse_per_target(truth: AnyFloatArray, predictions: AnyFloatArray) -> DoubleArray:
    """Return the root of the mean squared error of each target in its unit, float64 [T]."""
    roots: DoubleArray = np.sqrt(np.square(_errors(truth, predictions)).mean(axis=0))
    return roots


def rmse(truth: AnyFloatArray, predictions: AnyFloatArray) -> float:
    """Return the mean over targets, which should have one unit, of the root of the mean squared error.

    That is scikit-learn's ``root_mean_squared_error``: each target's root is taken before the mean.
    """
    return float(rmse_per_target(truth, predictions).mean())


def spearman_per_target(truth: AnyFloatArray, predictions: AnyFloatArray) -> DoubleArray:
    """Return Spearman's rank correlation of each target, float64 [T] in [-1, 1]; NaN if truth or predictions are equal.

    Equal values share the mean of their ranks, and the correlation is Pearson's of the ranks, as scipy's ``spearmanr``.

    References
    ----------
    Spearman 1904, "The proof and measurement of association between two things", Am. J. Psychol. 15, 72-101.
    """
    check_targets(truth, predictions)
    values = np.full(truth.shape[1], np.nan)
    for target in np.flatnonzero(_varies(truth) & _varies(predictions)):
        a, b = _centred_ranks(truth[:, target]), _centred_ranks(predictions[:, target])
        values[target] = a @ b / np.sqrt((a @ a) * (b @ b))
    return values


def spearman(truth: AnyFloatArray, predictions: AnyFloatArray) -> float | None:
    """Return the mean of Spearman's rank correlation over the targets that have one.

    Predictions that are all equal have none either, so look at :func:`spearman_per_target` before a comparison.
    """
    return mean_over_targets(spearman_per_target(truth, predictions))


def mean_over_targets(values: DoubleArray) -> float | None:
    """Return the mean of values [T] that are not NaN, None if all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _errors(truth: AnyFloatArray, predictions: AnyFloatArray) -> DoubleArray:
    check_targets(truth, predictions)
    return np.subtract(predictions, truth, dtype=np.float64)


def _varies(values: AnyFloatArray) -> BoolArray:
    """Return which columns have two values, bool [T]: a sum of squares around the mean would be 0 up to rounding."""
    varies: BoolArray = values.min(axis=0) < values.max(axis=0)
    return varies


def _centred_ranks(values: AnyFloatArray) -> DoubleArray:
    """Return the ranks of values [n] less their mean; equal values have the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[group] - (len(values) + 1) / 2
