"""Splits of images with several labels, or with numbers, in which each share has its part of every label.

The only randomness is the order of the rows, and the arithmetic is in integers, so that splits are the same on every
machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probeline.types import AnyArray, DoubleArray, IntArray

_ROWS_PER_STRATUM = 10
"""Rows of similar targets that are divided among the shares together."""


def deal_iteratively(
    values: DoubleArray, order: IntArray, shares: Sequence[int], groups: IntArray | None = None
) -> list[IntArray]:
    """Return the rows of `order` in one set for each share, ascending: iterative stratification.

    The rarest label that is not yet dealt comes first: each of its images goes where most of them are still wanted,
    and among equals where most images are. Images without a label come last.

    Parameters
    ----------
    values : float64 [N, L]
        1 where an image has a label; 0 or NaN elsewhere.
    order : int64 [n]
        The rows to deal in seeded order.
    shares : sequence of int
        Their proportions.
    groups : int64 [N], optional
        Rows of one group stay together.

    References
    ----------
    Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label data", ECML PKDD, algorithm 1.
    """
    items = _items(order, groups)
    has = values == 1
    counts = [has[rows].sum(axis=0).astype(np.int64) for rows in items]
    sizes = [len(rows) for rows in items]
    # What a share still wants, times the sum of the shares.
    whole, parts = sum(shares), np.array(shares, np.int64)
    wanted = np.outer(parts, np.sum(counts, axis=0)) if items else np.zeros((len(shares), values.shape[1]), np.int64)
    wanted_rows = parts * sum(sizes)
    with_label: list[list[int]] = [[] for _ in range(values.shape[1])]
    for item, own in enumerate(counts):
        for label in np.flatnonzero(own).tolist():
            with_label[label].append(item)
    left = np.array([len(own) for own in with_label])
    share_of = np.full(len(items), -1)

    def place(item: int, wants: IntArray) -> None:
        best = np.flatnonzero(wants == wants.max())
        share = int(best[np.argmax(wanted_rows[best])])
        share_of[item] = share
        wanted[share] -= whole * counts[item]
        wanted_rows[share] -= whole * sizes[item]
        left[counts[item] > 0] -= 1

    while left.any():
        label = int(np.where(left > 0, left, np.iinfo(np.int64).max).argmin())
        for item in with_label[label]:
            if share_of[item] < 0:
                place(item, wanted[:, label])
    for item in np.flatnonzero(share_of < 0).tolist():
        place(item, wanted_rows)
    return [
        np.sort(np.concatenate([np.empty(0, np.int64), *(items[item] for item in np.flatnonzero(share_of == share))]))
        for share in range(len(shares))
    ]


def _items(order: IntArray, groups: IntArray | None) -> list[IntArray]:
    """Return the rows that stay together, in their order: one each, or those of a group."""
    if groups is None:
        return [order[place : place + 1] for place in range(len(order))]
    by_group: dict[int, list[int]] = {}
    for row, group in zip(order.tolist(), groups[order].tolist(), strict=True):
        by_group.setdefault(group, []).append(row)
    return [np.array(rows, np.int64) for rows in by_group.values()]


def strata_of_numbers(values: DoubleArray, rows: AnyArray) -> IntArray:
    """Return the stratum of each row, int64 [N], -1 for those that are not among `rows`.

    Of one target a stratum is ten rows or more that follow one another in size; of several, in the mean of their ranks,
    a row's unknown values left out.
    """
    ranks = np.full((len(rows), values.shape[1]), np.nan)
    for column, own in enumerate(values[rows].T):
        known = np.flatnonzero(~np.isnan(own))
        ranks[known[np.argsort(own[known], kind="stable")], column] = (np.arange(len(known)) + 0.5) / len(known)
    order = np.argsort(np.nanmean(ranks, axis=1), kind="stable")
    count = max(1, len(rows) // _ROWS_PER_STRATUM)
    strata = np.full(len(values), -1, np.int64)
    strata[rows[order]] = np.arange(len(rows)) * count // len(rows)
    return strata
