"""Figures with a line for each row: test accuracy, calibration error, and training strategies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from probeline.format import count, decimals, percent, points, seconds
from probeline.names import PENULTIMATE, Method, describe_tap
from probeline.report.figures.cost import MIN_SECONDS, second_ticks
from probeline.report.figures.sheet import Sheet, set_tooltip, span
from probeline.report.figures.style import MUTED, SIZE, SMALL, WIDTH
from probeline.report.model.axis import axis_start
from probeline.report.model.row import NO_PROBABILITIES, Block, Row, row_tip
from probeline.results.methods import method_info

Groups = Sequence[tuple[str, Sequence[Row]]]
"""Rows with the title that they share."""

HEADING = 64
"""Characters per line of a heading: bold ones of medium width fill three quarters."""

_FAR = " A triangle: far lower, with its top-1 at the right."
"""The caption's sentence on rows below the start of the axis."""


class _Lines:
    """The lines of a figure from the top: rows with labels, and headings of at most `heading` characters, if any."""

    def __init__(self, groups: Groups, label: Callable[[Row], str], heading: int | None) -> None:
        self.labels: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.rows: list[tuple[int, str, Row]] = []
        for title, rows in groups:
            for text in wrap(title, heading) if heading else ():
                self.headings.append((len(self.labels), text))
                self.labels.append("")
            for row in rows:
                self.rows.append((len(self.labels), title, row))
                self.labels.append(label(row))

    def write(self, axes: Axes, below: float = 0.4) -> None:
        """Write headings and labels; `below` is the room below the last row, in lines."""
        look: dict[str, Any] = {"va": "center_baseline", "fontweight": "bold", "zorder": 4}
        for y, text in self.headings:
            heading = axes.text(0, y, text, transform=axes.get_yaxis_transform(), ha="left", **look)
            heading.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
        axes.set_yticks(range(len(self.labels)), self.labels)
        axes.set_ylim(len(self.labels) - below, -0.6)
        _hide_lines(axes)


def accuracy(table: Sequence[Block]) -> Sheet:
    """Return a dot with its 95 % interval for each row, by backbone and tap; `table` has at least one block."""
    lines = _Lines(_by_part(table), lambda row: row.short, HEADING)
    rows = [row for _, _, row in lines.rows]
    places, seeds = decimals(row.n_test for row in rows), max(row.seeds for row in rows)
    caption = (
        f"Dot and bar: top-1 on {span(row.n_test for row in rows)} test images and its Wilson 95 % interval for other "
        "images."
    )
    if seeds > 1:
        caption += f" A dot is the mean over up to {seeds} seeds; the small dots below it are single seeds."
    low = 100 * axis_start(rows)
    if low:
        caption += _FAR
    if not all(row.converged for row in rows):
        caption += " Hollow: the fit stopped before its tolerance."
    dataset = table[0].scores[0][0].dataset
    ends = (end(lines.rows, key=lambda line: line[2].top1) for end in (min, max))
    lowest, highest = (f"{percent(row.top1, places)} % ({row.short} on {title})" for _, title, row in ends)
    alt = f"Test accuracy of {len(rows)} rows on {dataset}, from {lowest} to {highest}, each with its 95 % interval."
    if len(rows) == 1:
        alt = f"Test accuracy of one row on {dataset}: {lowest}."
    title = f"Test accuracy on {dataset}, by backbone and method"
    figure = Sheet(WIDTH, 1.3 + 0.235 * len(lines.labels), title, caption, alt)
    axes = figure.add_subplot()
    for y, part, row in lines.rows:
        _draw_top1(axes, row, y, row_tip(part, row, places), low)
        if row.seeds > 1 and 100 * row.top1 >= low:
            seed_dots: dict[str, Any] = {"color": method_info(row.method).colour, "markersize": 2.6}
            x, below = 100 * np.array(row.top1_by_seed), np.full(row.seeds, y + 0.32)
            axes.plot(x, below, "o", **seed_dots, markeredgewidth=0, zorder=3)
        _write_at_right(axes, 1.015, y, percent(row.top1, places))
    lines.write(axes, below=0.3)
    axes.set_xlabel("test top-1, %")
    return figure


