"""Tables of text, and tables with a line for each row; Markdown that shows any text as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from probeline.format import escape
from probeline.report.model.row import Block, Row


@dataclass(frozen=True)
class Column:
    """A column of a table of rows: its head, the text of a row's cell, and the number, if any, that sorts it."""

    head: str
    cell: Callable[[Row], str]
    left: bool = False
    value: Callable[[Row], float | None] | None = None


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes
    ----------
    grid : sequence of sequences of str
        The head first.
    left : sequence of bool
        Which columns are aligned to the left.
    title : str
        A line above the table; may be empty.
    """

    grid: Sequence[Sequence[str]]
    left: Sequence[bool]
    title: str = ""

    def markdown(self) -> str:
        """Return the table in Markdown, its title above it."""
        return join_parts(escape(self.title), ruled([[escape(cell) for cell in line] for line in self.grid], self.left))


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


def ruled(grid: Sequence[Sequence[str]], left: Sequence[bool]) -> str:
    """Return a Markdown table of cells that are escaped, the first line its head."""
    head, *body = padded(grid, left)
    rule = [
        ":" + "-" * (len(cell) - 1) if is_left else "-" * (len(cell) - 1) + ":"
        for cell, is_left in zip(head, left, strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))


def padded(grid: Sequence[Sequence[str]], left: Sequence[bool]) -> list[list[str]]:
    """Return the cells of a table, each as wide as its column."""
    widths = [max(len(line[i]) for line in grid) for i in range(len(left))]
    return [
        [
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(line, widths, left, strict=True)
        ]
        for line in grid
    ]


def join_parts(*parts: str) -> str:
    """Return paragraphs of Markdown; empty ones are left out."""
    return "\n\n".join(filter(None, parts))


def bullets(notes: Sequence[str]) -> str:
    """Return a list in Markdown."""
    return "\n".join(f"- {escape(note)}" for note in notes)


def code(text: str) -> str:
    """Return `text` as a code span of Markdown, whatever backticks it contains."""
    line = " ".join(text.split())
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}" if longest else f"{fence}{line}{fence}"
