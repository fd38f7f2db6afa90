"""Learning curves: nested, stratified parts of the train rows, in several random draws.

Each draw is one order of the rows, and every prefix of it is stratified: each class's rows are shuffled, row r of a
class of n is sorted at (r + 1/2) / n, and one row of every class comes first. So a smaller fraction is a prefix of a
larger one, has its share of every class to within about one row, and contains every class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from probeline.data.sampling.stratified import ranks, shuffled
from probeline.errors import BadData
from probeline.types import IntArray

_PURPOSE = 100
"""Random stream of the first draw; each further draw has the next one."""


@dataclass(frozen=True)
class Portion:
    """A part of the train rows to fit on.

    Attributes
    ----------
    kind : {"fraction", "shots"}
    amount : float
        Percent of the train rows in (0, 100], or images per class.
    draw : int
        From 0. A portion with all rows, or with all of every class, has one draw.
    rows : int64 [n]
        Ascending.
    short : int
        Of shots: number of classes with fewer images than `amount`, which give all they have.
    """

    kind: Literal["fraction", "shots"]
    amount: float
    draw: int
    rows: IntArray
    short: int = 0


def choose_portions(
    labels: IntArray,
    rows: IntArray,
    *,
    percents: Sequence[float],
    shots: Sequence[int],
    draws: int,
    data_seed: int,
    groups: IntArray | None = None,
) -> list[Portion]:
    """Return the row sets of a learning curve, the percents of train rows first, each in ascending order of amount.

    If rows have groups, a fraction takes whole groups, in the order of their first rows, until it has its number of
    rows, because data grow by whole groups. Shots take the first groups of a class and cut the last of them, so that
    their number is exact. Labels and groups are int64 [N] of all rows of the part, `rows` int64 [n] the train rows.

    Raises
    ------
    BadOption
        A negative seed.
    BadData
        No train rows.
    """
    if not len(rows):
        raise BadData("no train rows to draw from")
    row_sets = []
    orders = [_order(labels, rows, data_seed, draw, groups) for draw in range(draws)]
    for percent in sorted(set(percents)):
        for draw, order in enumerate(orders):
            chosen = _fraction(labels, order, percent, groups)
            row_sets.append(Portion("fraction", percent, draw, chosen))
            # With groups, all rows in one draw need not be all rows in the next, except at 100 %.
            if len(chosen) == len(rows) and (groups is None or percent == 100):
                break
    counts = np.bincount(labels[rows])
    counts = counts[counts > 0]
    for k in sorted(set(shots)):
        for draw, order in enumerate(orders):
            chosen = np.sort(order[ranks(labels[order]) < k])
            row_sets.append(Portion("shots", float(k), draw, chosen, short=int((counts < k).sum())))
            if len(chosen) == len(rows):
                break
    return row_sets


def _order(labels: IntArray, rows: IntArray, seed: int, draw: int, groups: IntArray | None) -> IntArray:
    """Return `rows` in an order whose every prefix is stratified."""
    order = rows[shuffled(len(rows), seed, _PURPOSE + draw)]
    if groups is not None:  # rows of one group follow each other
        _, first, inverse = np.unique(groups[order], return_index=True, return_inverse=True)
        order = order[np.argsort(first[inverse], kind="stable")]
    rank = ranks(labels[order])
    sizes = np.bincount(labels[order])[labels[order]]
    # (2 r + 1) / (2 n): a quotient of two integers is rounded the same way on every machine.
    return order[np.lexsort(((2 * rank + 1) / (2 * sizes), rank > 0))]


def _fraction(labels: IntArray, order: IntArray, percent: float, groups: IntArray | None) -> IntArray:
    """Return, ascending, the first `percent` of an order, with at least one row of every class."""
    classes = len(np.unique(labels[order]))
    count = max(classes, int(np.floor(percent / 100 * len(order) + 0.5)))
    if groups is None:
        return np.sort(order[:count])
    _, first, inverse, sizes = np.unique(groups[order], return_index=True, return_inverse=True, return_counts=True)
    by_first = np.argsort(first)
    # The groups of the first row of each class are always included.
    needed = len(np.unique(inverse[:classes]))
    reached = int(np.searchsorted(np.cumsum(sizes[by_first]), count)) + 1
    taken = by_first[: max(needed, reached)]
    return np.sort(order[np.isin(inverse, taken)])
