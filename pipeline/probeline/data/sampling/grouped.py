"""Stratified choices that keep groups whole: greedy, seeded, and the same on every machine.

scikit-learn's StratifiedGroupKFold is the model: groups go one by one, the large ones first, to where they even out
the classes best. Here all is done in whole numbers, so that no machine's rounding can tip a choice, and the only
randomness is the order that is handed in.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from probeline.types import IntArray

_SCALE = 2**64
"""Of the reciprocals of class sizes, in whole numbers."""


@dataclass(frozen=True)
class _Group:
    """Rows that stay together: how many of each class, and where they come in the seeded order."""

    number: int
    counts: dict[int, int]
    size: int


def carve_groups(
    labels: IntArray, groups: IntArray, order: IntArray, *, fraction: int, keep: int
) -> tuple[IntArray, IntArray]:
    """Return about a stratified 1 / `fraction` of the rows in `order`, in whole groups, and the rest.

    A class keeps `keep` groups in the rest, or all it has; where it has more, it gives at least one.

    Parameters
    ----------
    labels, groups : int64 [N]
        Of all rows of the part.
    order : int64 [n]
        The rows to choose from, in seeded order.
    fraction, keep : int

    Returns
    -------
    carved, rest : int64
        Ascending.
    """
    candidates = _groups(labels, groups, order)
    spare = {label: count - keep for label, count in _count_by_class(candidates).items()}
    bins = _Bins(candidates, (1, fraction - 1))
    taken: list[_Group] = []

    def take(group: _Group) -> None:
        taken.append(group)
        for label in group.counts:
            spare[label] -= 1

    queue = _queue(candidates, scarce=keep + 1)
    for group in queue:
        free = all(spare[label] > 0 for label in group.counts)
        if bins.add(group, allowed=(0, 1) if free else (1,)) == 0:
            take(group)
    for label in sorted(spare):
        has_given = any(label in group.counts for group in taken)
        movable = [
            group for group in queue if label in group.counts and all(spare[other] > 0 for other in group.counts)
        ]
        if not has_given and movable:
            take(min(movable, key=lambda group: group.size))
    inside = np.isin(groups[order], [group.number for group in taken])
    return np.sort(order[inside]), np.sort(order[~inside])


def deal_groups(labels: IntArray, groups: IntArray, hands: int, order: IntArray) -> tuple[IntArray, ...]:
    """Deal the rows of `order`, in whole groups, to `hands` sets whose classes are as equal as groups allow.

    No class that has two groups lies in one set alone, where the order of dealing can avoid it.

    Parameters
    ----------
    labels, groups : int64 [N]
    hands : int
    order : int64 [n]
        The rows to deal, in seeded order.

    Returns
    -------
    tuple of `hands` int64 arrays
        Each ascending.
    """
    candidates = _groups(labels, groups, order)
    left = _count_by_class(candidates)
    bins = _Bins(candidates, (1,) * hands)
    classes_in: list[set[int]] = [set() for _ in range(hands)]
    set_of: dict[int, int] = {}
    for group in _queue(candidates, scarce=hands):
        for label in group.counts:
            left[label] -= 1
        # The last group of a class whose others all lie in one set must not lie there too.
        last = [label for label in group.counts if not left[label]]
        sets_with = [[number for number in range(hands) if label in classes_in[number]] for label in last]
        full = {numbers[0] for numbers in sets_with if len(numbers) == 1}
        allowed = [number for number in range(hands) if number not in full] or list(range(hands))
        chosen = bins.add(group, allowed=allowed)
        classes_in[chosen].update(group.counts)
        set_of[group.number] = chosen
    dealt = np.array([set_of[number] for number in groups[order].tolist()], np.int64)
    return tuple(np.sort(order[dealt == number]) for number in range(hands))


def groups_of_class(labels: IntArray, groups: IntArray, rows: IntArray, classes: int) -> IntArray:
    """Return how many groups hold rows of each class among `rows`: int64 [K]."""
    pairs = np.unique(np.stack([labels[rows], groups[rows]]), axis=1)
    return np.bincount(pairs[0], minlength=classes).astype(np.int64, copy=False)


class _Bins:
    """Sets that fill up, each towards its share of every class.

    Parameters
    ----------
    groups : list of _Group
        All that will be added.
    shares : tuple of int
        What each set is to hold, in parts of their sum.
    """

    def __init__(self, groups: list[_Group], shares: tuple[int, ...]) -> None:
        totals: dict[int, int] = {}
        for group in groups:
            for label, count in group.counts.items():
                totals[label] = totals.get(label, 0) + count
        self._reciprocals = {label: _SCALE // total for label, total in totals.items()}
        product = int(np.prod(shares))
        self._weights = [product // share for share in shares]
        self._counts: list[dict[int, int]] = [{} for _ in shares]
        self._sizes = [0] * len(shares)

    def add(self, group: _Group, allowed: tuple[int, ...] | list[int]) -> int:
        """Add a group to the set that it brings least above its share, and return which that is.

        For each class, sets of target t with x rows in them grow in (x - t)^2 / t by g (2 x + g) / t - 2 g for g more.
        """

        def excess(number: int) -> tuple[int, int]:
            counts, weight = self._counts[number], self._weights[number]
            growth = sum(
                g * (2 * counts.get(label, 0) + g) * self._reciprocals[label] for label, g in group.counts.items()
            )
            return growth * weight, self._sizes[number] * weight

        best = min(allowed, key=excess)
        for label, count in group.counts.items():
            self._counts[best][label] = self._counts[best].get(label, 0) + count
        self._sizes[best] += group.size
        return best


def _groups(labels: IntArray, groups: IntArray, order: IntArray) -> list[_Group]:
    """Return the groups of the rows in `order`, by their first row in it."""
    counts: dict[int, dict[int, int]] = {}
    for label, number in zip(labels[order].tolist(), groups[order].tolist(), strict=True):
        own = counts.setdefault(number, {})
        own[label] = own.get(label, 0) + 1
    return [_Group(number, own, sum(own.values())) for number, own in counts.items()]


def _count_by_class(groups: list[_Group]) -> dict[int, int]:
    """Return how many groups hold rows of each class."""
    return dict(Counter(label for group in groups for label in group.counts))


def _queue(groups: list[_Group], *, scarce: int) -> list[_Group]:
    """Return the groups as they are placed: those of classes with few groups, then large before small.

    Sizes count by powers of two, so that the seed decides which of several similar groups comes first.
    """
    counts = _count_by_class(groups)
    return sorted(
        groups,
        key=lambda group: (min(counts[label] for label in group.counts) > scarce, -group.size.bit_length()),
    )
