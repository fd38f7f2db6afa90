"""Seeded, stratified choices of rows, which stay the same on every machine and with every version of NumPy.

The only randomness is the raw 64-bit stream of PCG64, which NumPy promises not to change; the methods of
``numpy.random.Generator`` carry no such promise, and neither do scikit-learn's splitters.

Shapes: labels are int64 [N] of all rows, and an order is int64 [n], the rows to choose from in seeded order.
"""

from __future__ import annotations

import numpy as np

from probeline.errors import BadOption
from probeline.types import IntArray


def shuffled(n: int, seed: int, purpose: int) -> IntArray:
    """Return the rows 0 .. n - 1 in a random order; equal seeds give unrelated orders for other purposes.

    Raises
    ------
    BadOption
        A negative seed.
    """
    if seed < 0:
        raise BadOption("bad --data-seed", expected="0 or more", got=seed)
    keys = np.random.PCG64(np.random.SeedSequence([seed, purpose])).random_raw(n)
    return np.argsort(keys, kind="stable").astype(np.int64, copy=False)


def apportion(counts: IntArray, total: int, least: IntArray, most: IntArray) -> IntArray:
    """Share `total` rows among the classes in proportion to their `counts`, by largest remainder.

    `least` and `most` bound what each class gives and win over proportion and total; all are int64 [K].
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
    """Return, ascending, the first ``seats[c]`` rows of each class c in the given order."""
    return np.sort(order[ranks(labels[order]) < seats[labels[order]]])


def sample(labels: IntArray, total: int, seed: int, purpose: int) -> IntArray:
    """Return `total` rows, or all if there are fewer, ascending, with the classes in proportion.

    Each class has a row if there is room. Labels are 0 or more.
    """
    counts = np.bincount(labels)
    present = np.minimum(counts, 1)
    least = present if present.sum() <= total else np.zeros_like(counts)
    seats = apportion(counts, min(total, len(labels)), least=least, most=counts)
    return draw(labels, seats, shuffled(len(labels), seed, purpose))


def deal(labels: IntArray, folds: int, order: IntArray) -> tuple[IntArray, ...]:
    """Return the rows of `order` in folds, each ascending; sizes, in total and per class, differ by at most one."""
    by_class = order[np.argsort(labels[order], kind="stable")]
    return tuple(np.sort(by_class[fold::folds]) for fold in range(folds))


def ranks(labels: IntArray) -> IntArray:
    """Return for each row how many earlier rows have its label: int64 [n] of labels int64 [n]."""
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    ranks = np.empty(len(labels), np.int64)
    ranks[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ranks
