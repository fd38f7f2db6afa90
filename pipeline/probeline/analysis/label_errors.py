"""Which labels are likely wrong: confident learning on chances from fits that did not see the row, and its neighbours.

Lengths: n rows, K classes, k neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeline.types import BoolArray, DoubleArray, IntArray

NONE = -1
"""The class of a row that no class is confidently suggested for."""

_DRAWS = 5


@dataclass(frozen=True)
class Doubts:
    """What speaks against the labels of some rows.

    Attributes
    ----------
    suggested : int64 [n]
        The class that the chances confidently speak for; `NONE` where there is none.
    flagged : bool [n]
        Whether that is another class than the label.
    disagreement : float64 [n]
        Share of the nearest rows whose label is another.
    score : float64 [n]
        (1 - chance of the label) x disagreement, in [0, 1]: high where both speak against the label.
    """

    suggested: IntArray
    flagged: BoolArray
    disagreement: DoubleArray
    score: DoubleArray


def thresholds(chances: DoubleArray, labels: IntArray) -> DoubleArray:
    """Return for each class the mean chance of it among the rows that bear it: float64 [K]; infinity without such rows.

    From so much on a chance is confident: a class that is told with little confidence everywhere asks for little.

    Parameters
    ----------
    chances : float64 [n, K]
        From fits that did not see the row.
    labels : int64 [n]
    """
    counts = np.bincount(labels, minlength=chances.shape[1])
    own = np.take_along_axis(chances, labels[:, None], axis=1)[:, 0]
    sums = np.bincount(labels, weights=own, minlength=chances.shape[1])
    means: DoubleArray = np.divide(sums, counts, out=np.full(len(counts), np.inf), where=counts > 0)
    return means


def doubts(chances: DoubleArray, labels: IntArray, confident: DoubleArray, neighbours: IntArray) -> Doubts:
    """Return what speaks against each label.

    A row is flagged where, of the classes whose chance is at least their threshold, the likeliest is another than its
    label: an entry off the diagonal of the confident joint.

    Parameters
    ----------
    chances : float64 [n, K]
        From fits that did not see the row.
    labels : int64 [n]
    confident : float64 [K]
        Of :func:`thresholds`.
    neighbours : int64 [n, k]
        Labels of the nearest rows, without the row itself.

    References
    ----------
    Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty in dataset labels", Journal of
    Artificial Intelligence Research 70, section 3.1.
    """
    suggested = _suggested(chances, confident)
    disagreement = (neighbours != labels[:, None]).mean(axis=1)
    own = np.take_along_axis(chances, labels[:, None], axis=1)[:, 0]
    return Doubts(suggested, _flagged(suggested, labels), disagreement, (1 - own) * disagreement)


def expected(chances: DoubleArray, *, seed: int = 0) -> float:
    """Return how many rows the rule flags on average where no label is wrong and the chances are right.

    Every label is drawn anew by its row's chances, five times. An image that is hard, and not wrongly labelled, is
    flagged so: what exceeds this number, and no more, speaks for wrong labels.

    Parameters
    ----------
    chances : float64 [n, K]
        Calibrated.
    seed : int
    """
    rng = np.random.default_rng(seed)
    edges = chances.cumsum(axis=1)
    counts = []
    for _ in range(_DRAWS):
        drawn = (edges < rng.random((len(edges), 1)) * edges[:, -1:]).sum(axis=1)
        counts.append(_flagged(_suggested(chances, thresholds(chances, drawn)), drawn).sum())
    return float(np.mean(counts))


def plant(labels: IntArray, classes: int, *, most: int = 1000, seed: int = 0) -> tuple[IntArray, IntArray]:
    """Return rows, at most `most` and at most a tenth of all, and another class for each, drawn evenly.

    A row's own label has no part in what fits say that did not see it, nor in the labels of its neighbours: so a label
    can be set wrong afterwards, and what the rule makes of it is what it makes of a label that is wrong at random.

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


def _suggested(chances: DoubleArray, confident: DoubleArray) -> IntArray:
    sure = np.where(chances >= confident, chances, -1.0)
    best = sure.argmax(axis=1)
    return np.where(np.take_along_axis(sure, best[:, None], axis=1)[:, 0] >= 0, best, NONE)


def _flagged(suggested: IntArray, labels: IntArray) -> BoolArray:
    flags: BoolArray = (suggested != labels) & (suggested != NONE)
    return flags
