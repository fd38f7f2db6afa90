"""The data sets of a board, what is missing and left out, and the conditions of its numbers."""

from __future__ import annotations

import os
from dataclasses import asdict
from urllib.parse import quote

from markupsafe import Markup

from probeline.environment import describe_environment
from probeline.format import describe_input, escape, listing, option, percent
from probeline.report.board.board import Board
from probeline.report.board.entries import BoardData
from probeline.report.board.sections.section import BoardSection, table_section
from probeline.report.sections.section import REPRODUCIBILITY, RESULTS, View, text_view
from probeline.report.sections.tables import TextTable, code, text_table
from probeline.results.methods import method_info
from probeline.text import printable


def datasets_section(board: Board) -> BoardSection | None:
    if not board.datasets:
        return None
    datasets = board.datasets
    columns = [
        ("Data set", [data.name for data in datasets]),
        ("Classes", [f"{data.classes:,}" for data in datasets]),
        ("Train", [f"{data.n_train:,}" for data in datasets]),
        ("Val", [f"{data.n_val:,}" for data in datasets]),
        ("Test", [f"{data.n_test:,}" for data in datasets]),
        ("Chance %", [percent(data.chance, board.places) for data in datasets]),
        ("Selected on", [data.chosen_by for data in datasets]),
        ("Compared by", [_compared_by(board, data) for data in datasets]),
    ]
    table = text_table(columns, 1)
    return table_section(
        board,
        ("datasets", "Data sets", RESULTS),
        [TextTable(table.grid, [*table.left[:-1], True])],
        ["Chance is the share of the most frequent class of the test images."],
        datasets=[asdict(data) for data in datasets],
    )


def _compared_by(board: Board, data: BoardData) -> str:
    own = [one for one in board.entries if one.data == data and one.row.keys in board.compared]
    return listing(list(dict.fromkeys(method_info(one.row.method).short for one in own))) or "nothing"


def reports_section(board: Board) -> BoardSection | None:
    """Return links to the reports of the data sets, as far as they have a page."""
    names = [data.name for data in board.datasets if data.has_page]
    if not names:
        return None
    links = {name: quote(os.path.relpath(board.reports / name / "index.html", board.folder)) for name in names}
    item = Markup('<li><a href="{}">{}</a></li>')
    items = Markup("").join(item.format(link, printable(name)) for name, link in links.items())
    text = "\n".join(f"- [{escape(name)}]({link})" for name, link in links.items())
    view = text_view("Each data set has a report of its own:", html=Markup("<ul>{}</ul>").format(items))
    return BoardSection("reports", "Reports of the data sets", REPRODUCIBILITY, text, view)


def missing_section(board: Board) -> BoardSection | None:
    not_run = board.missing.all
    if not not_run:
        return None
    text = "\n".join(f"- {escape(one.what)}: {code(one.command)}" for one in not_run)
    record = {"missing": [asdict(one) for one in not_run]}
    return BoardSection("missing", "Not run", REPRODUCIBILITY, text, View("not_run.html", {"not_run": not_run}), record)


def left_out_section(board: Board) -> BoardSection | None:
    if not board.records.left_out:
        return None
    lines = list(board.records.left_out)
    notes = ["These records of the folder are not shown, as a board is of one set of conditions.", *lines]
    heading = ("left-out", "Left out", REPRODUCIBILITY)
    return table_section(board, heading, [], notes, left_out=lines)


def conditions_section(board: Board) -> BoardSection | None:
    if not board.entries:
        return None
    scores = [score for entry in board.entries for score in entry.scores]
    facts = {name: value for name, value in board.conditions.items() if value is not None}
    conditions = {
        "Records": [", ".join(option(name, value) for name, value in facts.items())],
        "Seeds": [f"at most {max(entry.row.seeds for entry in board.entries)} of a row, whose numbers are means"],
        "Weights": [f"{board.titles[net]}: {net.weights}, {describe_input(net.image_size)}" for net in board.nets],
        "Selection": ["methods and settings on validation; test is used once, after it, and ranks are of test"],
        "Hardware and versions": sorted({describe_environment(score.environment) for score in scores}),
    }
    parts = []
    for name, lines in conditions.items():
        parts += [f"- **{name}**:", *(f"  - {escape(line)}" for line in lines)]
    view = View("conditions.html", {"conditions": conditions, "rows": [], "has_commands": False})
    record = {"conditions": conditions}
    return BoardSection("making", "Conditions", REPRODUCIBILITY, "\n".join(parts), view, record)
