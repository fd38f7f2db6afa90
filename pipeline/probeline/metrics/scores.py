"""Scores of predictions: arrays of classes in, numbers out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

Classes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]


def _check(labels: Classes, predictions: Classes) -> None:
    if labels.shape != predictions.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels and predictions are int64 [n], n > 0, not {labels.shape} and {predictions.shape}")


def top1(labels: Classes, predictions: Classes) -> float:
    """Return the share of right predictions, in [0, 1].

    Parameters
    ----------
    labels, predictions : int64 [n]
    """
    _check(labels, predictions)
    return float((labels == predictions).mean())


def per_class(labels: Classes, predictions: Classes, classes: int) -> npt.NDArray[np.float64]:
    """Return each class's share of right predictions: float64 [K] in [0, 1], NaN for a class without images.

    Parameters
    ----------
    labels, predictions : int64 [n]
    classes : int
        K.
    """
    _check(labels, predictions)
    counts = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[labels == predictions], minlength=classes)
    shares: npt.NDArray[np.float64] = np.divide(right, counts, out=np.full(classes, np.nan), where=counts > 0)
    return shares


def macro(labels: Classes, predictions: Classes, classes: int) -> float:
    """Return the mean of the classes' accuracies, in [0, 1], over the classes that have images."""
    return float(np.nanmean(per_class(labels, predictions, classes)))


def confusion(labels: Classes, predictions: Classes, classes: int) -> npt.NDArray[np.int64]:
    """Return the counts int64 [K, K]: rows are true classes, columns predicted ones."""
    _check(labels, predictions)
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)


def _check_logits(labels: Classes, logits: Floats) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"logits are [n, K] with labels [n], n > 0, not {logits.shape} and {labels.shape}")


def top_k(labels: Classes, logits: Floats, k: int) -> float:
    """Return the share of rows whose true class is among the k highest logits [n, K], in [0, 1].

    A class tied with the true one counts as above it, so that constant logits score nothing.
    """
    _check_logits(labels, logits)
    true = np.take_along_axis(logits, labels[:, None], axis=1)
    return float(((logits >= true).sum(axis=1) <= k).mean())


def nll(labels: Classes, logits: Floats) -> float:
    """Return the mean negative log-likelihood in nats of logits [n, K], in float64."""
    _check_logits(labels, logits)
    wide = logits.astype(np.float64)
    return float((logsumexp(wide, axis=1) - np.take_along_axis(wide, labels[:, None], axis=1)[:, 0]).mean())
