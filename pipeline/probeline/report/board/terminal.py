"""A board in a terminal."""

from __future__ import annotations

from textwrap import fill

from probeline.format import percent, plural
from probeline.report.board.board import Board
from probeline.report.board.sections.section import NO_CELL, accuracy
from probeline.report.board.verdict import caveats, rank, verdict
from probeline.report.sections.tables import padded
from probeline.report.terminal import TERMINAL_WIDTH
from probeline.text import printable


def board_table(board: Board) -> str:
    """Return the accuracies for a terminal of `TERMINAL_WIDTH` characters, with the verdict and what is missing."""
    ranked = {one.net: one for one in board.standing.nets} if board.standing else {}
    grid = [["backbone", "rank", "norm. %", *(data.name for data in board.datasets)]]
    for net in board.nets if board.cells else ():
        one = ranked.get(net)
        means = [rank(one.mean_rank), percent(one.normalised, board.places)] if one else [NO_CELL, NO_CELL]
        grid.append(
            [board.titles[net], *means, *(accuracy(board, board.cells.get((net, data))) for data in board.datasets)]
        )
    shown = [[printable(cell) for cell in line] for line in grid]
    lines = ["  " + "  ".join(line).rstrip() for line in padded(shown, [True] + [False] * (len(grid[0]) - 1))]
    table = [line if len(line) <= TERMINAL_WIDTH else line[: TERMINAL_WIDTH - 1] + "…" for line in lines]
    below = [
        fill(printable(line), TERMINAL_WIDTH, subsequent_indent="  ") for line in (*verdict(board), *caveats(board))
    ]
    below += [printable(f"Not run: {one.what}: {one.command}") for one in board.missing.cells]
    if further := len(board.missing.others):
        below.append(f"Not run: methods that not all backbones have; the board lists {plural(further, 'command')}.")
    return "\n".join([*table, "", *below] if len(grid) > 1 else below)
