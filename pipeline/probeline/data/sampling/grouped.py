"""Stratified choices of whole groups: greedy, seeded, and the same on every machine.

The model is scikit-learn's StratifiedGroupKFold: groups are placed one by one, the large ones first, where they even
out the classes best. Here the arithmetic is in integers, so that no machine's rounding can change a choice, and the
only randomness is the order of the rows.

Shapes: labels and groups are int64 [N] of all rows of the part, and an order is int64 [n], the rows to choose from in
seeded order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from probeline.types import IntArray

_SCALE = 2**64
"""Of the reciprocals of class sizes, as integers."""


@dataclass(frozen=True)
class _Group:
    """Rows that stay together: how many there are of each class."""

    number: int
    counts: Counter[int]
    size: int


def carve_groups(
    labels: IntArray, groups: IntArray, order: IntArray, *, share: Fraction, keep: int
) -> tuple[IntArray, IntArray]:
    """Return about a stratified `share` of the rows in `order`, in whole groups, and the rest; both ascending.

    A class keeps `keep` groups in the rest, or all if it has no more; a class with more gives at least one.
    """
    candidates = _list_groups(labels, groups, order)
    spare = {label: count - keep for label, count in _count_by_class(candidates).items()}
    bins = _Bins(candidates, (share.numerator, share.denominator - share.numerator))
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


def deal_groups(labels: IntArray, groups: IntArray, folds: int, order: IntArray) -> tuple[IntArray, ...]:
    """Return the rows of `order`, in whole groups, in folds whose classes are as equal as groups allow; each ascending.

    If the order of dealing can avoid it, no class with two groups is in one fold alone.
    """
    candidates = _list_groups(labels, groups, order)
    left = _count_by_class(candidates)
    bins = _Bins(candidates, (1,) * folds)
    classes_in: list[set[int]] = [set() for _ in range(folds)]
    fold_of: dict[int, int] = {}
    for group in _queue(candidates, scarce=folds):
        left.subtract(group.counts.keys())
        # The last group of a class whose others are all in one fold must not go there too.
        last = [label for label in group.counts if not left[label]]
        folds_with = [[fold for fold in range(folds) if label in classes_in[fold]] for label in last]
        full = {numbers[0] for numbers in folds_with if len(numbers) == 1}
        allowed = [fold for fold in range(folds) if fold not in full] or list(range(folds))
        chosen = bins.add(group, allowed=allowed)
        classes_in[chosen].update(group.counts)
        fold_of[group.number] = chosen
    dealt = np.array([fold_of[number] for number in groups[order].tolist()], np.int64)
    return tuple(np.sort(order[dealt == fold]) for fold in range(folds))


def count_groups(labels: IntArray, groups: IntArray, rows: IntArray, classes: int) -> IntArray:
    """Return how many groups have rows of each class among `rows`: int64 [K]."""
    pairs = np.unique(np.stack([labels[rows], groups[rows]]), axis=1)
    return np.bincount(pairs[0], minlength=classes).astype(np.int64, copy=False)


class _Bins:
    """Bins that fill up with groups, each towards its share (of the sum of shares) of every class."""

    def __init__(self, groups: Sequence[_Group], shares: tuple[int, ...]) -> None:
        totals: Counter[int] = Counter()
        for group in groups:
            totals.update(group.counts)
        self._reciprocals = {label: _SCALE // total for label, total in totals.items()}
        product = int(np.prod(shares))
        self._weights = [product // share for share in shares]
        self._counts: list[Counter[int]] = [Counter() for _ in shares]
        self._sizes = [0] * len(shares)

    def add(self, group: _Group, allowed: Sequence[int]) -> int:
        """Add a group to the bin that it brings least above its share, and return the bin's number.

        For each class, a bin of target t with x rows grows in (x - t)^2 / t by g (2 x + g) / t - 2 g for g more rows.
        """

        def excess(number: int) -> tuple[int, int]:
            counts, weight = self._counts[number], self._weights[number]
            growth = sum(g * (2 * counts[label] + g) * self._reciprocals[label] for label, g in group.counts.items())
            return growth * weight, self._sizes[number] * weight

        best = min(allowed, key=excess)
        self._counts[best].update(group.counts)
        self._sizes[best] += group.size
        return best


def _list_groups(labels: IntArray, groups: IntArray, order: IntArray) -> list[_Group]:
    """Return the groups of the rows in `order`, by their first row in it."""
    counts: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for label, number in zip(labels[order].tolist(), groups[order].tolist(), strict=True):
        counts[number][label] += 1
    return [_Group(number, own, own.total()) for number, own in counts.items()]


def _count_by_class(groups: Sequence[_Group]) -> Counter[int]:
    """Return how many groups have rows of each class."""
    return Counter(label for group in groups for label in group.counts)


def _queue(groups: Sequence[_Group], *, scarce: int) -> list[_Group]:
    """Return the groups in the order of placing: those of classes with few groups first, then large before small.

    Sizes are compared by powers of two, so that the seed decides which of several similar groups comes first.
    """
    counts = _count_by_class(groups)
    return sorted(
        groups,
        key=lambda group: (min(counts[label] for label in group.counts) > scarce, -group.size.bit_length()),
    )
