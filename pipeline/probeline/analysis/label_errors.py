"""Likely label errors: confident learning on out-of-fold probabilities, and the labels of the nearest images.

Lengths: n rows, K classes, k neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeline.types import BoolArray, DoubleArray, IntArray

NONE = -1
"""The suggestion if no class is predicted with confidence."""

_DRAWS = 5
"""Random labellings that the expected number of flags is averaged over."""


@dataclass(frozen=True)
class CheckedLabels:
    """Evidence against the labels of several rows.

    Attributes
    ----------
    suggested : int64 [n]
        The class that is predicted with confidence; `NONE` if there is none.
    flagged : bool [n]
        Whether that class differs from the label.
    disagreement : float64 [n]
        Share of the nearest rows with another label.
    score : float64 [n]
        (1 - probability of the label) x disagreement, in [0, 1]: high if both are evidence against the label.
    """

    suggested: IntArray
    flagged: BoolArray
    disagreement: DoubleArray
    score: DoubleArray


def confidence_thresholds(probabilities: DoubleArray, labels: IntArray) -> DoubleArray:
    """Return each class's mean probability among the rows with its label: float64 [K]; infinity without such rows.

    A prediction is confident from this probability on, so the threshold is low for a class that is hard to predict.

    Parameters
    ----------
    probabilities : float64 [n, K]
        Out of fold.
    labels : int64 [n]
    """
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    sums = np.bincount(labels, weights=own, minlength=probabilities.shape[1])
    means: DoubleArray = np.divide(sums, counts, out=np.full(len(counts), np.inf), where=counts > 0)
    return means


def check_labels(
    probabilities: DoubleArray, labels: IntArray, thresholds: DoubleArray, neighbours: IntArray
) -> CheckedLabels:
    """Return the evidence against each label.

    A row is flagged if, of the classes whose probability reaches their threshold, the most probable one is not its
    label: an off-diagonal entry of the confident joint.

    Parameters
    ----------
    probabilities : float64 [n, K]
        Out of fold.
    labels : int64 [n]
    thresholds : float64 [K]
        Of :func:`confidence_thresholds`.
    neighbours : int64 [n, k]
        Labels of the nearest rows, without the row itself.

    References
    ----------
    Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty in dataset labels", Journal of
    Artificial Intelligence Research 70, section 3.1.
    """
    suggested = _suggest(probabilities, thresholds)
    disagreement = (neighbours != labels[:, None]).mean(axis=1)
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    return CheckedLabels(suggested, _flag(suggested, labels), disagreement, (1 - own) * disagreement)


def expected_flags(probabilities: DoubleArray, *, seed: int = 0) -> float:
    """Return how many rows are flagged on average if no label is wrong and the probabilities are right.

    Every label is drawn from its row's probabilities, several times. These flags are hard images with correct labels:
    only flags beyond this number are evidence of label errors.

    Parameters
    ----------
    probabilities : float64 [n, K]
        Calibrated.
    seed : int
    """
    rng = np.random.default_rng(seed)
    edges = probabilities.cumsum(axis=1)
    counts = []
    for _ in range(_DRAWS):
        labels = (edges < rng.random((len(edges), 1)) * edges[:, -1:]).sum(axis=1)
        counts.append(_flag(_suggest(probabilities, confidence_thresholds(probabilities, labels)), labels).sum())
    return float(np.mean(counts))


def plant_errors(labels: IntArray, classes: int, *, most: int = 1000, seed: int = 0) -> tuple[IntArray, IntArray]:
    """Return random rows, at most `most` and at most a tenth of all, and a wrong class for each, drawn uniformly.

    A row's own label affects neither its out-of-fold probabilities nor the labels of its neighbours. So a label can be
    made wrong afterwards, and is then treated exactly as a label that was wrong at random from the start.

    Parameters
    ----------
    labels : int64 [n]
    classes : int
        K, at least 2.
    most : int
    seed : int

    Returns
    -------
    rows, wrong : int64 [m]
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(labels), min(most, max(1, len(labels) // 10)), replace=False))
    return rows, (labels[rows] + rng.integers(1, classes, len(rows))) % classes


def _suggest(probabilities: DoubleArray, thresholds: DoubleArray) -> IntArray:
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = confident.argmax(axis=1)
    return np.where(np.take_along_axis(confident, best[:, None], axis=1)[:, 0] >= 0, best, NONE)


def _flag(suggested: IntArray, labels: IntArray) -> BoolArray:
    flags: BoolArray = (suggested != labels) & (suggested != NONE)
    return flags
