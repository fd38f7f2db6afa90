"""Scores of predictions: arrays of classes in, numbers out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

Classes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]


def check_classes(*arrays: Classes, classes: int | None = None) -> None:
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


def _check_logits(labels: Classes, logits: Floats) -> None:
    if logits.ndim != 2 or not np.issubdtype(logits.dtype, np.floating) or len(logits) != len(labels):
        raise ValueError(f"logits must be floats [{len(labels)}, K], not {logits.dtype} {list(logits.shape)}")
    if np.isnan(logits).any():
        raise ValueError("a logit is no number")
    check_classes(labels, classes=logits.shape[1])


def top1(labels: Classes, predictions: Classes) -> float:
    """Return the share of right predictions, in [0, 1].

    Parameters
    ----------
    labels, predictions : int64 [n]
    """
    check_classes(labels, predictions)
    return float((labels == predictions).mean())


def per_class(labels: Classes, predictions: Classes, classes: int) -> npt.NDArray[np.float64]:
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


def macro(labels: Classes, predictions: Classes, classes: int) -> float:
    """Return the mean of the classes' accuracies, in [0, 1], over the classes that have images."""
    return float(np.nanmean(per_class(labels, predictions, classes)))


def confusion(labels: Classes, predictions: Classes, classes: int) -> npt.NDArray[np.int64]:
    """Return the counts int64 [K, K]: rows are true classes, columns predicted ones."""
    check_classes(labels, predictions, classes=classes)
    counts = np.bincount(labels * classes + predictions, minlength=classes**2)
    return counts.reshape(classes, classes).astype(np.int64, copy=False)


def nll(labels: Classes, logits: Floats) -> float:
    """Return the mean negative log-likelihood in nats of logits [n, K], in float64."""
    _check_logits(labels, logits)
    wide = logits.astype(np.float64)
    return float((logsumexp(wide, axis=1) - np.take_along_axis(wide, labels[:, None], axis=1)[:, 0]).mean())
