"""What a section of a board is, and the texts of cells that several have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from probeline.format import escape, percent
from probeline.report.board.board import Board
from probeline.report.board.entries import Entry
from probeline.report.sections.section import View, tables_view
from probeline.report.sections.tables import TextTable, bullets, join_parts

BELOW, UNCONVERGED, NO_CELL = "↓", "†", "–"


@dataclass(frozen=True)
class BoardSection:
    """A section that is rendered."""

    name: str
    title: str
    group: str
    markdown: str
    view: View
    record: Mapping[str, Any] = field(default_factory=dict)


def table_section(
    board: Board, heading: tuple[str, str, str], tables: Sequence[TextTable], notes: Sequence[str], **record: Any
) -> BoardSection:
    """Return a section of tables and notes, with the figure of its name if there is one."""
    name, title, group = heading
    figure = board.figures.get(name)
    image = f"![{escape(figure.headline)}]({figure.path.relative_to(board.folder).as_posix()})" if figure else ""
    text = join_parts(image, *(table.markdown() for table in tables), bullets(notes))
    return BoardSection(name, title, group, text, tables_view(tables, notes, figure), record)


def accuracy(board: Board, entry: Entry | None) -> str:
    """Return an accuracy with its interval and marks; a dash without any."""
    if entry is None:
        return NO_CELL
    low, high = (percent(end, board.places) for end in entry.row.interval)
    difference = board.differences.get((entry.net, entry.data))
    mark = BELOW if difference is not None and difference.real and difference.top1 < 0 else ""
    return (
        f"{percent(entry.row.top1, board.places)} ({low}–{high})" + mark + ("" if entry.row.converged else UNCONVERGED)
    )


def mean(board: Board, value: float, interval: tuple[float, float]) -> str:
    """Return a mean in percent with its interval."""
    low, high = (percent(end, board.places) for end in interval)
    return f"{percent(value, board.places)} ({low}–{high})"


def use(board: Board, entry: Entry) -> str:
    """Return what a row is used for: ``shown``, ``comparable``, or ``not on all``."""
    if board.cells.get((entry.net, entry.data)) is entry:
        return "shown"
    return "comparable" if entry.row.keys in board.compared else "not on all"
