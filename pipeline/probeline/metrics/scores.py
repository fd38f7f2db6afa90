"""Scores of predictions: arrays of classes in, numbers out."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp, softmax

from probeline.types import AnyFloatArray, DoubleArray, IntArray


def check_classes(*arrays: IntArray, classes: int | None = None) -> None:
    """Require int64 arrays of one length n > 0, with values in [0, classes)."""
    for array in arrays:
        if array.dtype != np.int64 or array.shape != arrays[0].shape or array.ndim != 1 or not len(array):
            shapes = ", ".join(f"{array.dtype} {list(array.shape)}" for array in arrays)
            raise ValueError(f"classes must be int64 [n] of one length n > 0, not {shapes}")
        if array.min() < 0 or (classes is not None and array.max() >= classes):
            raise ValueError(f"classes lie in [{array.min()}, {array.max()}], outside [0, {classes})")


def check_logits(labels: IntArray, logits: AnyFloatArray) -> None:
    """Require floats [n, K] without NaN, and their labels int64 [n] in [0, K)."""
    if logits.ndim != 2 or not np.issubdtype(logits.dtype, np.floating) or len(logits) != len(labels):
        raise ValueError(f"logits must be floats [{len(labels)}, K], not {logits.dtype} {list(logits.shape)}")
    if np.isnan(logits).any():
        raise ValueError("a logit is not a number")
    check_classes(labels, classes=logits.shape[1])


def _check_probabilities(labels: IntArray, probabilities: AnyFloatArray) -> None:
    check_logits(labels, probabilities)
    # 1e-3 is float16's rounding of a row's largest value; no softmax in float32 or float64 comes near it.
    if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1).max() > 1e-3:
        raise ValueError("the rows are not probabilities: each must be 0 or more and sum to 1")


def top1(labels: IntArray, predictions: IntArray) -> float:
    """Return the share of right predictions, in [0, 1]."""
    check_classes(labels, predictions)
    return float((labels == predictions).mean())


def per_class(labels: IntArray, predictions: IntArray, classes: int) -> DoubleArray:
    """Return the share of right predictions per class, float64 [K]; NaN for a class without images."""
    check_classes(labels, predictions, classes=classes)
    counts = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[labels == predictions], minlength=classes)
    shares = np.full(classes, np.nan)
    np.divide(right, counts, out=shares, where=counts > 0)
    return shares


def class_error(labels: IntArray, predictions: IntArray, ranks: IntArray) -> float:
    """Return by how many classes predictions are off on average, given the rank of each class, int64 [K]."""
    check_classes(labels, predictions, classes=len(ranks))
    return float(np.abs(ranks[labels] - ranks[predictions]).mean())


def macro(labels: IntArray, predictions: IntArray, classes: int) -> float:
    """Return the mean accuracy over the classes that have images, in [0, 1]: balanced accuracy."""
    return float(np.nanmean(per_class(labels, predictions, classes)))


def f1_per_class(labels: IntArray, predictions: IntArray, classes: int) -> DoubleArray:
    """Return the F1 score of each class, float64 [K]; NaN for a class that is neither true nor predicted anywhere.

    F1 is the harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN): 0 for a class without a right prediction.
    """
    check_classes(labels, predictions, classes=classes)
    sums = np.bincount(labels, minlength=classes) + np.bincount(predictions, minlength=classes)
    right = np.bincount(labels[labels == predictions], minlength=classes)
    scores = np.full(classes, np.nan)
    np.divide(2 * right, sums, out=scores, where=sums > 0)
    return scores


def macro_f1(labels: IntArray, predictions: IntArray, classes: int) -> float:
    """Return the mean F1 score over the classes that are true or predicted anywhere, in [0, 1]."""
    return float(np.nanmean(f1_per_class(labels, predictions, classes)))


def weighted_f1(labels: IntArray, predictions: IntArray, classes: int) -> float:
    """Return the mean F1 score over images, each with the score of its true class, in [0, 1]."""
    return float(f1_per_class(labels, predictions, classes)[labels].mean())


def selection_score(metric: str, labels: IntArray, predictions: IntArray, classes: int) -> float:
    """Return what predictions are selected by, in [0, 1], for one of :data:`probeline.names.METRICS`."""
    if metric == "top1":
        return top1(labels, predictions)
    by_name = {"macro": macro, "macro-f1": macro_f1}
    return by_name[metric](labels, predictions, classes)


def confusion(labels: IntArray, predictions: IntArray, classes: int) -> IntArray:
    """Return the counts int64 [K, K]: rows are true classes, columns predicted ones."""
    check_classes(labels, predictions, classes=classes)
    counts = np.bincount(labels * classes + predictions, minlength=classes**2)
    return counts.reshape(classes, classes).astype(np.int64, copy=False)


def nll(labels: IntArray, logits: AnyFloatArray) -> float:
    """Return the mean negative log-likelihood in nats of logits [n, K], in float64."""
    check_logits(labels, logits)
    wide = logits.astype(np.float64)
    return float((logsumexp(wide, axis=1) - np.take_along_axis(wide, labels[:, None], axis=1)[:, 0]).mean())


def top_k(labels: IntArray, logits: AnyFloatArray, k: int) -> float:
    """Return the share of images whose class has one of the k largest logits, in [0, 1].

    Of equal logits the lower class comes first, so that ``top_k(labels, logits, 1)`` is the top-1 of the argmax.
    """
    check_logits(labels, logits)
    if not 1 <= k <= logits.shape[1]:
        raise ValueError(f"k must lie in [1, {logits.shape[1]}], not {k}")
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    lower = np.arange(logits.shape[1]) < labels[:, None]
    ahead = (logits > own).sum(axis=1) + ((logits == own) & lower).sum(axis=1)
    return float((ahead < k).mean())


def chances(logits: AnyFloatArray, temperature: float = 1.0) -> DoubleArray:
    """Return the softmax float64 [n, K] of ``logits / temperature``."""
    if not temperature > 0:
        raise ValueError(f"a temperature is positive, not {temperature}")
    shares: DoubleArray = softmax(logits.astype(np.float64) / temperature, axis=1)
    return shares


def brier(labels: IntArray, probabilities: AnyFloatArray) -> float:
    """Return the mean squared distance of the probabilities to the truth, summed over the classes: in [0, 2].

    References
    ----------
    Brier 1950, "Verification of forecasts expressed in terms of probability", in its form for several classes.
    """
    _check_probabilities(labels, probabilities)
    return squared(labels, probabilities)


def squared(labels: IntArray, outputs: AnyFloatArray) -> float:
    """Return the mean over rows of ``||output - one-hot label||^2``, in float64: Brier's score of probabilities."""
    check_logits(labels, outputs)
    wide = outputs.astype(np.float64)
    own = np.take_along_axis(wide, labels[:, None], axis=1)[:, 0]
    return float((np.square(wide).sum(axis=1) - np.square(own) + np.square(1 - own)).mean())


