"""The files of a board: written if there is something new, and otherwise left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from probeline.errors import BadOption
from probeline.format import escape
from probeline.identity import BOARD_VERSION, digest
from probeline.report.board.board import Board
from probeline.report.board.records import SCORES_FOLDER
from probeline.report.board.sections.registry import sections
from probeline.report.board.sections.section import BoardSection
from probeline.report.board.tables import board_records, csv_table, has_parquet, parquet_table
from probeline.report.board.verdict import caveats, verdict
from probeline.report.folder import RECORD_NAME, ReportFolder
from probeline.report.sections.tables import bullets, join_parts
from probeline.text import printable_lines

FOLDER = "board"
"""Below the folder of reports, where each other folder is of one data set."""

_MARKDOWN, _CSV, _PARQUET, _PAGE, _RECORD = "board.md", "board.csv", "board.parquet", "index.html", "board.json"


@dataclass(frozen=True)
class BoardFiles:
    """The files of a board; they were up to date if they are not `written`."""

    markdown: Path
    json: Path
    csv: Path
    parquet: Path | None
    """None without pyarrow."""
    page: Path
    written: bool


def write_board(board: Board) -> BoardFiles:
    """Write the files of a board into its folder, unless they are up to date.

    They are as those of a report, see :func:`probeline.report.write.write_report`, but for their names: none is called
    like a report's, and a folder with the report of a data set is refused.

    Raises
    ------
    CannotWrite
        The file system refuses.
    BadOption
        The folder holds the report of a data set, or a link is where a file of the board belongs.
    """
    for name in (SCORES_FOLDER, RECORD_NAME):
        if (board.folder / name).exists():
            raise BadOption(
                "this folder holds the report of a data set",
                where=board.folder,
                expected="another folder",
                remedy="name one with --out DIR",
            )
    folder = ReportFolder(board.folder, _RECORD)
    names = [_MARKDOWN, _CSV, _PAGE, *([_PARQUET] if has_parquet() and board.entries else [])]
    key = digest([board.identity(), names])
    if files := folder.current_files(key, names):
        return _files(board.folder, list(files), written=False)

    # matplotlib and jinja2 take a second that an up-to-date board need not spend
    from probeline.report.board.answer import view
    from probeline.report.board.figures import draw
    from probeline.report.page.render import render_page

    drawn = draw(board)
    board = board.drawn({figure.name: figure for figure, _ in drawn})
    shown, records = sections(board), board_records(board)
    contents = {
        _MARKDOWN: markdown(board, shown).encode(),
        _CSV: csv_table(records).encode(),
        _PAGE: render_page(view(board), [(section, section.view) for section in shown]),
        **({_PARQUET: parquet_table(records)} if _PARQUET in names else {}),
        **{figure.path.relative_to(board.folder).as_posix(): png for figure, png in drawn},
    }
    record = {
        "version": BOARD_VERSION,
        "verdict": verdict(board),
        "caveats": caveats(board),
        **{name: value for section in shown for name, value in section.record.items()},
    }
    return _files(board.folder, list(folder.write(key, contents, record)), written=True)


def markdown(board: Board, shown: Sequence[BoardSection]) -> str:
    """Return a board that renders on GitHub and reads well as plain text."""
    first, *others = verdict(board)
    parts = ["# Which backbone?", "\n".join([f"**{escape(first)}**", *(f"\n{escape(line)}" for line in others)])]
    if lines := caveats(board):
        parts += ["## Caveats", bullets(lines)]
    for section in shown:
        parts += [f"## {escape(section.title)}", section.markdown]
    return printable_lines(join_parts(*parts)) + "\n"


def _files(folder: Path, names: Sequence[str], *, written: bool) -> BoardFiles:
    parquet = folder / _PARQUET if _PARQUET in names else None
    return BoardFiles(folder / _MARKDOWN, folder / _RECORD, folder / _CSV, parquet, folder / _PAGE, written)
