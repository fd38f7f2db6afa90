"""The first screen of a board's page: the recommended backbone, the others beside it, caveats, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probeline.format import count, percent, plural, seconds
from probeline.report.board.board import Board
from probeline.report.board.cost import costs, hardware
from probeline.report.board.sections.section import mean
from probeline.report.board.standing import FEWEST, NetStanding, Standing
from probeline.report.board.verdict import caveats, rank, verdict
from probeline.report.figures.style import SERIES
from probeline.report.model.differences import LEVEL
from probeline.report.page.answer import SummaryRow
from probeline.report.palette import class_of_colour

_HEADS = ("Backbone", "Normalised % (95 % interval)", "Mean rank", "On validation", "Mean top-1 %", "Cold s", "Size")
_MOST = 8
"""Backbones; of more the best are shown."""

_ROLES = {"cold time": "fastest", "parameters": "smallest", "memory": "least memory"}


def view(board: Board) -> Mapping[str, Any]:
    """Return the values of the page's first screen."""
    first, *others = verdict(board)
    standing = board.standing
    return {
        "title": _title(standing),
        "headline": first,
        "heads": _HEADS,
        "rows": _rows(board, standing) if standing else [],
        "caption": _caption(standing) if standing else "",
        "caveats": [*others, *caveats(board)],
        "advice": advice(board),
        "scope": _scope(board),
        "footer": "Every number on this page comes from the records of the data sets' reports; board.json has them.",
    }


def _title(standing: Standing | None) -> str:
    if standing is None:
        return "Nothing comparable has been scored yet"
    return f"Which backbone? {plural(len(standing.nets), 'backbone')} on {plural(len(standing.datasets), 'data set')}"


def _rows(board: Board, standing: Standing) -> list[SummaryRow]:
    best = standing.recommended
    roles: dict[int, list[str]] = {standing.nets.index(best): ["recommended"]}
    if len(standing.nets) > 1:
        roles.setdefault(0, []).append("best mean rank on test")
        for one in costs(standing, board.records.latencies):
            if one.name in _ROLES:
                roles.setdefault(one.front[0], []).append(_ROLES[one.name])
    shown = list(range(min(len(standing.nets), _MOST)))
    shown += [i for i in sorted(roles) if i not in shown]
    return [_row(board, standing, i, ", ".join(roles.get(i, [])).capitalize(), standing.nets[i] is best) for i in shown]


def _row(board: Board, standing: Standing, i: int, roles: str, is_recommended: bool) -> SummaryRow:
    one: NetStanding = standing.nets[i]
    several = len(standing.nets) > 1
    cells = (
        mean(board, one.normalised, one.normalised_interval),
        rank(one.mean_rank) if several else "",
        rank(one.val_rank) if several else "",
        percent(one.top1, board.places),
        seconds(one.cold_seconds) if len(hardware(standing)) == 1 else "–",
        count(one.parameters) if one.parameters else "–",
    )
    colour = class_of_colour(SERIES[i % len(SERIES)])
    return SummaryRow(roles, board.titles[one.net], colour, cells, is_recommended)


def _caption(standing: Standing) -> str:
    images = sum(data.n_test for data in standing.datasets)
    return (
        f"{images:,} test images of {plural(len(standing.datasets), 'data set')}. Ranks: 1 is the best, on test unless "
        "it says validation. Cold time includes feature extraction; the size is that of the predictor in parameters."
    )


def advice(board: Board) -> list[str]:
    """Return what to do next."""
    standing = board.standing
    if standing is None:
        return ["Score some backbones with probeline probe and probeline baselines, then run probeline board again."]
    lines = []
    if needed := board.missing.cells:
        lines.append(f"Run the first {plural(len(needed), 'command')} below Not run, so that more can be compared.")
    if len(standing.datasets) < FEWEST or (standing.tests is not None and standing.tests.smallest_pair_p >= LEVEL):
        lines.append("Add data sets that are like yours: so few say little about the next one.")
    if not lines:
        lines.append("Try the recommended backbone on your own images: probeline run --dataset folder:PATH.")
    return lines


def _scope(board: Board) -> list[str]:
    return [
        plural(len(board.datasets), "data set"),
        plural(len(board.titles), "backbone"),
        plural(len(board.entries), "row"),
    ]
