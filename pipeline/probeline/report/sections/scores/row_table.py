"""A table of rows on the page, which a reader sorts and filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from probeline.report.model.axis import axis_start
from probeline.report.model.content import ReportContent
from probeline.report.model.row import Row, row_tip
from probeline.report.palette import class_of_colour
from probeline.report.sections.tables import Column
from probeline.results.methods import method_info

TOP1 = "Test top-1 % (95 % interval)"
"""The column whose interval is shown as a bar."""

_WIDTH = 100.0
"""Of a bar, in units of its own."""


class Cell(NamedTuple):
    """A cell: its text, and the number that sorts it, if any."""

    text: str
    value: str


@dataclass(frozen=True)
class Line:
    """A line of a table of rows.

    Its name, the method and backbone that filter it, its other cells, and its bar: where it starts, has its tick and
    ends, its colour and its tip.
    """

    name: str
    method: str
    backbone: str
    cells: Sequence[Cell]
    bar: Sequence[str]
    colour: str
    tip: str


@dataclass(frozen=True)
class RowTable:
    """Lines, and for each column after the name its head and whether it is aligned to the left, sorted, and a bar's."""

    heads: Sequence[tuple[str, bool, bool, bool]]
    lines: Sequence[Line]


def page_table(content: ReportContent, columns: Sequence[Column]) -> RowTable:
    """Return a table of all rows; the first column is the method's."""
    name, *others = columns
    after = 1 if others[0].head == TOP1 else 0  # where the backbone's column goes
    # Views are named with the method already.
    has_backbone = len({titled.title for titled in content.titled if not titled.row.views}) > 1
    start, end = bar_bounds(content.rows)

    def position(share: float) -> str:
        return f"{_WIDTH * max(share - start, 0) / (end - start):.2f}"

    lines = []
    for titled in content.titled:
        row, method = titled.row, method_info(titled.row.method)
        cells = [Cell(column.cell(row), _value(column, row)) for column in others]
        if has_backbone:
            cells.insert(after, Cell(titled.title, ""))
        bar = [position(share) for share in (row.interval[0], row.top1, row.interval[1])]
        tip = row_tip(titled.title, row, content.places)
        colour = class_of_colour(method.colour)
        lines.append(Line(name.cell(row), method.title, row.backbone, cells, bar, colour, tip))
    heads = [(column.head, column.left, column.value is not None, column.head == TOP1) for column in others]
    if has_backbone:
        heads.insert(after, ("Backbone", True, False, False))
    return RowTable(heads, lines)


def bar_bounds(rows: Sequence[Row]) -> tuple[float, float]:
    """Return where the bars start and end: at the outermost intervals, without rows that lie far below the others."""
    low = axis_start(rows)
    intervals = [row.interval for row in rows if row.top1 >= low]
    start, end = min(start for start, _ in intervals), max(end for _, end in intervals)
    return (start, end) if end > start else (0.0, 1.0)


def _value(column: Column, row: Row) -> str:
    value = column.value(row) if column.value else None
    return "" if value is None else repr(float(value))