def calibration(table: Sequence[Block]) -> Sheet:
    """Return the expected calibration error of each row at temperature 1 and at its own; at least one block."""
    groups = _by_part(table)
    lines = _Lines(groups, lambda row: row.short, HEADING if len(groups) > 1 else None)
    rows = [row for _, _, row in lines.rows]
    places = decimals(row.n_test for row in rows)
    caption = (
        "Expected calibration error of the predicted class, 15 bins of equal width, "
        f"n = {span(row.n_test for row in rows)} test images. Hollow: without temperature scaling. Filled: with the "
        "temperature fitted on val. Even perfect probabilities have some error."
    )
    scaled = [row for row in rows if row.method not in NO_PROBABILITIES]
    if len(scaled) < len(rows):
        caption += " Only filled: scores that are no probabilities without it."
    _, best_title, best = min(lines.rows, key=lambda line: line[2].ece)
    better = sum(row.ece < row.raw_ece for row in scaled)
    dataset = table[0].scores[0][0].dataset
    alt = (
        f"Calibration error of {len(rows)} rows on {dataset} before and after temperature scaling: lower after it for "
        f"{better} of {len(scaled)} that give probabilities; the lowest is {percent(best.ece, places)} % "
        f"({best.short} on {best_title})."
    )
    figure = Sheet(WIDTH, 1.3 + 0.235 * len(lines.labels), f"Calibration on {dataset}", caption, alt)
    axes = figure.add_subplot()
    for y, title, row in lines.rows:
        look: dict[str, Any] = {"color": method_info(row.method).colour, "markersize": 5.5}
        if row.method not in NO_PROBABILITIES:
            axes.plot([100 * row.raw_ece, 100 * row.ece], [y, y], color=MUTED, linewidth=0.9, zorder=1)
            axes.plot(100 * row.raw_ece, y, "o", **look, markerfacecolor="white", zorder=2)
        (dot,) = axes.plot(100 * row.ece, y, "o", **look, zorder=3)
        set_tooltip(
            dot,
            f"{row.short} on {title}: ECE {percent(row.raw_ece, places)} % at temperature 1, "
            f"{percent(row.ece, places)} % at {row.temperature:.3g}; NLL {row.raw_nll:.3f} and {row.nll:.3f}",
        )
    lines.write(axes)
    axes.set_xlim(left=0)
    axes.set_xlabel("expected calibration error, %")
    return figure


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
    rows = [row for _, members in groups for row in members]
    if not rows:
        return None
    places = decimals(row.n_test for row in rows)
    caption = (
        "Left: test top-1 with its Wilson 95 % interval, and the difference to the reference probe in points. Right: "
        f"cold time (log scale) and parameters trained. n = {span(row.n_test for row in rows)} test images"
        + ("; means over seeds." if any(row.seeds > 1 for row in rows) else ".")
    )
    low = 100 * axis_start(rows)
    if low:
        caption += _FAR
    title = f"Training strategies on {table[0].scores[0][0].dataset}"
    blocks = (
        f"{part}: " + ", ".join(f"{_rung_label(row)} {percent(row.top1, places)} %" for row in members)
        for part, members in groups
    )
    alt = f"{title}, from the probe up. {'; '.join(blocks)}."
    lines = _Lines(groups, _rung_label, HEADING // 2 if len(groups) > 1 else None)
    figure = Sheet(WIDTH, 1.4 + 0.27 * len(lines.labels), title, caption, alt)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for y, part, row in lines.rows:
        _draw_top1(left, row, y, row_tip(part, row, places), low)
        over = "" if row.over_probe is None else f" ({points(row.over_probe.top1, places)})"
        _write_at_right(left, 1.02, y, f"{percent(row.top1, places)}{over}")
        cold = max(row.cold_seconds, MIN_SECONDS)
        right.plot(cold, y, "o", color=method_info(row.method).colour, markersize=6, zorder=2)
        text = f"{seconds(row.cold_seconds)} s, {count(row.trainable)}"
        near: dict[str, Any] = {"xytext": (7, 0), "textcoords": "offset points", "va": "center"}
        right.annotate(text, (cold, y), **near, fontsize=SMALL, color=MUTED, zorder=3)
    lines.write(left)
    _hide_lines(right)
    left.set_xlabel("test top-1, %")
    right.set_xscale("log")
    right.set_xlim(left=min(max(row.cold_seconds, MIN_SECONDS) for row in rows) / 2)
    second_ticks(right, (1.0,))
    right.set_xlabel("cold seconds (log scale)")
    return figure


def _rung_label(row: Row) -> str:
    """Return a rung's label: with the views, and without the tap, whose name may be long."""
    return ", ".join(filter(None, (row.short, describe_tap(PENULTIMATE, row.views))))


def _by_part(table: Sequence[Block]) -> Groups:
    """Return the rows by backbone and tap."""
    return [(part.title, part.rows) for block in table for part in block.parts()]


def _draw_top1(axes: Axes, row: Row, y: float, tip: str, low: float) -> None:
    """Draw a row's top-1 in percent and its interval, or a triangle at `low` if it is far below."""
    colour = method_info(row.method).colour
    face = colour if row.converged else "white"
    style: dict[str, Any] = {"color": colour, "markerfacecolor": face, "markersize": 6, "markeredgewidth": 1.3}
    if 100 * row.top1 < low:
        (mark,) = axes.plot(low, y, "<", **style, zorder=3)
    else:
        ends = [100 * end for end in row.interval]
        axes.plot(ends, [y, y], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=2)
        (mark,) = axes.plot(100 * row.top1, y, "o", **style, zorder=3)
    set_tooltip(mark, tip)


def _write_at_right(axes: Axes, x: float, y: float, text: str) -> None:
    axes.text(x, y, text, transform=axes.get_yaxis_transform(), ha="left", va="center_baseline", fontsize=SIZE)


def _hide_lines(axes: Axes) -> None:
    """Hide ticks, grid and spine of the axis that labels the rows."""
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
