"""Stratified choices that never part a group: greedy, seeded, the same for ever on every machine.

scikit-learn's StratifiedGroupKFold is the model: groups go one by one, the large ones first, to where they even out
the classes best. Here all is done in whole numbers, so that no machine's rounding can tip a choice, and the only
randomness is the order that is handed in.
"""

from __future__ import annotations

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
    found = _groups(labels, groups, order)
    spare = {label: held - keep for label, held in _groups_of_class(found).items()}
    carved = _Bins(found, (1, fraction - 1))
    taken: list[_Group] = []

    def take(one: _Group) -> None:
        taken.append(one)
        for label in one.counts:
            spare[label] -= 1

    queue = _queue(found, scarce=keep + 1)
    for one in queue:
        free = all(spare[label] > 0 for label in one.counts)
        if carved.add(one, allowed=(0, 1) if free else (1,)) == 0:
            take(one)
    for label in sorted(spare):
        given = any(label in one.counts for one in taken)
        movable = [one for one in queue if label in one.counts and all(spare[other] > 0 for other in one.counts)]
        if not given and movable:
            take(min(movable, key=lambda one: one.size))
    inside = np.isin(groups[order], [one.number for one in taken])
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
    found = _groups(labels, groups, order)
    left = _groups_of_class(found)
    bins = _Bins(found, (1,) * hands)
    held: list[set[int]] = [set() for _ in range(hands)]
    homes: dict[int, int] = {}
    for one in _queue(found, scarce=hands):
        for label in one.counts:
            left[label] -= 1
        # The last group of a class whose others all lie in one set must not lie there too.
        last = [label for label in one.counts if not left[label]]
        alone = {
            places[0] for label in last if len(places := [place for place in range(hands) if label in held[place]]) == 1
        }
        allowed = [place for place in range(hands) if place not in alone] or list(range(hands))
        place = bins.add(one, allowed=allowed)
        held[place].update(one.counts)
        homes[one.number] = place
    dealt = np.array([homes[number] for number in groups[order].tolist()], np.int64)
    return tuple(np.sort(order[dealt == place]) for place in range(hands))


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
        for one in groups:
            for label, count in one.counts.items():
                totals[label] = totals.get(label, 0) + count
        self._reciprocals = {label: _SCALE // total for label, total in totals.items()}
        product = int(np.prod(shares))
        self._weights = [product // share for share in shares]
        self._counts: list[dict[int, int]] = [{} for _ in shares]
        self._sizes = [0] * len(shares)

    def add(self, one: _Group, allowed: tuple[int, ...] | list[int]) -> int:
        """Add a group to the set that it brings least above its share, and return which that is.

        For each class, sets of target t with x rows in them grow in (x - t)^2 / t by g (2 x + g) / t - 2 g for g more.
        """

        def excess(place: int) -> tuple[int, int]:
            there = self._counts[place]
            grown = sum(g * (2 * there.get(label, 0) + g) * self._reciprocals[label] for label, g in one.counts.items())
            return grown * self._weights[place], self._sizes[place] * self._weights[place]

        best = min(allowed, key=excess)
        for label, count in one.counts.items():
            self._counts[best][label] = self._counts[best].get(label, 0) + count
        self._sizes[best] += one.size
        return best


def _groups(labels: IntArray, groups: IntArray, order: IntArray) -> list[_Group]:
    """Return the groups of the rows in `order`, by their first row in it."""
    counts: dict[int, dict[int, int]] = {}
    for label, number in zip(labels[order].tolist(), groups[order].tolist(), strict=True):
        of = counts.setdefault(number, {})
        of[label] = of.get(label, 0) + 1
    return [_Group(number, of, sum(of.values())) for number, of in counts.items()]


def _groups_of_class(groups: list[_Group]) -> dict[int, int]:
    held: dict[int, int] = {}
    for one in groups:
        for label in one.counts:
            held[label] = held.get(label, 0) + 1
    return held


def _queue(groups: list[_Group], *, scarce: int) -> list[_Group]:
    """Return the groups as they are placed: those of classes with few groups, then large before small.

    Sizes count by powers of two, so that which of several groups alike comes first is the seed's choice.
    """
    held = _groups_of_class(groups)
    return sorted(groups, key=lambda one: (min(held[label] for label in one.counts) > scarce, -one.size.bit_length()))
