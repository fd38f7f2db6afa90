"""Scores of multi-label predictions: truth of 0 and 1 per image and label, of which some entries may be unknown.

Throughout, `Y` are floats [n, L] of 0, 1 and NaN for unknown, and unknown entries count in nothing. Scores are floats
[n, L], the higher the more likely. A mean over labels leaves out those for which the measure is not defined, and says
how many these are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeline.metrics.label_ranking import LabelRanking
from probeline.types import AnyArray, AnyFloatArray, BoolArray, DoubleArray


@dataclass(frozen=True)
class LabelMean:
    """The mean of a measure over labels, None if it is defined for none, and how many labels are left out of it."""

    value: float | None
    left_out: int


def check_multi_label(Y: AnyFloatArray, scores: AnyFloatArray) -> None:
    """Require truth of 0, 1 and NaN and scores without NaN, both floats [n, L] with n and L at least 1."""
    if not all(np.issubdtype(of.dtype, np.floating) for of in (Y, scores)) or Y.ndim != 2 or Y.shape != scores.shape:
        shapes = " and ".join(f"{of.dtype} {list(of.shape)}" for of in (Y, scores))
        raise ValueError(f"truth and scores of labels must be floats of one shape [n, L], not {shapes}")
    if 0 in Y.shape:
        raise ValueError(f"there must be an image and a label, not {list(Y.shape)}")
    if not ((Y == 0) | (Y == 1) | np.isnan(Y)).all():
        raise ValueError("the truth of a label must be 0, 1 or NaN for unknown")
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")


def average_precision_per_label(Y: AnyFloatArray, scores: AnyFloatArray) -> DoubleArray:
    """Return the average precision of each label, float64 [L]; NaN for a label without positive or negative entries.

    It is the mean over positive entries of the precision among those that score as high or higher, scikit-learn's
    ``average_precision_score``: without interpolation, so that a ranking by chance has about the share of positives.
    """
    check_multi_label(Y, scores)
    counts = np.ones((1, len(Y)), np.int64)
    return np.concatenate([ranking.average_precision(counts) for ranking in rank_labels(Y, scores)])


def mean_average_precision(Y: AnyFloatArray, scores: AnyFloatArray) -> LabelMean:
    """Return mAP, the mean of the labels' average precision in [0, 1] (macro)."""
    return mean_over_labels(average_precision_per_label(Y, scores))


def micro_average_precision(Y: AnyFloatArray, scores: AnyFloatArray) -> float | None:
    """Return the average precision of all known entries pooled, in [0, 1]; None if they are all equal."""
    check_multi_label(Y, scores)
    return _defined(rank_pooled(Y, scores).average_precision(np.ones((1, len(Y)), np.int64))[0])


def auroc_per_label(Y: AnyFloatArray, scores: AnyFloatArray) -> DoubleArray:
    """Return the area under each label's ROC curve, float64 [L]; NaN for one without positive or negative entries.

    See :func:`probeline.metrics.auroc.auroc`. Scores that rounding makes equal count as equal: logits stay apart where
    probabilities in float32 are all 1.
    """
    check_multi_label(Y, scores)
    counts = np.ones((1, len(Y)), np.int64)
    return np.concatenate([ranking.area(counts) for ranking in rank_labels(Y, scores)])


def macro_auroc(Y: AnyFloatArray, scores: AnyFloatArray) -> LabelMean:
    """Return the mean of the labels' areas under the ROC curve, in [0, 1]."""
    return mean_over_labels(auroc_per_label(Y, scores))


def micro_auroc(Y: AnyFloatArray, scores: AnyFloatArray) -> float | None:
    """Return the area under the ROC curve of all known entries pooled, in [0, 1]; None if they are all equal."""
    check_multi_label(Y, scores)
    return _defined(rank_pooled(Y, scores).area(np.ones((1, len(Y)), np.int64))[0])


def rank_labels(Y: AnyFloatArray, scores: AnyFloatArray) -> list[LabelRanking]:
    """Return the ranking of each label."""
    return [LabelRanking(truth, of_label) for truth, of_label in zip(Y.T, scores.T, strict=True)]


def rank_pooled(Y: AnyFloatArray, scores: AnyFloatArray) -> LabelRanking:
    """Return the ranking of all labels' entries together."""
    return LabelRanking(Y.ravel(), scores.ravel(), np.repeat(np.arange(len(Y)), Y.shape[1]))


