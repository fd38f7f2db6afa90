"""The differences of every two rows on the same test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from probeline.report.model.differences import Difference, Pair, differences
from probeline.report.model.row import Block, TitledRow

MAX_ROWS = 12
"""Rows of a matrix; more have over 66 pairs, too many to read, and each pair raises the adjusted p of the others."""


@dataclass(frozen=True)
class Matrix:
    """The differences of every two rows."""

    rows: tuple[TitledRow, ...]
    """In the order of the table; each has the title of its block."""
    differences: Mapping[Pair, Difference]
    """By index in `rows`, the later row minus the earlier one; all are tested together. Pairs with different test
    images are missing."""
    left_out: int
    """Rows beyond `MAX_ROWS`: those with the lowest val top-1, whatever their test top-1."""


def matrix(blocks: Sequence[Block]) -> Matrix:
    """Return the differences of every two rows of `blocks`."""
    rows = [
        TitledRow(block.title, row, scores)
        for block in blocks
        for row, scores in zip(block.rows, block.scores, strict=True)
    ]
    best = sorted(range(len(rows)), key=lambda i: rows[i].row.rank)[:MAX_ROWS]
    compared = [rows[i] for i in sorted(best)]
    pairs = [(later, earlier) for earlier, later in combinations(range(len(compared)), 2)]
    tested = differences(pairs, [titled.scores for titled in compared])
    return Matrix(tuple(compared), tested, len(rows) - len(compared))
