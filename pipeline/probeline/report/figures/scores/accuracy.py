"""Who recognises most: top-1 of every row, with its interval and its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from probeline.format import decimals, percent
from probeline.report.figures.sheet import Sheet, sheet, span, tell
from probeline.report.figures.style import SIZE, WIDTH
from probeline.report.model.axis import axis_start
from probeline.report.model.row import Block, Row
from probeline.report.model.row_tips import row_tip
from probeline.results.methods import method_info

FAR = " A triangle: far lower, with its top-1 at the right."
"""What a caption says where a row is drawn at the edge."""

HEADING = 64
"""Characters of a line above the rows of a backbone and tap: bold ones of middling width fill three quarters."""


def accuracy(table: Sequence[Block]) -> Sheet:
    """Return a dot with its 95 % interval for each row, by backbone and tap; `table` has at least one block."""
    table = [part for block in table for part in block.parts()]
    rows = [row for block in table for row in block.rows]
    places = decimals(row.n_test for row in rows)
    seeds = max(row.seeds for row in rows)
    caption = (
        f"Dot and bar: top-1 on {span(row.n_test for row in rows)} test images and its Wilson 95 % interval for "
        "drawing other images."
    )
    if seeds > 1:
        caption += f" A dot is the mean over up to {seeds} seeds; the small dots below it are single seeds."
    low = 100 * axis_start(rows)
    if low:
        caption += FAR
    if not all(row.converged for row in rows):
        caption += " Hollow: the fit stopped before its tolerance."
    title = f"Test accuracy on {table[0].scores[0][0].dataset}, by backbone and method"
    headings = {part.title: wrap(part.title, HEADING) for part in table}
    height = 1.3 + 0.235 * (len(rows) + sum(map(len, headings.values())))
    figure = sheet(WIDTH, height, title, caption, _alt(table, places))
    axes = figure.add_subplot()
    labels: list[str] = []
    for block in table:
        for line in headings[block.title]:
            heading(axes, line, len(labels))
            labels.append("")
        for row in block.rows:
            dot(axes, row, len(labels), row_tip(block.title, row, places), low)
            if row.seeds > 1 and 100 * row.top1 >= low:
                _seeds(axes, row, len(labels))
            _value(axes, row, len(labels), places)
            labels.append(row.short)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(labels) - 0.3, -0.6)
    axes.set_xlabel("test top-1, %")
    return figure


def _alt(table: Sequence[Block], places: int) -> str:
    rows = [(part.title, row) for part in table for row in part.rows]
    ends = [end(rows, key=lambda titled: titled[1].top1) for end in (min, max)]
    said = [f"{percent(row.top1, places)} % ({row.short} on {title})" for title, row in ends]
    dataset = table[0].scores[0][0].dataset
    if len(rows) == 1:
        return f"Test accuracy of one row on {dataset}: {said[0]}."
    return f"Test accuracy of {len(rows)} rows on {dataset}, from {said[0]} to {said[1]}, each with its 95 % interval."


def dot(axes: Axes, row: Row, y: float, told: str, low: float) -> None:
    """Draw a row's top-1 in percent and its interval, or a triangle at `low` where it lies far below."""
    colour = method_info(row.method).colour
    face = colour if row.converged else "white"
    style: dict[str, Any] = {"color": colour, "markerfacecolor": face, "markersize": 6, "markeredgewidth": 1.3}
    if 100 * row.top1 < low:
        (mark,) = axes.plot(low, y, "<", **style, zorder=3)
    else:
        axes.plot(
            [100 * end for end in row.interval], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=2
        )
        (mark,) = axes.plot(100 * row.top1, y, "o", **style, zorder=3)
    tell(mark, told)


def heading(axes: Axes, title: str, y: float) -> None:
    """Write the title of a block above its rows, at the left end."""
    beside = axes.get_yaxis_transform()
    text = axes.text(0, y, title, transform=beside, ha="left", va="center_baseline", fontweight="bold", zorder=4)
    text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})


def _seeds(axes: Axes, row: Row, y: float) -> None:
    below, colour = np.full(row.seeds, y + 0.32), method_info(row.method).colour
    axes.plot(100 * np.array(row.top1_by_seed), below, "o", color=colour, markersize=2.6, markeredgewidth=0, zorder=3)


def _value(axes: Axes, row: Row, y: float, places: int) -> None:
    beside = axes.get_yaxis_transform()
    axes.text(1.015, y, percent(row.top1, places), transform=beside, ha="left", va="center_baseline", fontsize=SIZE)
