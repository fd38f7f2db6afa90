"""How a table is set: its columns, and Markdown that shows any text as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from probeline.format import escape
from probeline.report.model.rows import Row


@dataclass(frozen=True)
class Column:
    """A column of a table of rows: its head, what stands in it for a row, and the number, if any, that sorts it."""

    head: str
    cell: Callable[[Row], str]
    left: bool = False
    value: Callable[[Row], float | None] | None = None


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


def bullets(notes: Sequence[str]) -> str:
    """Return a list in Markdown."""
    return "\n".join(f"- {escape(note)}" for note in notes)


def code(text: str) -> str:
    """Return `text` as a code span, whatever backticks it holds."""
    line = " ".join(text.split())
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}" if longest else f"{fence}{line}{fence}"
