"""Area under the ROC curve: how well probabilities order the images of a class before those of the others."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from probeline.metrics.scores import check_logits
from probeline.types import AnyFloatArray, BoolArray, FloatArray, IntArray

_ROWS = 4096
"""Whose odds are computed at a time, so that many classes need little memory in float64."""


def auroc(labels: IntArray, logits: AnyFloatArray) -> float | None:
    """Return the area under the ROC curve of the softmax of logits [n, K], in [0, 1]; None if one class has all images.

    Of two classes it is the share of pairs of a positive and a negative image in which the positive one has the higher
    probability; a pair of equals counts half, and it does not matter which class is the positive one. Of more classes
    it is the mean over the classes, each against all others (macro one-vs-rest). That is scikit-learn's
    ``roc_auc_score(labels, probabilities, multi_class="ovr")`` if every class has an image; classes without images,
    for which that has no value, are left out.

    References
    ----------
    Hanley and McNeil 1982, "The meaning and use of the area under a receiver operating characteristic (ROC) curve",
    Radiology 143, 29-36; for several classes Provost and Domingos 2000, "Well-trained PETs: improving probability
    estimation trees", with equal weights.
    """
    check_logits(labels, logits)
    tested = np.unique(labels)
    if len(tested) < 2:
        return None
    if logits.shape[1] == 2:
        tested = tested[1:]
    odds = np.concatenate([_log_odds(logits[start : start + _ROWS]) for start in range(0, len(logits), _ROWS)])
    return float(np.mean([_area(labels == label, odds[:, label]) for label in tested]))


def _area(is_positive: BoolArray, values: FloatArray) -> float:
    """Return the share of pairs in order, for bool [n] and values [n], of which the positive ones should be higher."""
    negative, positive = np.sort(values[~is_positive]), values[is_positive]
    below = np.searchsorted(negative, positive, "left").sum() + np.searchsorted(negative, positive, "right").sum()
    return float(below) / (2 * len(negative) * len(positive))


def _log_odds(logits: AnyFloatArray) -> FloatArray:
    """Return log(p / (1 - p)) of each probability of a softmax, float32 [n, K].

    They have the order of the probabilities, but those near 1 stay apart. Float32 lets values that differ by rounding
    alone be equal, as the same probability of two images whose other classes are in another order.
    """
    wide = logits.astype(np.float64)
    top = wide.argmax(axis=1)[:, None]
    wide -= np.take_along_axis(wide, top, axis=1)
    others = wide.copy()
    np.put_along_axis(others, top, -np.inf, axis=1)
    rest = np.exp(wide)
    rest = rest.sum(axis=1, keepdims=True) - rest  # at least 1, but for the top class
    np.put_along_axis(rest, top, 1.0, axis=1)
    log_rest = np.log(rest)
    np.put_along_axis(log_rest, top, logsumexp(others, axis=1, keepdims=True), axis=1)
    wide -= log_rest
    return wide.astype(np.float32)
