"""The accuracy of each backbone on each data set, by method, and of all rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from probeline.format import count, listing, percent, plural, seconds
from probeline.report.board.board import Board
from probeline.report.board.entries import Entry, method_name
from probeline.report.board.sections.section import (
    BELOW,
    NO_CELL,
    BoardSection,
    accuracy,
    mean,
    table_section,
    use,
)
from probeline.report.board.standing import NetStanding, Standing
from probeline.report.board.verdict import rank
from probeline.report.model.differences import LEVEL
from probeline.report.model.row import Row, row_tip
from probeline.report.palette import class_of_colour
from probeline.report.sections.section import RESULTS, View
from probeline.report.sections.tables import (
    TOP1,
    Column,
    Line,
    RowTable,
    TextTable,
    bar_bounds,
    bullets,
    join_parts,
    text_table,
)
from probeline.results.methods import method_info

_MEANS = ("mean_rank", "val_rank", "normalised", "normalised_interval", "top1", "top1_interval")
"""Of a backbone over the data sets, in board.json."""


def accuracy_section(board: Board) -> BoardSection | None:
    if not board.cells:
        return None
    nets, standing = board.nets, board.standing
    ranked = {one.net: one for one in standing.nets} if standing else {}
    titles = [board.titles[net] for net in nets]

    def cells(text: Callable[[NetStanding], str]) -> list[str]:
        return [text(ranked[net]) if net in ranked else NO_CELL for net in nets]

    several = len(ranked) > 1
    over_all = [
        ("Backbone", titles),
        ("Mean rank", cells(lambda one: rank(one.mean_rank) if several else "")),
        ("On validation", cells(lambda one: rank(one.val_rank) if several else "")),
        ("Normalised % (95 %)", cells(lambda one: mean(board, one.normalised, one.normalised_interval))),
        ("Mean top-1 % (95 %)", cells(lambda one: mean(board, one.top1, one.top1_interval))),
    ]
    datasets = board.datasets
    by_data = [(data.name, [accuracy(board, board.cells.get((net, data))) for net in nets]) for data in datasets]
    shown = [
        (data.name, [method_name(board.cells[net, data]) if (net, data) in board.cells else NO_CELL for net in nets])
        for data in datasets
    ]
    tables = [
        text_table(over_all, 1, _over(standing)),
        text_table([("Backbone", titles), *by_data], 1, "Test top-1 % with its 95 % interval:"),
        text_table([("Backbone", titles), *shown], 1 + len(shown), "The method that is shown:"),
    ]
    record = {"standing": None if standing is None else _standing_record(board, standing)}
    heading = ("accuracy", "Accuracy by data set and backbone", RESULTS)
    return table_section(board, heading, tables, _accuracy_notes(board), **record)


def _over(standing: Standing | None) -> str:
    """Return the line above the means."""
    return f"Over {listing([data.name for data in standing.datasets])}:" if standing else ""


def _accuracy_notes(board: Board) -> list[str]:
    standing = board.standing
    notes = []
    if standing is not None and len(standing.nets) > 1:
        notes.append(
            f"Mean rank over {plural(len(standing.datasets), 'data set')}: 1 is the backbone with the highest test "
            "top-1; equal ones share the mean of their ranks. On validation: the same of the accuracy on validation, "
            "by which the recommendation is chosen."
        )
    notes += [
        "Normalised accuracy: (top-1 − chance) / (1 − chance), averaged over the data sets, where chance is the "
        "accuracy of always answering the most frequent test class: 0 for that and 100 % if all is right. For classes "
        "of equal size it is scikit-learn's adjusted balanced accuracy. It does not depend on which other backbones "
        "are shown, as a scale up to the best of them would.",
        "Mean top-1 is the plain mean over the data sets, as VTAB reports it; a data set with a larger range of "
        "accuracies weighs more in it.",
        "Intervals are Wilson's 95 % interval for other test images, those of means combined by Zou and Donner's "
        "method.",
    ]
    if any(difference.real and difference.top1 < 0 for difference in board.differences.values()):
        notes.append(
            f"{BELOW} significantly below the backbone that is best on validation on that data set: McNemar's test "
            f"and paired bootstrap on the same test images, adjusted by Holm's method for the backbones, level {LEVEL}."
        )
    elif board.differences:
        notes.append(
            "On no data set is a backbone significantly below the one that is best on validation there (McNemar's test "
            f"and paired bootstrap, adjusted by Holm's method, level {LEVEL})."
        )
    return notes


def _standing_record(board: Board, standing: Standing) -> dict[str, Any]:
    return {
        "datasets": [data.name for data in standing.datasets],
        "recommended": board.titles[standing.recommended.net],
        "backbones": [
            {
                "title": board.titles[one.net],
                **asdict(one.net),
                **{name: getattr(one, name) for name in _MEANS},
                "highest_on": one.wins,
                "cold_seconds": one.cold_seconds,
                "warm_seconds": one.warm_seconds,
                "parameters": one.parameters,
            }
            for one in standing.nets
        ],
        "tests": None if standing.tests is None else asdict(standing.tests),
    }


def methods_section(board: Board) -> BoardSection | None:
    methods, standing = board.methods, board.standing
    if standing is None or len(methods) < 2:
        return None

    def cell(by_method: Standing, one: NetStanding) -> str:
        own = next(other for other in by_method.nets if other.net == one.net)
        return f"{percent(own.normalised, board.places)} (rank {rank(own.mean_rank)})"

    columns = [("Method", [method_info(name).title for name in methods])]
    columns += [
        (board.titles[one.net], [cell(by_method, one) for by_method in methods.values()]) for one in standing.nets
    ]
    notes = [
        f"Mean normalised accuracy in percent over {listing([data.name for data in standing.datasets])}, and the "
        "mean rank, with one method on all of them: those that all backbones have there with the same settings."
    ]
    record = {
        "methods": {
            name: {
                board.titles[one.net]: {"mean_rank": one.mean_rank, "normalised": one.normalised, "top1": one.top1}
                for one in by_method.nets
            }
            for name, by_method in methods.items()
        }
    }
    return table_section(board, ("methods", "By method", RESULTS), [text_table(columns, 1)], notes, **record)


_ROW_COLUMNS: Sequence[tuple[str, bool, bool]] = (
    ("Data set", True, False),
    (TOP1, False, True),
    ("Use", True, False),
    ("Validation %", False, True),
    ("Cold s", False, True),
    ("Warm s", False, True),
    ("Parameters", False, True),
    ("Chosen", True, False),
)
"""Of all rows, after method and backbone: the head, whether it is aligned to the left, and whether it sorts as a
number."""


def _row_cells(board: Board, entry: Entry) -> list[tuple[str, str]]:
    row = entry.row
    numbers = (row.top1, row.val_score, row.cold_seconds, row.warm_seconds, float(row.total))
    top1, val, cold, warm, total = map(repr, numbers)
    return [
        (entry.data.name, ""),
        (mean(board, row.top1, row.interval), top1),
        (use(board, entry), ""),
        (percent(row.val_score, board.places), val),
        (seconds(row.cold_seconds), cold),
        (seconds(row.warm_seconds), warm),
        (count(row.total), total),
        (row.chosen, ""),
    ]


def rows_section(board: Board) -> BoardSection | None:
    if not board.entries:
        return None
    entries = sorted(board.entries, key=lambda one: (one.data.name, board.nets.index(one.net), one.row.rank))
    notes = [
        "Shown: of the comparable rows of a backbone on a data set the one that is best on validation. Comparable: all "
        "compared backbones have the method with the same settings on that data set. All fields are in board.csv."
    ]
    heads = [head for head, _, _ in _ROW_COLUMNS]
    grid = [["Method", "Backbone", *heads]]
    grid += [
        [method_name(one), board.titles[one.net], *(text for text, _ in _row_cells(board, one))] for one in entries
    ]
    table = TextTable(grid, [True, True, *(left for _, left, _ in _ROW_COLUMNS)])
    low, high = bar_bounds([one.row for one in entries])
    columns = [
        Column(head, _unused, left, _unused_value if is_number else None) for head, left, is_number in _ROW_COLUMNS
    ]
    columns.insert(1, Column("Backbone", _unused, left=True))
    values = {
        "table": RowTable(columns, [_line(board, one, low, high) for one in entries]),
        "methods": list(dict.fromkeys(method_info(one.row.method).title for one in entries)),
        "backbones": list(dict.fromkeys(board.titles[one.net] for one in entries)),
        "notes": notes,
        "figure": None,
    }
    text = join_parts(table.markdown(), bullets(notes))
    return BoardSection("rows", "All rows", RESULTS, text, View("results.html", values))


def _unused(_: Row) -> str:
    return ""


def _unused_value(_: Row) -> float | None:
    return None


def _line(board: Board, entry: Entry, low: float, high: float) -> Line:
    """Return a line of the page's table of all rows, whose bars run from `low` to `high`."""
    row, method = entry.row, method_info(entry.row.method)
    cells = _row_cells(board, entry)
    cells.insert(1, (board.titles[entry.net], ""))
    ends = (row.interval[0], row.top1, row.interval[1])
    bar = [f"{100 * max(share - low, 0) / (high - low):.2f}" for share in ends]
    tip = f"{entry.data.name}: {row_tip(board.titles[entry.net], row, board.places)}"
    return Line(
        method_name(entry), method.title, board.titles[entry.net], cells, bar, class_of_colour(method.colour), tip
    )