def predict_labels(scores: AnyFloatArray, thresholds: DoubleArray) -> BoolArray:
    """Return whether each label is predicted, bool [n, L]: whether its score is its threshold, float64 [L], or more."""
    if thresholds.shape != scores.shape[1:] or np.isnan(thresholds).any():
        raise ValueError(f"thresholds must be numbers {list(scores.shape[1:])}, not {list(thresholds.shape)}")
    predicted: BoolArray = scores >= thresholds.astype(np.float64)
    return predicted


def choose_thresholds(Y: AnyFloatArray, scores: AnyFloatArray) -> DoubleArray:
    """Return the threshold of each label that maximises its F1 score on these images, finite float64 [L].

    A threshold is halfway between two neighbouring scores of known entries, or the lowest score. Of several with the
    same F1 it is the highest, which predicts the label least often. A label without a positive entry has an F1 of 0 at
    best: its threshold is just above its highest score, so that it is predicted on none of these images. The fewer the
    positive entries, the more the threshold fits their chance; use validation images, never test images.

    References
    ----------
    Lipton, Elkan and Naryanaswamy 2014, "Optimal thresholding of classifiers to maximize F1 measure", ECML PKDD.
    """
    check_multi_label(Y, scores)
    if not np.isfinite(scores).all():
        raise ValueError("thresholds need finite scores")
    return np.array([_best_threshold(truth, of_label) for truth, of_label in zip(Y.T, scores.T, strict=True)])


def _best_threshold(truth: AnyFloatArray, scores: AnyFloatArray) -> float:
    known = ~np.isnan(truth)
    falling = np.argsort(-scores[known], kind="stable")
    is_positive, ordered = truth[known][falling] == 1, scores[known][falling].astype(np.float64)
    if not is_positive.any():
        return float(np.nextafter(np.float32(scores.max()), np.float32(np.inf)))  # higher in float32 as well
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # of each group of equal scores
    hits = np.cumsum(is_positive)
    best = int(last[(2 * hits[last] / (last + 1 + hits[-1])).argmax()])
    if best + 1 == len(ordered):
        return float(ordered[best])
    halfway = ordered[best + 1] + (ordered[best] - ordered[best + 1]) / 2
    return float(halfway if halfway > ordered[best + 1] else ordered[best])  # neighbours in float64


@dataclass(frozen=True)
class Outcomes:
    """Which known entries are predicted rightly, predicted wrongly, and missed: each bool [n, L]."""

    hits: BoolArray
    false_alarms: BoolArray
    misses: BoolArray

    @property
    def wrong(self) -> BoolArray:
        """Which entries are wrong."""
        wrong: BoolArray = self.false_alarms | self.misses
        return wrong

    def f1(self, axis: int | None) -> DoubleArray:
        """Return 2 TP / (2 TP + FP + FN) along an axis, or of all entries; NaN if nothing is true or predicted."""
        hits = 2 * self.hits.sum(axis=axis)
        return _share(hits, hits + self.wrong.sum(axis=axis))


def outcomes(Y: AnyFloatArray, scores: AnyFloatArray, thresholds: DoubleArray) -> Outcomes:
    """Return the outcome of each entry at thresholds float64 [L]."""
    check_multi_label(Y, scores)
    predicted = predict_labels(scores, thresholds)
    return Outcomes((Y == 1) & predicted, (Y == 0) & predicted, (Y == 1) & ~predicted)


def f1_per_label(Y: AnyFloatArray, scores: AnyFloatArray, thresholds: DoubleArray) -> DoubleArray:
    """Return the F1 score of each label at its threshold, float64 [L]; NaN for one neither true nor predicted."""
    return outcomes(Y, scores, thresholds).f1(axis=0)


def macro_f1(Y: AnyFloatArray, scores: AnyFloatArray, thresholds: DoubleArray) -> LabelMean:
    """Return the mean of the labels' F1 scores in [0, 1], over those that are true or predicted anywhere."""
    return mean_over_labels(f1_per_label(Y, scores, thresholds))


def micro_f1(Y: AnyFloatArray, scores: AnyFloatArray, thresholds: DoubleArray) -> float | None:
    """Return the F1 score of all known entries pooled, in [0, 1]; None if none is true or predicted."""
    return _defined(outcomes(Y, scores, thresholds).f1(axis=None).item())


