"""What each training strategy gives and costs, from the probe alone to training the whole net."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from probeline.format import count, decimals, percent, points, seconds
from probeline.names import PENULTIMATE, Method, describe_tap
from probeline.report.figures.scores.row_lines import FAR, HEADING, arrange_rows, draw_top1, hide_lines
from probeline.report.figures.sheet import Sheet, sheet, span
from probeline.report.figures.style import MUTED, SIZE, SMALL, WIDTH
from probeline.report.model.axis import axis_start
from probeline.report.model.row import Block, Row, row_tip
from probeline.results.methods import method_info

_LEAST = 1e-3
"""Seconds; a logarithm has no zero."""


def rungs(block: Block) -> list[Row]:
    """Return the rows of a block's ladder in their order: the exact probe, the one with views, then the trainings.

    Of several probes of a kind it is the best on validation. Empty for fewer than two trainings.
    """
    exact = [row for row in block.rows if row.method == Method.PROBE]
    kinds = [row for row in exact if not row.views], [row for row in exact if row.views]
    probes = [min(kind, key=lambda row: row.rank) for kind in kinds if kind]
    trained = [row for row in block.rows if method_info(row.method).trains]
    return [*probes, *trained] if len(trained) > 1 else []


def ladder(table: Sequence[Block]) -> Sheet | None:
    """Return top-1 and cold time of every rung, block by block, or None if no block has a ladder."""
    groups = [(block.title, rungs(block)) for block in table if rungs(block)]
    if not groups:
        return None
    rows = [row for _, members in groups for row in members]
    places = decimals(row.n_test for row in rows)
    caption = (
        "Left: test top-1 with its Wilson 95 % interval, and the difference to the reference probe in points. Right: "
        f"cold time (log scale) and parameters trained. n = {span(row.n_test for row in rows)} test images"
        + ("; means over seeds." if any(row.seeds > 1 for row in rows) else ".")
    )
    low = 100 * axis_start(rows)
    if low:
        caption += FAR
    dataset = table[0].scores[0][0].dataset
    blocks = (
        f"{title}: " + ", ".join(f"{_name(row)} {percent(row.top1, places)} %" for row in members)
        for title, members in groups
    )
    alt = f"Training strategies on {dataset}, from the probe up. {'; '.join(blocks)}."
    lines = arrange_rows(groups, _name, heading=HEADING // 2 if len(groups) > 1 else None)
    figure = sheet(WIDTH, 1.4 + 0.27 * len(lines.labels), f"Training strategies on {dataset}", caption, alt)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for y, title, row in lines.rows:
        draw_top1(left, row, y, row_tip(title, row, places), low)
        _rung(left, right, row, y, places)
    lines.label(left)
    hide_lines(right)
    left.set_xlabel("test top-1, %")
    right.set_xscale("log")
    right.set_xlim(left=min(max(row.cold_seconds, _LEAST) for row in rows) / 2)
    right.xaxis.set_major_locator(LogLocator(subs=(1.0,)))
    right.xaxis.set_major_formatter(FuncFormatter(lambda x, _: seconds(x)))
    right.xaxis.set_minor_formatter(NullFormatter())
    right.set_xlabel("cold seconds (log scale)")
    return figure


def _name(row: Row) -> str:
    """Return a rung's label: with the views, and without the tap, whose name may be long."""
    return ", ".join(filter(None, (row.short, describe_tap(PENULTIMATE, row.views))))


def _rung(left: Axes, right: Axes, row: Row, y: float, places: int) -> None:
    over = "" if row.over_probe is None else f" ({points(row.over_probe.top1, places)})"
    text = f"{percent(row.top1, places)}{over}"
    left.text(1.02, y, text, transform=left.get_yaxis_transform(), ha="left", va="center_baseline", fontsize=SIZE)
    cold = max(row.cold_seconds, _LEAST)
    right.plot(cold, y, "o", color=method_info(row.method).colour, markersize=6, zorder=2)
    text = f"{seconds(row.cold_seconds)} s, {count(row.trainable)}"
    right.annotate(
        text, (cold, y), xytext=(7, 0), textcoords="offset points", va="center", fontsize=SMALL, color=MUTED, zorder=3
    )
