"""Scores of predictions: arrays of classes in, numbers out."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp, softmax

from probeline.types import AnyFloatArray, DoubleArray, IntArray


def check_classes(*arrays: IntArray, classes: int | None = None) -> None:
    """Require int64 arrays of one length n > 0, with values in [0, classes).

    Raises
    ------
    ValueError
    """
    for array in arrays:
        if array.dtype != np.int64 or array.shape != arrays[0].shape or array.ndim != 1 or not len(array):
            found = ", ".join(f"{array.dtype} {list(array.shape)}" for array in arrays)
            raise ValueError(f"classes must be int64 [n] of one length n > 0, not {found}")
        if array.min() < 0 or (classes is not None and array.max() >= classes):
            raise ValueError(f"classes lie in [{array.min()}, {array.max()}], outside [0, {classes})")


def _check_logits(labels: IntArray, logits: AnyFloatArray) -> None:
    if logits.ndim != 2 or not np.issubdtype(logits.dtype, np.floating) or len(logits) != len(labels):
        raise ValueError(f"logits must be floats [{len(labels)}, K], not {logits.dtype} {list(logits.shape)}")
    if np.isnan(logits).any():
        raise ValueError("a logit is no number")
    check_classes(labels, classes=logits.shape[1])


def _check_probabilities(labels: IntArray, probabilities: AnyFloatArray) -> None:
    _check_logits(labels, probabilities)
    # 1e-3 is float16's rounding of a row's largest value; no softmax in float32 or float64 comes near it.
    if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1).max() > 1e-3:
        raise ValueError("the rows are no probabilities: each must be 0 or more and sum to 1")


def top1(labels: IntArray, predictions: IntArray) -> float:
    """Return the share of right predictions, in [0, 1].

    Parameters
    ----------
    labels, predictions : int64 [n]
    """
    check_classes(labels, predictions)
    return float((labels == predictions).mean())


def per_class(labels: IntArray, predictions: IntArray, classes: int) -> DoubleArray:
    """Return each class's share of right predictions: float64 [K] in [0, 1], NaN for a class without images.

    Parameters
    ----------
    labels, predictions : int64 [n]
    classes : int
        K.
    """
    check_classes(labels, predictions, classes=classes)
    counts = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[labels == predictions], minlength=classes)
    shares = np.full(classes, np.nan)
    np.divide(right, counts, out=shares, where=counts > 0)
    return shares


def macro(labels: IntArray, predictions: IntArray, classes: int) -> float:
    """Return the mean of the classes' accuracies, in [0, 1], over the classes that have images."""
    return float(np.nanmean(per_class(labels, predictions, classes)))


def confusion(labels: IntArray, predictions: IntArray, classes: int) -> IntArray:
    """Return the counts int64 [K, K]: rows are true classes, columns predicted ones."""
    check_classes(labels, predictions, classes=classes)
    counts = np.bincount(labels * classes + predictions, minlength=classes**2)
    return counts.reshape(classes, classes).astype(np.int64, copy=False)


def nll(labels: IntArray, logits: AnyFloatArray) -> float:
    """Return the mean negative log-likelihood in nats of logits [n, K], in float64."""
    _check_logits(labels, logits)
    wide = logits.astype(np.float64)
    return float((logsumexp(wide, axis=1) - np.take_along_axis(wide, labels[:, None], axis=1)[:, 0]).mean())


def top_k(labels: IntArray, logits: AnyFloatArray, k: int) -> float:
    """Return the share of images whose class is among the k of the largest logits, in [0, 1].

    Of equal logits the lower class comes first, so that ``top_k(labels, logits, 1)`` is the top-1 of the argmax.

    Parameters
    ----------
    labels : int64 [n]
    logits : floats [n, K]
    k : int
        In [1, K].
    """
    _check_logits(labels, logits)
    if not 1 <= k <= logits.shape[1]:
        raise ValueError(f"k must lie in [1, {logits.shape[1]}], not {k}")
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    lower = np.arange(logits.shape[1]) < labels[:, None]
    ahead = (logits > own).sum(axis=1) + ((logits == own) & lower).sum(axis=1)
    return float((ahead < k).mean())


def chances(logits: AnyFloatArray, temperature: float = 1.0) -> DoubleArray:
    """Return the softmax float64 [n, K] of ``logits / temperature``.

    Parameters
    ----------
    logits : floats [n, K]
    temperature : float
        Positive.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature is positive, not {temperature}")
    shares: DoubleArray = softmax(logits.astype(np.float64) / temperature, axis=1)
    return shares


def brier(labels: IntArray, probabilities: AnyFloatArray) -> float:
    """Return the mean squared distance of the probabilities to the truth, summed over the classes: in [0, 2].

    Parameters
    ----------
    labels : int64 [n]
    probabilities : floats [n, K]

    References
    ----------
    Brier 1950, "Verification of forecasts expressed in terms of probability", in its form for several classes.
    """
    _check_probabilities(labels, probabilities)
    return squared(labels, probabilities)


def squared(labels: IntArray, outputs: AnyFloatArray) -> float:
    """Return the mean over rows of ``||output - one-hot label||^2``, in float64; of probabilities it is Brier's score.

    Parameters
    ----------
    labels : int64 [n]
    outputs : floats [n, K]
    """
    _check_logits(labels, outputs)
    wide = outputs.astype(np.float64)
    own = np.take_along_axis(wide, labels[:, None], axis=1)[:, 0]
    return float((np.square(wide).sum(axis=1) - np.square(own) + np.square(1 - own)).mean())


def reliability(labels: IntArray, probabilities: AnyFloatArray, bins: int = 15) -> tuple[tuple[int, float, float], ...]:
    """Return what a reliability diagram shows: of each bin of :func:`ece` its images, and two means over them.

    Parameters
    ----------
    labels : int64 [n]
    probabilities : floats [n, K]
    bins : int

    Returns
    -------
    tuple of (int, float, float) [bins]
        How many images, their mean largest probability, and top-1 among them; zeros of an empty bin.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks", ICML, section 2.
    """
    images, sure, right = _binned(labels, probabilities, bins)
    some = np.maximum(images, 1)
    return tuple(zip(images.tolist(), (sure / some).tolist(), (right / some).tolist(), strict=True))


def ece(labels: IntArray, probabilities: AnyFloatArray, bins: int = 15) -> float:
    """Return the expected calibration error of the predicted class, in [0, 1].

    The images are sorted by their largest probability into `bins` of equal width, each closed above; what is returned
    is the mean over images of how far apart top-1 and the mean largest probability of their bin are. The number
    depends on the bins and is above 0 by chance alone, the more so the fewer the images.

    Parameters
    ----------
    labels : int64 [n]
    probabilities : floats [n, K]
    bins : int

    References
    ----------
    Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks", ICML, equation 3.
    """
    _, sure, right = _binned(labels, probabilities, bins)
    return float(np.abs(right - sure).sum() / len(labels))


def _binned(labels: IntArray, probabilities: AnyFloatArray, bins: int) -> tuple[IntArray, DoubleArray, DoubleArray]:
    """Return of each bin its images, the sum of their largest probabilities, and how many are right."""
    _check_probabilities(labels, probabilities)
    if bins < 1:
        raise ValueError(f"there must be a bin, not {bins}")
    sure = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    places = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    sums = (np.bincount(places, weights=weights, minlength=bins) for weights in (sure, right))
    return np.bincount(places, minlength=bins), *sums  # type: ignore[return-value]
