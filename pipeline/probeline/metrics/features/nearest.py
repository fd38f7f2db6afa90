"""The rows nearest to a query by cosine: exact, in blocks, equals in the order of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from probeline.metrics.features.rows import BLOCK, check_rows, unit_rows
from probeline.types import DoubleArray, FloatArray, IntArray

_BYTES = 1 << 28
"""Of the cosines of a group of queries."""


class Nearest(NamedTuple):
    """The rows nearest to one query, the nearest first: int64 [k], and their cosine distances float64 [k] in [0, 2]."""

    rows: IntArray
    distances: DoubleArray


def nearest_rows(
    blocks: Sequence[FloatArray], queries: FloatArray, k: int, own: Sequence[int | None] = ()
) -> list[Nearest]:
    """Return for each query the k rows of the smallest cosine distance, fewer if there are not so many.

    Products in float32 find the rows that may be among them, whatever rounding did; distances in float64 decide. Rows
    of one distance come in their order; equal rows have one. A row of zeros has the distance 1 to all.

    Parameters
    ----------
    blocks : sequence of float32 [n, D]
        The rows, numbered through all blocks.
    queries : float32 [q, D]
    k : int
        1 or more.
    own : sequence of int or None
        For each query the row that it is, which is left out; None if it is no row. Empty if no query is.
    """
    check_rows(queries)
    for block in blocks:
        check_rows(block)
    columns, count = queries.shape[1], sum(map(len, blocks))
    if k < 1 or any(block.shape[1] != columns for block in blocks):
        raise ValueError(f"no {k} nearest rows of {[block.shape[1] for block in blocks]} columns to {columns}")
    left_out = list(own) or [None] * len(queries)
    margin = 2 * (columns + 3) * float(np.finfo(np.float32).eps) / 2  # twice what rounding may make of a cosine
    found: list[Nearest] = []
    size = max(1, _BYTES // (4 * count))
    for start in range(0, len(queries), size):
        group = queries[start : start + size]
        units = unit_rows(group).T
        cosines = np.concatenate(
            [
                unit_rows(block[first : first + BLOCK]) @ units
                for block in blocks
                for first in range(0, len(block), BLOCK)
            ]
        )
        for query, column, row in zip(group, cosines.T, left_out[start : start + size], strict=True):
            near = column.copy()
            if row is not None:
                near[row] = -np.inf
            kept = min(k, count - (row is not None))
            if not kept:
                found.append(Nearest(np.empty(0, np.int64), np.empty(0)))
                continue
            least = np.partition(near, count - kept)[count - kept] - margin
            found.append(_ranked(blocks, query, np.flatnonzero(near >= least), kept))
    return found


def rank_rows(blocks: Sequence[FloatArray], query: FloatArray, candidates: IntArray, k: int) -> Nearest:
    """Return the k nearest of some rows, int64 [c] ascending, to a query float32 [D]."""
    return _ranked(blocks, query, candidates, min(k, len(candidates)))


def _ranked(blocks: Sequence[FloatArray], query: FloatArray, candidates: IntArray, k: int) -> Nearest:
    ends = np.cumsum([len(block) for block in blocks])
    values = np.empty((len(candidates), len(query)), np.float32)
    for number, block in enumerate(blocks):
        start = int(ends[number]) - len(block)
        here = (candidates >= start) & (candidates < ends[number])
        values[here] = block[candidates[here] - start]
    wide, target = values.astype(np.float64), query.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(target)
    # Each row's sum is taken alone and in one order, unlike by BLAS: equal rows have equal distances.
    cosines = np.einsum("ij,j->i", wide, target) / np.where(lengths > 0, lengths, 1.0)
    distances = np.clip(1.0 - cosines, 0.0, 2.0)
    order = np.lexsort((candidates, distances))[:k]
    return Nearest(candidates[order], distances[order])
