"""Any two rows on the same test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from probeline.format import decimals, escape, points, probability
from probeline.report.model.differences import LEVEL, Difference, Pair, differences
from probeline.report.model.rows import Block, Row
from probeline.report.sections.grid import ruled

MOST = 12
"""Rows of a matrix; more make 66 pairs too many to read, and cost each of them in Holm's adjustment."""


@dataclass(frozen=True)
class Matrix:
    """Every pair of some rows.

    Attributes
    ----------
    rows : tuple of (str, Row)
        Each with the title of its block, in the order of the table.
    differences : mapping of (int, int) to Difference
        Of rows by their place in `rows`, the later minus the earlier, tested together. Without the pairs that were
        not read on the same test images.
    left_out : int
        Rows that are too many: those with the lowest val top-1, which the test images have no say in.
    """

    rows: tuple[tuple[str, Row], ...]
    differences: Mapping[Pair, Difference]
    left_out: int


def matrix(blocks: Sequence[Block]) -> Matrix:
    """Return the pairs of the rows of `blocks`."""
    every = [
        (block.title, row, scores) for block in blocks for row, scores in zip(block.rows, block.scores, strict=True)
    ]
    best = sorted(range(len(every)), key=lambda i: every[i][1].rank)[:MOST]
    kept = [every[i] for i in sorted(best)]
    pairs = [(later, earlier) for earlier, later in combinations(range(len(kept)), 2)]
    found = differences(pairs, [scores for _, _, scores in kept])
    return Matrix(tuple((title, row) for title, row, _ in kept), found, len(every) - len(kept))


def matrix_table(pairs: Matrix) -> str:
    """Return the lower triangle of a table in Markdown: each row minus each of the rows above it."""
    grid = matrix_grid(pairs)
    return ruled([[escape(cell) for cell in line] for line in grid], [place == 1 for place in range(len(grid[0]))])


def matrix_grid(pairs: Matrix) -> list[list[str]]:
    """Return the head and the cells of that table; the second column are names."""
    places = decimals(row.n_test for _, row in pairs.rows)
    several = len({title for title, _ in pairs.rows}) > 1

    def cell(i: int, j: int) -> str:
        difference = pairs.differences.get((i, j))
        if difference is None:
            return ""
        told = points(difference.top1, places)
        p = probability(difference.p).removeprefix("p ").removeprefix("= ")
        return f"{told} ({p})" if difference.real else told

    count = len(pairs.rows)
    grid = [["No.", "Row", *(f"− no. {j + 1}" for j in range(count - 1))]]
    for i, (title, row) in enumerate(pairs.rows):
        name = ", ".join(filter(None, (row.short, row.where, title if several else "")))
        grid.append([str(i + 1), name, *(cell(i, j) if j < i else "" for j in range(count - 1))])
    return grid


def matrix_notes(pairs: Matrix) -> list[str]:
    """Return what a reader of :func:`matrix_table` has to know."""
    apart = sum(difference.real for difference in pairs.differences.values())
    notes = [
        f"{apart or 'None'} of the {len(pairs.differences)} pairs {'is' if apart < 2 else 'are'} told apart: then p, "
        f"below {LEVEL}, stands in brackets.",
        "Each row's top-1 minus that of the row with the column's number, in percentage points. p is of "
        "McNemar's exact test, adjusted by Holm's method for all these pairs: they are more than above, hence a higher "
        "p for the same two rows.",
    ]
    if pairs.left_out:
        notes.append(
            f"The {len(pairs.rows)} rows with the highest val top-1 are compared; {pairs.left_out} more are left out."
        )
    if any((i, j) not in pairs.differences for i in range(len(pairs.rows)) for j in range(i)):
        notes.append("Rows that were read on different test images are not compared.")
    return notes
