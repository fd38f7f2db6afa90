"""Test accuracy of every row, with its interval and its seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from probeline.format import decimals, percent
from probeline.report.figures.scores.row_lines import FAR, arrange_rows, draw_top1
from probeline.report.figures.sheet import Sheet, sheet, span
from probeline.report.figures.style import SIZE, WIDTH
from probeline.report.model.axis import axis_start
from probeline.report.model.row import Block, Row, row_tip
from probeline.results.methods import method_info


def accuracy(table: Sequence[Block]) -> Sheet:
    """Return a dot with its 95 % interval for each row, by backbone and tap; `table` has at least one block."""
    table = [part for block in table for part in block.parts()]
    rows = [row for block in table for row in block.rows]
    places = decimals(row.n_test for row in rows)
    seeds = max(row.seeds for row in rows)
    caption = (
        f"Dot and bar: top-1 on {span(row.n_test for row in rows)} test images and its Wilson 95 % interval for other "
        "images."
    )
    if seeds > 1:
        caption += f" A dot is the mean over up to {seeds} seeds; the small dots below it are single seeds."
    low = 100 * axis_start(rows)
    if low:
        caption += FAR
    if not all(row.converged for row in rows):
        caption += " Hollow: the fit stopped before its tolerance."
    title = f"Test accuracy on {table[0].scores[0][0].dataset}, by backbone and method"
    lines = arrange_rows([(part.title, part.rows) for part in table], lambda row: row.short)
    figure = sheet(WIDTH, 1.3 + 0.235 * len(lines.labels), title, caption, _alt(table, places))
    axes = figure.add_subplot()
    across = axes.get_yaxis_transform()
    for y, block, row in lines.rows:
        draw_top1(axes, row, y, row_tip(block, row, places), low)
        if row.seeds > 1 and 100 * row.top1 >= low:
            _seeds(axes, row, y)
        text = percent(row.top1, places)
        axes.text(1.015, y, text, transform=across, ha="left", va="center_baseline", fontsize=SIZE)
    lines.label(axes, below=0.3)
    axes.set_xlabel("test top-1, %")
    return figure


def _alt(table: Sequence[Block], places: int) -> str:
    rows = [(part.title, row) for part in table for row in part.rows]
    ends = [end(rows, key=lambda titled: titled[1].top1) for end in (min, max)]
    low, high = (f"{percent(row.top1, places)} % ({row.short} on {title})" for title, row in ends)
    dataset = table[0].scores[0][0].dataset
    if len(rows) == 1:
        return f"Test accuracy of one row on {dataset}: {low}."
    return f"Test accuracy of {len(rows)} rows on {dataset}, from {low} to {high}, each with its 95 % interval."


def _seeds(axes: Axes, row: Row, y: float) -> None:
    below, colour = np.full(row.seeds, y + 0.32), method_info(row.method).colour
    axes.plot(100 * np.array(row.top1_by_seed), below, "o", color=colour, markersize=2.6, markeredgewidth=0, zorder=3)