def reliability(labels: IntArray, probabilities: AnyFloatArray, bins: int = 15) -> tuple[tuple[int, float, float], ...]:
    """Return a reliability diagram: the images, mean largest probability and top-1 per bin of :func:`ece`.

    An empty bin has zeros.
    """
    images, confidence, right = _binned(labels, probabilities, bins)
    counts = np.maximum(images, 1)
    return tuple(zip(images.tolist(), (confidence / counts).tolist(), (right / counts).tolist(), strict=True))


def ece(labels: IntArray, probabilities: AnyFloatArray, bins: int = 15) -> float:
    """Return the expected calibration error of the predicted class, in [0, 1].

    The images are binned by their largest probability, in bins of equal width that are closed above. The error is the
    mean over images of the difference between top-1 and mean largest probability in their bin. It depends on the bins
    and is above 0 by chance alone, the more so the fewer the images.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks", ICML, equation 3.
    """
    _, confidence, right = _binned(labels, probabilities, bins)
    return float(np.abs(right - confidence).sum() / len(labels))


def _binned(labels: IntArray, probabilities: AnyFloatArray, bins: int) -> tuple[IntArray, DoubleArray, DoubleArray]:
    """Return the images per bin, the sums of their largest probabilities, and how many are right."""
    _check_probabilities(labels, probabilities)
    if bins < 1:
        raise ValueError(f"there must be a bin, not {bins}")
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    indices = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    sums = (np.bincount(indices, weights=weights, minlength=bins) for weights in (confidence, right))
    return np.bincount(indices, minlength=bins), *sums  # type: ignore[return-value]
