"""All sections of a board."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from probeline.report.board.board import Board
from probeline.report.board.sections.comparisons import cost_section, predictors_section, tests_section
from probeline.report.board.sections.making import (
    conditions_section,
    datasets_section,
    left_out_section,
    missing_section,
    reports_section,
)
from probeline.report.board.sections.results import accuracy_section, methods_section, rows_section
from probeline.report.board.sections.section import BoardSection


def sections(board: Board) -> list[BoardSection]:
    """Return the sections that a board has something for, in the order of its page."""
    makers: Sequence[Callable[[Board], BoardSection | None]] = (
        accuracy_section,
        tests_section,
        methods_section,
        cost_section,
        predictors_section,
        rows_section,
        datasets_section,
        reports_section,
        missing_section,
        left_out_section,
        conditions_section,
    )
    return [section for make in makers if (section := make(board)) is not None]
