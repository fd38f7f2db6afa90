"""Seeded, stratified choices of rows, the same for ever on every machine.

The only randomness is the raw 64-bit stream of PCG64, which NumPy promises not to change; the methods of
``numpy.random.Generator`` carry no such promise, and neither do scikit-learn's splitters.
"""

from __future__ import annotations

import numpy as np

from probeline.errors import BadOption
from probeline.types import IntArray


def shuffled(n: int, seed: int, purpose: int) -> IntArray:
    """Return the rows 0 .. n - 1 in a random order.

    Parameters
    ----------
    n : int
    seed : int
        The data seed, 0 or more.
    purpose : int
        What the order is for: equal seeds give unrelated orders for other purposes.

    Returns
    -------
    int64 [n]

    Raises
    ------
    BadOption
        For a negative seed.
    """
    if seed < 0:
        raise BadOption("bad --data-seed", expected="0 or more", got=seed)
    keys = np.random.PCG64(np.random.SeedSequence([seed, purpose])).random_raw(n)
    return np.argsort(keys, kind="stable").astype(np.int64, copy=False)


def apportion(counts: IntArray, total: int, least: IntArray, most: IntArray) -> IntArray:
    """Share `total` rows among the classes in proportion to their `counts`, by largest remainder.

    Parameters
    ----------
    counts : int64 [K]
        Rows of each class.
    total : int
        Rows to take; as near to it as the bounds allow.
    least, most : int64 [K]
        Bounds of what each class may give; bounds win over proportion.

    Returns
    -------
    int64 [K]
        Rows to take of each class.
    """
    n = int(counts.sum())
    seats = np.clip(counts * total // max(n, 1), least, most)
    while seats.sum() != total:
        step = 1 if seats.sum() < total else -1
        movable = seats < most if step > 0 else seats > least
        if not movable.any():
            break
        owed = step * (counts * total - seats * n)
        seats[np.argmax(np.where(movable, owed, np.iinfo(np.int64).min))] += step
    return seats


def draw(labels: IntArray, seats: IntArray, order: IntArray) -> IntArray:
    """Return, ascending, the first ``seats[c]`` rows of each class c in the given order.

    Parameters
    ----------
    labels : int64 [N]
    seats : int64 [K]
    order : int64 [n]
        Rows to choose from.

    Returns
    -------
    int64 [sum(seats)]
    """
    return np.sort(order[ranks(labels[order]) < seats[labels[order]]])


def sample(labels: IntArray, total: int, seed: int, purpose: int) -> IntArray:
    """Return so many rows, ascending, that hold the classes in their proportion, and a row of each if there is room.

    Parameters
    ----------
    labels : int64 [N]
        0 or more.
    total : int
        All rows are returned where there are no more.
    seed, purpose : int
        See :func:`shuffled`.

    Returns
    -------
    int64 [min(N, total)]
    """
    counts = np.bincount(labels)
    present = np.minimum(counts, 1)
    least = present if present.sum() <= total else np.zeros_like(counts)
    seats = apportion(counts, min(total, len(labels)), least=least, most=counts)
    return draw(labels, seats, shuffled(len(labels), seed, purpose))


def deal(labels: IntArray, hands: int, order: IntArray) -> tuple[IntArray, ...]:
    """Deal the rows of `order` class by class to `hands` sets as equal as can be, each ascending.

    The dealing goes on where the class before it stopped, so the sets differ by one row at most, and so does
    each class among them.

    Parameters
    ----------
    labels : int64 [N]
    hands : int
    order : int64 [n]

    Returns
    -------
    tuple of `hands` int64 arrays
    """
    in_classes = order[np.argsort(labels[order], kind="stable")]
    return tuple(np.sort(in_classes[hand::hands]) for hand in range(hands))


def ranks(labels: IntArray) -> IntArray:
    """Return for each row how many earlier rows have its label: int64 [n] of labels int64 [n]."""
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    ranks = np.empty(len(labels), np.int64)
    ranks[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ranks
