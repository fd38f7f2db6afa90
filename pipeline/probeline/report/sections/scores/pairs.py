"""The differences of every two rows on the same test images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from probeline.format import decimals, plural, points, probability
from probeline.report.model.content import ReportContent
from probeline.report.model.differences import LEVEL
from probeline.report.model.pairs import Matrix
from probeline.report.sections.section import NO_TABLES, RESULTS, Tables, TableSection
from probeline.report.sections.tables import TextTable

_FEWEST = 3
"""Rows; the only pair of two rows is in the table of results."""


class Pairs(TableSection):
    name, title, group = "pairs", "Pairwise comparisons", RESULTS

    def tables(self, content: ReportContent) -> Tables:
        pairs = content.pairs
        return ([matrix_table(pairs)], matrix_notes(pairs)) if len(pairs.rows) >= _FEWEST else NO_TABLES

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        pairs = content.pairs
        rows = [{"block": compared.title, "row": compared.row.title} for compared in pairs.rows]
        differences = [{"row": i, "minus": j, **asdict(difference)} for (i, j), difference in pairs.differences.items()]
        return {"pairs": {"rows": rows, "differences": differences, "left_out": pairs.left_out}}


def matrix_table(pairs: Matrix) -> TextTable:
    """Return the lower triangle of all differences: each row minus each of the rows above it."""
    places = decimals(compared.row.n_test for compared in pairs.rows)
    several = len({compared.title for compared in pairs.rows}) > 1

    def cell(i: int, j: int) -> str:
        difference = pairs.differences.get((i, j))
        if difference is None or j >= i:
            return ""
        p = probability(difference.p).removeprefix("p ").removeprefix("= ")
        return points(difference.top1, places) + (f" ({p})" if difference.real else "")

    columns = range(len(pairs.rows) - 1)
    grid = [["No.", "Row", *(f"− no. {j + 1}" for j in columns)]]
    for i, compared in enumerate(pairs.rows):
        row = compared.row
        name = ", ".join(filter(None, (row.short, row.where, compared.title if several else "")))
        grid.append([str(i + 1), name, *(cell(i, j) for j in columns)])
    return TextTable(grid, [column == 1 for column in range(len(grid[0]))])


def matrix_notes(pairs: Matrix) -> list[str]:
    """Return notes on :func:`matrix_table`."""
    significant = sum(difference.real for difference in pairs.differences.values())
    notes = [
        f"{significant or 'None'} of the {plural(len(pairs.differences), 'difference')} "
        f"{'is' if significant < 2 else 'are'} significant, with the adjusted p, below {LEVEL}, in brackets.",
        "Top-1 of the row minus top-1 of the column, in percentage points. p is adjusted for all these pairs, which "
        "are more than in the table of results, so that p is higher for the same two rows.",
    ]
    if pairs.left_out:
        notes.append(
            f"Only the {len(pairs.rows)} rows with the highest val top-1 are compared; {pairs.left_out} are left out."
        )
    if any((i, j) not in pairs.differences for i in range(len(pairs.rows)) for j in range(i)):
        notes.append("Rows with different test images are not compared.")
    return notes
