"""The metrics of ``multi_label.py`` and ``regression.py`` as statistics of resamples, for ``bootstrap.py``.

Each function takes what the metric takes, sorts or compares it once, and returns a `Statistic`. In each resample a mean
over labels or targets leaves out those for which the metric is not defined there.
"""

from __future__ import annotations

import numpy as np

from probeline.metrics.bootstrap import Statistic
from probeline.metrics.multi_label import check_multi_label, outcomes, rank_labels, rank_pooled
from probeline.metrics.regression import check_targets
from probeline.metrics.scores import check_classes
from probeline.types import AnyArray, AnyFloatArray, BoolArray, DoubleArray, IntArray


def ratio_of_sums(parts: AnyArray, totals: AnyArray) -> Statistic:
    """Return the statistic ``sum of parts / sum of totals`` over images, arrays [n]; of [n, K] the mean over columns.

    Totals are not negative. With totals of 1 it is a mean: of bool [n], whether each image is right, it is top-1.
    """
    tops, bottoms = (values.astype(np.float64).reshape(len(values), -1) for values in (parts, totals))

    def statistic(counts: IntArray) -> DoubleArray:
        wide = counts.astype(np.float64)
        return _mean_of_defined(_divide(wide @ tops, wide @ bottoms))

    return statistic


def resampled_kappa(labels: IntArray, predictions: IntArray, ranks: IntArray) -> Statistic:
    """Return Cohen's kappa with quadratic weights of ordered classes, given the rank of each class, int64 [K].

    It is 1 - (mean squared difference in ranks) / (the same of independent labels and predictions), which follows from
    sums of ranks and of their squares. Not defined if all labels and predictions are one class.

    References
    ----------
    Cohen 1968, "Weighted kappa: nominal scale agreement with provision for scaled disagreement or partial credit",
    Psychological Bulletin 70, 213-220.
    """
    check_classes(labels, predictions, classes=len(ranks))
    truth, guess = ranks[labels], ranks[predictions]
    parts = np.stack([np.ones_like(truth), (truth - guess) ** 2, truth, guess, truth**2 + guess**2], axis=1)

    def statistic(counts: IntArray) -> DoubleArray:
        n, observed, of_truth, of_guess, squares = (counts @ parts).T.astype(np.float64)
        expected = squares - 2 * of_truth * of_guess / n
        return np.where(expected > 0, 1 - _divide(observed, expected), np.nan)

    return statistic


def resampled_map(Y: AnyFloatArray, scores: AnyFloatArray) -> Statistic:
    """Return mAP: the mean of the labels' average precision."""
    check_multi_label(Y, scores)
    rankings = rank_labels(Y, scores)
    return lambda counts: _mean_of_defined(np.stack([each.average_precision(counts) for each in rankings], axis=1))


def resampled_micro_average_precision(Y: AnyFloatArray, scores: AnyFloatArray) -> Statistic:
    """Return the average precision of all known entries pooled."""
    check_multi_label(Y, scores)
    return rank_pooled(Y, scores).average_precision


def resampled_macro_auroc(Y: AnyFloatArray, scores: AnyFloatArray) -> Statistic:
    """Return the mean of the labels' areas under the ROC curve."""
    check_multi_label(Y, scores)
    rankings = rank_labels(Y, scores)
    return lambda counts: _mean_of_defined(np.stack([each.area(counts) for each in rankings], axis=1))


def resampled_micro_auroc(Y: AnyFloatArray, scores: AnyFloatArray) -> Statistic:
    """Return the area under the ROC curve of all known entries pooled."""
    check_multi_label(Y, scores)
    return rank_pooled(Y, scores).area


def resampled_macro_f1(Y: AnyFloatArray, scores: AnyFloatArray, thresholds: DoubleArray) -> Statistic:
    """Return the mean of the labels' F1 scores at thresholds that stay as they are."""
    found = outcomes(Y, scores, thresholds)
    hits = 2 * found.hits.astype(np.int64)
    return ratio_of_sums(hits, hits + found.wrong)


