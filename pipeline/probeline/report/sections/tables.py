"""Tables of text, and of rows: in Markdown, and on the page, where a reader sorts and filters them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from probeline.format import escape
from probeline.report.model.axis import axis_start
from probeline.report.model.content import ReportContent
from probeline.report.model.row import Block, Row, row_tip
from probeline.report.palette import class_of_colour
from probeline.results.methods import method_info
from probeline.text import printable

TOP1 = "Test top-1 % (95 % interval)"
"""The column whose interval is shown as a bar."""

BUSY_NOTE = (
    "≈: for a tenth of the time or more its threads waited for a core, as they do if other programs run; on a quiet "
    "machine it takes less."
)

_WIDTH = 100.0
"""Of a bar, in units of its own."""


@dataclass(frozen=True)
class Column:
    """A column of a table of rows: its head, the text of a row's cell, and the number, if any, that sorts it."""

    head: str
    cell: Callable[[Row], str]
    left: bool = False
    value: Callable[[Row], float | None] | None = None

    @property
    def has_bar(self) -> bool:
        """Whether its cells have a bar on the page."""
        return self.head == TOP1


@dataclass(frozen=True)
class TextTable:
    """A table of text: lines, head first; whether each column is aligned to the left; a line above it, if any."""

    grid: Sequence[Sequence[str]]
    left: Sequence[bool]
    title: str = ""

    def markdown(self) -> str:
        """Return the table in Markdown, its title above it."""
        head, *body = padded([[escape(cell) for cell in line] for line in self.grid], self.left)
        rule = [
            ":" + "-" * (len(cell) - 1) if is_left else "-" * (len(cell) - 1) + ":"
            for cell, is_left in zip(head, self.left, strict=True)
        ]
        lines = "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))
        return join_parts(escape(self.title), lines)


def text_table(columns: Sequence[tuple[str, Sequence[str]]], left: int, title: str = "") -> TextTable:
    """Return a table of columns, a head and its cells each; the first `left` are aligned to the left.

    A column without any text is left out.
    """
    filled = [(place < left, [head, *cells]) for place, (head, cells) in enumerate(columns) if any(cells)]
    return TextTable(list(zip(*(cells for _, cells in filled), strict=True)), [is_left for is_left, _ in filled], title)


def row_table(blocks: Sequence[Block], columns: Sequence[Column]) -> TextTable:
    """Return a table of rows, with the title of its block in front of each."""
    head = ["Backbone", *(column.head for column in columns)]
    grid = [[block.title, *(column.cell(row) for column in columns)] for block in blocks for row in block.rows]
    return TextTable([head, *grid], [True, *(column.left for column in columns)])


def padded(grid: Sequence[Sequence[str]], left: Sequence[bool]) -> list[list[str]]:
    """Return the cells of a table, each as wide as its column."""
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    pads = [str.ljust if is_left else str.rjust for is_left in left]
    return [[pad(cell, width) for cell, width, pad in zip(line, widths, pads, strict=True)] for line in grid]


def join_parts(*parts: str) -> str:
    """Return paragraphs of Markdown; empty ones are left out."""
    return "\n\n".join(filter(None, parts))


def bullets(notes: Sequence[str]) -> str:
    """Return a list in Markdown."""
    return "\n".join(f"- {escape(note)}" for note in notes)


def code(text: str) -> str:
    """Return `text` as a code span of Markdown, whatever backticks it contains."""
    line = printable(" ".join(text.split()))
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}" if longest else f"{fence}{line}{fence}"


class Line(NamedTuple):
    """A line of a table of rows: its first cell, and the method and backbone by which it is filtered.

    The other cells have a text and, if any, the number that sorts it. The bar has a start, a tick and an end.
    """

    name: str
    method: str
    backbone: str
    cells: Sequence[tuple[str, str]]
    bar: Sequence[str]
    colour: str
    tip: str


class RowTable(NamedTuple):
    """Lines, and the columns after the first."""

    columns: Sequence[Column]
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
        cells = [(column.cell(row), _value(column, row)) for column in others]
        if has_backbone:
            cells.insert(after, (titled.title, ""))
        bar = [position(share) for share in (row.interval[0], row.top1, row.interval[1])]
        tip = row_tip(titled.title, row, content.places)
        colour = class_of_colour(method.colour)
        lines.append(Line(name.cell(row), method.title, row.backbone, cells, bar, colour, tip))
    if has_backbone:
        others.insert(after, Column("Backbone", lambda row: row.backbone, left=True))
    return RowTable(others, lines)


def bar_bounds(rows: Sequence[Row]) -> tuple[float, float]:
    """Return where the bars start and end: at the outermost intervals, without rows that lie far below the others."""
    low = axis_start(rows)
    intervals = [row.interval for row in rows if row.top1 >= low]
    start, end = min(start for start, _ in intervals), max(end for _, end in intervals)
    return (start, end) if end > start else (0.0, 1.0)


def _value(column: Column, row: Row) -> str:
    value = column.value(row) if column.value else None
    return "" if value is None else repr(float(value))
