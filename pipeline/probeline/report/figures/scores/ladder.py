"""What each rung of training gives and costs: the strategies in their order, the head alone first."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from probeline.format import count, decimals, percent, points, seconds
from probeline.names import PENULTIMATE, Method, describe_tap
from probeline.report.figures.scores.accuracy import FAR, HEADING, dot, heading
from probeline.report.figures.sheet import Sheet, sheet, span
from probeline.report.figures.style import MUTED, SIZE, SMALL, WIDTH
from probeline.report.model.axis import axis_start
from probeline.report.model.row import Block, Row
from probeline.report.model.row_tips import row_tip
from probeline.results.methods import method_info

_LEAST = 1e-3
"""Seconds; a logarithm has no zero."""


def rungs(block: Block) -> list[Row]:
    """Return the rows of a block's ladder in their order: the exact probe, the one with views, then what was trained.

    Of several probes of a kind it is the one that val prefers. None where fewer than two strategies were trained.
    """
    exact = [row for row in block.rows if row.method == Method.PROBE]
    kinds = [row for row in exact if not row.views], [row for row in exact if row.views]
    probes = [min(kind, key=lambda row: row.rank) for kind in kinds if kind]
    trained = [row for row in block.rows if method_info(row.method).trains]
    return [*probes, *trained] if len(trained) > 1 else []


def ladder(table: Sequence[Block]) -> Sheet | None:
    """Return top-1 and cold seconds of every rung, block by block, or None where no block has a ladder."""
    found = [(block, rungs(block)) for block in table if rungs(block)]
    if not found:
        return None
    rows = [row for _, some in found for row in some]
    places = decimals(row.n_test for row in rows)
    caption = (
        "Left: test top-1 with its Wilson 95 % interval, and the points over the linear probe that others are compared "
        f"with. Right: cold seconds, log scale, and parameters trained. n = {span(row.n_test for row in rows)} test "
        "images" + ("; means over seeds." if any(row.seeds > 1 for row in rows) else ".")
    )
    low = 100 * axis_start(rows)
    if low:
        caption += FAR
    dataset = table[0].scores[0][0].dataset
    said = (
        f"{block.title}: " + ", ".join(f"{_name(row)} {percent(row.top1, places)} %" for row in some)
        for block, some in found
    )
    alt = f"The ladder of strategies on {dataset}, from the probe up. {'; '.join(said)}."
    headings = {block.title: wrap(block.title, HEADING // 2) if len(found) > 1 else [] for block, _ in found}
    height = 1.4 + 0.27 * (len(rows) + sum(map(len, headings.values())))
    figure = sheet(WIDTH, height, f"What training more of the net gives on {dataset}", caption, alt)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    labels: list[str] = []
    for block, some in found:
        for line in headings[block.title]:
            heading(left, line, len(labels))
            labels.append("")
        for row in some:
            dot(left, row, len(labels), row_tip(block.title, row, places), low)
            _rung(left, right, row, len(labels), places)
            labels.append(_name(row))
    left.set_yticks(range(len(labels)), labels)
    for axes in (left, right):
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
    left.set_ylim(len(labels) - 0.4, -0.6)
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
    beside = left.get_yaxis_transform()
    text = f"{percent(row.top1, places)}{over}"
    left.text(1.02, y, text, transform=beside, ha="left", va="center_baseline", fontsize=SIZE)
    cold = max(row.cold_seconds, _LEAST)
    right.plot(cold, y, "o", color=method_info(row.method).colour, markersize=6, zorder=2)
    text = f"{seconds(row.cold_seconds)} s, {count(row.trainable)}"
    right.annotate(
        text, (cold, y), xytext=(7, 0), textcoords="offset points", va="center", fontsize=SMALL, color=MUTED, zorder=3
    )