def resampled_micro_f1(Y: AnyFloatArray, scores: AnyFloatArray, thresholds: DoubleArray) -> Statistic:
    """Return the F1 score of all known entries pooled."""
    found = outcomes(Y, scores, thresholds)
    hits = 2 * found.hits.sum(axis=1)
    return ratio_of_sums(hits, hits + found.wrong.sum(axis=1))


def resampled_samples_f1(Y: AnyFloatArray, scores: AnyFloatArray, thresholds: DoubleArray) -> Statistic:
    """Return the mean of the images' F1 scores, over those with a label that is true or predicted."""
    of_images = outcomes(Y, scores, thresholds).f1(axis=1)
    return ratio_of_sums(np.nan_to_num(of_images), ~np.isnan(of_images))


def resampled_hamming_loss(Y: AnyFloatArray, scores: AnyFloatArray, thresholds: DoubleArray) -> Statistic:
    """Return the share of known entries that are wrong."""
    return ratio_of_sums(outcomes(Y, scores, thresholds).wrong.sum(axis=1), (~np.isnan(Y)).sum(axis=1))


def resampled_exact_match(Y: AnyFloatArray, scores: AnyFloatArray, thresholds: DoubleArray) -> Statistic:
    """Return the share of images whose known entries are all right, of those that have some."""
    is_known = np.logical_not(np.isnan(Y).all(axis=1))
    return ratio_of_sums(is_known & ~outcomes(Y, scores, thresholds).wrong.any(axis=1), is_known)


def resampled_r2(truth: AnyFloatArray, predictions: AnyFloatArray) -> Statistic:
    """Return the mean R2 over targets; a resample of images that share a target's value leaves it out."""
    errors = _errors(truth, predictions)
    around = truth - truth.mean(axis=0, dtype=np.float64)
    # Of equal values the sums below would leave rounding, not 0.
    values = [np.unique(column, return_inverse=True)[1] for column in truth.T]

    def statistic(counts: IntArray) -> DoubleArray:
        wide = counts.astype(np.float64)
        spread = wide @ np.square(around) - np.square(wide @ around) / wide.sum(axis=1, keepdims=True)
        varies = np.stack([_vary(counts, of_target) for of_target in values], axis=1)
        return _mean_of_defined(1 - _divide(wide @ np.square(errors), np.where(varies, spread, 0.0)))

    return statistic


def resampled_mae(truth: AnyFloatArray, predictions: AnyFloatArray) -> Statistic:
    """Return the mean absolute error over images and targets."""
    errors = np.abs(_errors(truth, predictions))
    return ratio_of_sums(errors, np.ones_like(errors))


def resampled_rmse(truth: AnyFloatArray, predictions: AnyFloatArray) -> Statistic:
    """Return the mean over targets of the root of the mean squared error."""
    squares = np.square(_errors(truth, predictions))

    def statistic(counts: IntArray) -> DoubleArray:
        wide = counts.astype(np.float64)
        roots: DoubleArray = np.sqrt(wide @ squares / wide.sum(axis=1, keepdims=True)).mean(axis=1)
        return roots

    return statistic


def _errors(truth: AnyFloatArray, predictions: AnyFloatArray) -> DoubleArray:
    check_targets(truth, predictions)
    return np.subtract(predictions, truth, dtype=np.float64)


def _vary(counts: IntArray, values: IntArray) -> BoolArray:
    """Return which resamples have images of more than one of the values int64 [n], bool [B]."""
    drawn = counts > 0
    highest = np.where(drawn, values, -1).max(axis=1)
    lowest = np.where(drawn, values, len(values)).min(axis=1)
    varies: BoolArray = lowest < highest
    return varies


def _divide(parts: DoubleArray, totals: DoubleArray) -> DoubleArray:
    shares = np.full(totals.shape, np.nan)
    np.divide(parts, totals, out=shares, where=totals > 0)
    return shares


def _mean_of_defined(values: DoubleArray) -> DoubleArray:
    """Return the mean of each row's values that are not NaN, float64 [B] of [B, K]; NaN if all are."""
    is_defined = ~np.isnan(values)
    return _divide(np.where(is_defined, values, 0.0).sum(axis=1), is_defined.sum(axis=1).astype(np.float64))
