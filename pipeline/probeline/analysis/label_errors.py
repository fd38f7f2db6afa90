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

    `suggested`, int64 [n], are the classes that are predicted with confidence, or `NONE`; a row is flagged if that
    differs from its label. `disagreement` is the share of the nearest rows with another label. `score` is
    (1 - probability of the label) x disagreement, in [0, 1]: high if both are evidence against the label.
    """

    suggested: IntArray
    flagged: BoolArray
    disagreement: DoubleArray
    score: DoubleArray


def confidence_thresholds(probabilities: DoubleArray, labels: IntArray) -> DoubleArray:
    """Return each class's mean probability among the rows with its label: float64 [K]; infinity without such rows.

    `probabilities`, float64 [n, K], are out of fold. A prediction is confident from this probability on, so the
    threshold is low for a class that is hard to predict.
    """
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.bincount(labels, weights=_take(probabilities, labels), minlength=probabilities.shape[1])
    means: DoubleArray = np.divide(sums, counts, out=np.full(len(counts), np.inf), where=counts > 0)
    return means


def check_labels(
    probabilities: DoubleArray, labels: IntArray, thresholds: DoubleArray, neighbours: IntArray
) -> CheckedLabels:
    """Return the evidence against each label.

    A row is flagged if, of the classes whose probability reaches their threshold, the most probable one is not its
    label: an off-diagonal entry of the confident joint of Northcutt, Jiang and Chuang 2021, "Confident learning:
    estimating uncertainty in dataset labels", Journal of Artificial Intelligence Research 70, section 3.1.
    `probabilities`, float64 [n, K], are out of fold; `neighbours`, int64 [n, k], are the labels of the nearest rows.
    """
    suggested = _suggest(probabilities, thresholds)
    disagreement = (neighbours != labels[:, None]).mean(axis=1)
    score = (1 - _take(probabilities, labels)) * disagreement
    return CheckedLabels(suggested, _flag(suggested, labels), disagreement, score)


def expected_flags(probabilities: DoubleArray, *, seed: int = 0) -> float:
    """Return how many rows are flagged on average if no label is wrong and the probabilities are right.

    Every label is sampled several times from its row's probabilities, float64 [n, K]. These flags are hard images with
    correct labels: only flags beyond this number are evidence of label errors.
    """
    rng = np.random.default_rng(seed)
    edges = probabilities.cumsum(axis=1)
    counts = []
    for _ in range(_DRAWS):
        labels = (edges < rng.random((len(edges), 1)) * edges[:, -1:]).sum(axis=1)
        counts.append(_flag(_suggest(probabilities, confidence_thresholds(probabilities, labels)), labels).sum())
    return float(np.mean(counts))


def plant_errors(labels: IntArray, classes: int, *, most: int = 1000, seed: int = 0) -> tuple[IntArray, IntArray]:
    """Return random rows int64 [m], at most `most` and a tenth of all, and a uniformly random wrong class for each.

    A row's own label affects neither its out-of-fold probabilities nor the labels of its neighbours. So a label can be
    made wrong afterwards, and is then treated exactly as a label that was wrong at random from the start.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(labels), min(most, max(1, len(labels) // 10)), replace=False))
    return rows, (labels[rows] + rng.integers(1, classes, len(rows))) % classes


def _suggest(probabilities: DoubleArray, thresholds: DoubleArray) -> IntArray:
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = confident.argmax(axis=1)
    return np.where(_take(confident, best) >= 0, best, NONE)


def _take(values: DoubleArray, columns: IntArray) -> DoubleArray:
    """Return one value of each row of float64 [n, K], given its column."""
    taken: DoubleArray = np.take_along_axis(values, columns[:, None], axis=1)[:, 0]
    return taken


def _flag(suggested: IntArray, labels: IntArray) -> BoolArray:
    flags: BoolArray = (suggested != labels) & (suggested != NONE)
    return flags
