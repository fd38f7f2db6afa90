"""A table of rows on the page, which a reader sorts and filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probeline.report.model.axis import axis_start
from probeline.report.model.content import ReportContent
from probeline.report.model.row import Row, row_tip
from probeline.report.palette import class_of_colour
from probeline.report.sections.tables import Column
from probeline.results.methods import method_info

TOP1 = "Test top-1 % (95 % interval)"
"""The column whose interval is drawn."""

_WIDTH = 100.0
"""Of a bar, in units of its own."""


@dataclass(frozen=True)
class Bar:
    """An interval as it is drawn in a cell, from `low` to `high` with a tick at `middle`, and its tooltip."""

    low: str
    high: str
    middle: str
    colour: str
    told: str


@dataclass(frozen=True)
class Cell:
    """A cell: its text, the number that sorts it, if any, and a bar."""

    text: str
    value: str
    left: bool
    bar: Bar | None = None


@dataclass(frozen=True)
class Line:
    """A line of a table: its name, the method and backbone that filter it, and its other cells."""

    name: str
    method: str
    backbone: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class RowTable:
    """A table of rows.

    Attributes
    ----------
    heads : tuple of (str, bool, bool)
        Of the columns after the name: the text, whether it is aligned to the left, and whether numbers sort it.
    lines : tuple of Line
    """

    heads: tuple[tuple[str, bool, bool], ...]
    lines: tuple[Line, ...]


def page_table(content: ReportContent, columns: Sequence[Column]) -> RowTable:
    """Return a table of all rows; the first column is the method's."""
    name, *others = columns
    bounds = bar_bounds(content.rows)
    after = 1 if others[0].head == TOP1 else 0  # where the backbone's column goes
    # Views are named with the method already.
    has_backbone = len({titled.title for titled in content.titled if not titled.row.views}) > 1
    lines = []
    for titled in content.titled:
        row = titled.row
        bar = _bar(row, bounds, row_tip(titled.title, row, content.places))
        cells = [
            Cell(column.cell(row), _value(column, row), column.left, bar if column.head == TOP1 else None)
            for column in others
        ]
        if has_backbone:
            cells.insert(after, Cell(titled.title, "", left=True))
        lines.append(Line(name.cell(row), method_info(row.method).title, row.backbone, tuple(cells)))
    heads = [(column.head, column.left, column.value is not None) for column in others]
    if has_backbone:
        heads.insert(after, ("Backbone", True, False))
    return RowTable(tuple(heads), tuple(lines))


def bar_bounds(rows: Sequence[Row]) -> tuple[float, float]:
    """Return where the bars start and end: at the outermost intervals, without rows that lie far below the others."""
    low = axis_start(rows)
    intervals = [row.interval for row in rows if row.top1 >= low]
    start, end = min(start for start, _ in intervals), max(end for _, end in intervals)
    return (start, end) if end > start else (0.0, 1.0)


def _value(column: Column, row: Row) -> str:
    value = column.value(row) if column.value else None
    return "" if value is None else repr(float(value))


def _bar(row: Row, bounds: tuple[float, float], tip: str) -> Bar:
    def position(share: float) -> str:
        return f"{_WIDTH * max(share - bounds[0], 0) / (bounds[1] - bounds[0]):.2f}"

    low, high = map(position, row.interval)
    return Bar(low, high, position(row.top1), class_of_colour(method_info(row.method).colour), tip)