def samples_f1(Y: AnyFloatArray, scores: AnyFloatArray, thresholds: DoubleArray) -> float | None:
    """Return the mean of the images' F1 scores in [0, 1], over those with a label that is true or predicted.

    That is scikit-learn's ``f1_score(average="samples", zero_division=nan)``. None if there is no such image.
    """
    return mean_over_labels(outcomes(Y, scores, thresholds).f1(axis=1)).value


def hamming_loss(Y: AnyFloatArray, scores: AnyFloatArray, thresholds: DoubleArray) -> float | None:
    """Return the share of known entries that are wrong, in [0, 1]; None if none is known."""
    return _defined(_share(outcomes(Y, scores, thresholds).wrong.sum(), (~np.isnan(Y)).sum()).item())


def exact_match(Y: AnyFloatArray, scores: AnyFloatArray, thresholds: DoubleArray) -> float | None:
    """Return the share of images whose known entries are all right, in [0, 1]: subset accuracy.

    Images without a known entry are left out; None if that are all.
    """
    is_known = ~np.isnan(Y).all(axis=1)
    is_right = is_known & ~outcomes(Y, scores, thresholds).wrong.any(axis=1)
    return _defined(_share(is_right.sum(), is_known.sum()).item())


def nll_per_label(Y: AnyFloatArray, logits: AnyFloatArray) -> DoubleArray:
    """Return the mean binary cross-entropy in nats of each label's logits, float64 [L]; NaN if no entry is known."""
    check_multi_label(Y, logits)
    return _known_mean(np.logaddexp(0, np.where(Y == 1, -1.0, 1.0) * logits.astype(np.float64)), Y)


def brier_per_label(Y: AnyFloatArray, probabilities: AnyFloatArray) -> DoubleArray:
    """Return the mean of (probability - truth)^2 of each label, float64 [L] in [0, 1]; NaN if no entry is known.

    References
    ----------
    Brier 1950, "Verification of forecasts expressed in terms of probability", in its form for one of two outcomes.
    """
    _check_probabilities(Y, probabilities)
    return _known_mean(np.square(probabilities.astype(np.float64) - Y), Y)


def ece_per_label(Y: AnyFloatArray, probabilities: AnyFloatArray, bins: int = 15) -> DoubleArray:
    """Return the expected calibration error of each label's probability, float64 [L] in [0, 1]; NaN if none is known.

    A label's known entries are binned by their probability, in bins of equal width that are closed above. The error is
    the mean over entries of the difference between the share of positives and the mean probability in their bin: of the
    probability that the label is true, where that of :func:`probeline.metrics.scores.ece` is of the predicted class.
    """
    _check_probabilities(Y, probabilities)
    if bins < 1:
        raise ValueError(f"there must be a bin, not {bins}")
    wide = probabilities.astype(np.float64)
    known, labels = ~np.isnan(Y), Y.shape[1]
    bin_of = np.clip(np.ceil(wide * bins).astype(np.int64) - 1, 0, bins - 1) + bins * np.arange(labels)
    excess = np.bincount(bin_of[known], weights=(Y - wide)[known], minlength=labels * bins)
    return _share(np.abs(excess).reshape(labels, bins).sum(axis=1), known.sum(axis=0))


def mean_over_labels(values: DoubleArray) -> LabelMean:
    """Return the mean of values [L] that are not NaN."""
    known = values[~np.isnan(values)]
    return LabelMean(float(known.mean()) if len(known) else None, len(values) - len(known))


def _check_probabilities(Y: AnyFloatArray, probabilities: AnyFloatArray) -> None:
    check_multi_label(Y, probabilities)
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise ValueError(f"probabilities lie in [{probabilities.min()}, {probabilities.max()}], outside [0, 1]")


def _known_mean(values: DoubleArray, Y: AnyFloatArray) -> DoubleArray:
    """Return each label's mean of values [n, L] over its known entries."""
    known = ~np.isnan(Y)
    return _share(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def _share(parts: AnyArray, totals: AnyArray) -> DoubleArray:
    """Return parts / totals, NaN where a total is 0."""
    totals = np.asarray(totals)
    shares = np.full(totals.shape, np.nan)
    np.divide(parts, totals, out=shares, where=totals > 0)
    return shares


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
