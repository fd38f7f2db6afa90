"""The tables of all rows, to be sorted and filtered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from probeline.format import percent
from probeline.report.figures.axis import edge
from probeline.report.model.rows import Row, Titled
from probeline.report.page.content import Content, View
from probeline.report.page.palette import name_of
from probeline.report.page.tips import tip
from probeline.report.sections.calibration import calibration, calibration_notes
from probeline.report.sections.grid import Column
from probeline.report.sections.tables import result_columns, result_notes
from probeline.results.methods import method_info

_BAR = "Test top-1 % (95 % interval)"
"""The column whose interval is drawn."""

_FIRST = (_BAR, "Over the probe", "Cold s", "Warm s", "Trainable / total")
"""Of the results, the columns that answer most; a narrow screen shows few."""

_WIDTH = 100.0
"""Of a bar, in units of its own."""


@dataclass(frozen=True)
class Bar:
    """An interval as it is drawn in a cell: from `low` to `high` with a dot at `middle`, and what it tells."""

    low: str
    high: str
    middle: str
    colour: str
    told: str


@dataclass(frozen=True)
class Cell:
    """A cell: its text, the number by which it is sorted, if any, and a bar."""

    text: str
    value: str
    left: bool
    bar: Bar | None = None


@dataclass(frozen=True)
class Line:
    """A row of a table: its name and backbone, by which it may be filtered, and its other cells."""

    name: str
    method: str
    backbone: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table of rows.

    Attributes
    ----------
    heads : tuple of (str, bool, bool)
        Of the columns after the name: the text, whether it stands to the left, and whether numbers sort it.
    lines : tuple of Line
    """

    heads: tuple[tuple[str, bool, bool], ...]
    lines: tuple[Line, ...]


def view(content: Content) -> View | None:
    """Return the table of results, what filters it, and what a reader has to know; None without rows."""
    if not content.rows:
        return None
    low, high = _ends(content.rows)
    far = "; what lies far lower, at the left end" if any(row.top1 < low for row in content.rows) else ""
    notes = [
        f"The bars run from {percent(low, content.places)} % to {percent(high, content.places)} %: the interval, and a "
        f"tick at the row's top-1{far}.",
        *result_notes(content.blocks),
    ]
    return {
        "table": _table(content.titled, _results, content.places),
        "methods": list(dict.fromkeys(method_info(row.method).title for row in content.rows)),
        "backbones": list(dict.fromkeys(row.backbone for row in content.rows)),
        "notes": notes,
        "figure": content.figures.get("accuracy"),
    }


def calibration_view(content: Content) -> View | None:
    """Return the table of calibration and its figures; None without rows."""
    if not content.rows:
        return None
    return {
        "table": _table(content.titled, calibration, content.places),
        "notes": calibration_notes(content.rows),
        "figures": [content.figures[name] for name in ("calibration", "reliability") if name in content.figures],
    }


def _results(rows: Sequence[Row]) -> list[Column]:
    """Return the columns of the results, the method's and those that answer most first."""
    name, *others = result_columns(rows)
    heads = [column.head for column in others]
    first = [others[heads.index(head)] for head in _FIRST if head in heads]
    return [name, *first, *(column for column in others if column not in first)]


def _table(titled: Sequence[Titled], columns_of: Callable[[Sequence[Row]], list[Column]], places: int) -> Table:
    rows = [row for _, row, _ in titled]
    first, *columns = columns_of(rows)  # the first is the method's
    ends = _ends(rows)
    place = 1 if columns[0].head == _BAR else 0  # of the backbone's
    told = len({title for title, row, _ in titled if not row.views}) > 1  # views are told beside the method
    lines = []
    for title, row, _ in titled:
        bar = _bar(row, ends, tip(title, row, places))
        cells = [
            Cell(column.cell(row), _value(column, row), column.left, bar if column.head == _BAR else None)
            for column in columns
        ]
        if told:
            cells.insert(place, Cell(title, "", left=True))
        lines.append(Line(first.cell(row), method_info(row.method).title, row.backbone, tuple(cells)))
    heads = [(one.head, one.left, one.value is not None) for one in columns]
    if told:
        heads.insert(place, ("Backbone", True, False))
    return Table(tuple(heads), tuple(lines))


def _value(column: Column, row: Row) -> str:
    value = column.value(row) if column.value else None
    return "" if value is None else repr(float(value))


def _ends(rows: Sequence[Row]) -> tuple[float, float]:
    """Return where the bars begin and end: at the outermost intervals but for rows that lie far below the others."""
    low = edge(rows)
    near = [row.interval for row in rows if row.top1 >= low]
    start, end = min(start for start, _ in near), max(end for _, end in near)
    return (start, end) if end > start else (0.0, 1.0)


def _bar(row: Row, ends: tuple[float, float], told: str) -> Bar:
    def place(share: float) -> str:
        return f"{_WIDTH * max(share - ends[0], 0) / (ends[1] - ends[0]):.2f}"

    low, high = map(place, row.interval)
    return Bar(low, high, place(row.top1), name_of(method_info(row.method).colour), told)
