"""Board: one table of all reports in a folder, over data sets and backbones. Reads records alone; no torch."""

from __future__ import annotations

from probeline.report.board.board import Board, make_board
from probeline.report.board.terminal import board_table
from probeline.report.board.write import FOLDER, write_board
from probeline.session import Session


def run(session: Session) -> dict[str, object]:
    """Write the board of the reports in the folder, and return where; of a recipe only its data sets and nets."""
    settings, console = session.settings, session.console
    folder = settings.export.out or settings.folders.reports / FOLDER
    board = make_board(settings, session.steps, folder)
    for line in board.records.left_out:
        console.say(f"board: left out {line}")
    for line in board_table(board).split("\n"):
        console.result(line)
    if settings.run.dry_run:
        console.result(f"dry run: board: would be written to {folder}")
        return {"dry_run": str(folder)}
    return _write(session, board)


def _write(session: Session, board: Board) -> dict[str, object]:
    console, files = session.console, write_board(board)
    if files.parquet is None and board.entries:
        console.say("board: without board.parquet, which needs pyarrow: pip install 'probeline[parquet]'")
    state = "written to" if files.written else "is up to date in"
    console.say(f"board: the board {state} {files.markdown}")
    console.say(f"board: the page is {files.page}")
    return {
        "board": str(files.markdown),
        "json": str(files.json),
        "csv": str(files.csv),
        "parquet": None if files.parquet is None else str(files.parquet),
        "page": str(files.page),
    }
