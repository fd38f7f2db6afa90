"""Accuracy against cold time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from probeline.format import decimals, percent, seconds
from probeline.report.figures.labels import Label, write_labels
from probeline.report.figures.sheet import Sheet, legend_label, set_tooltip, sheet, span
from probeline.report.figures.style import DPI, INK, LINE, MARKERS, MUTED, WIDTH
from probeline.report.model.axis import lower_limit
from probeline.report.model.row import Block, Row, TitledRow, row_naming, row_tip
from probeline.results.methods import method_info, order
from probeline.types import DoubleArray

Spot = tuple[float, float]

_NAMED = 24
"""More rows, or those of several nets, have a legend instead of names."""

_LEAST = 1e-3
"""Seconds; a logarithm has no zero."""

_DOT, _GAP = DPI / 17, DPI / 40
"""Pixels: half a marker, and what stays clear around a name."""


def cost(table: Sequence[Block]) -> Sheet | None:
    """Return top-1 against cold seconds with the Pareto front, or None for a single row."""
    nets, name = len(table), row_naming(table)
    table = [part for block in table for part in block.parts()]
    rows = [(part.title, row) for part in table for row in part.rows]
    if len(rows) < 2:
        return None
    caption = (
        "Cold time includes feature extraction. The line joins the rows, outlined, that no other beats in both "
        "accuracy and time. "
        f"n = {span(row.n_test for _, row in rows)} test images"
        + ("; means over seeds." if any(row.seeds > 1 for _, row in rows) else ".")
    )
    low = 100 * lower_limit([row.top1 for _, row in rows])
    places = decimals(row.n_test for _, row in rows)
    direct = nets == 1 and len(rows) <= _NAMED
    far = {
        id(row): f"{name(TitledRow(title, row, ())) if direct else row.short} {percent(row.top1, places)}"
        for title, row in rows
        if 100 * row.top1 < low
    }
    if far:
        caption += " A triangle: far lower, with its top-1 beside it."
    methods = sorted({row.method for _, row in rows}, key=order)
    titles = {block.title: legend_label(block.title) for block in table}
    lines = len(methods) + sum(title.count("\n") + 1 for title in titles.values())
    height = max(4.8, 1.5 + LINE * lines)
    front = _front([row for _, row in rows])
    dataset = table[0].scores[0][0].dataset
    alt = _alt(dataset, rows, front, places)
    figure = sheet(WIDTH, height, f"Accuracy against time on {dataset}", caption, alt)
    axes = figure.add_subplot()
    markers = {block.title: MARKERS[i % len(MARKERS)] for i, block in enumerate(table)}
    for title, row in rows:
        marker = "v" if id(row) in far else markers[title]
        (dot,) = axes.plot(*_spot(row, low), marker, color=method_info(row.method).colour, markersize=7.5)
        set_tooltip(dot, row_tip(title, row, places))
        if row in front:
            dot.set(markeredgecolor=INK, markeredgewidth=1.1, zorder=4)
        else:
            dot.set(markeredgecolor="white", markeredgewidth=0.7, zorder=3)
    steps = np.array([_spot(row, low) for row in front])
    axes.step(steps[:, 0], steps[:, 1], where="post", color=MUTED, linewidth=1.0, zorder=1)
    axes.set_xscale("log")
    axes.margins(x=0.1, y=0.12)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, -3), min(top, 103))
    _second_ticks(axes, [_spot(row, low)[0] for _, row in rows])
    axes.set_xlabel("cold seconds (log scale)")
    axes.set_ylabel("test top-1, %")
    if not direct:  # a name at every dot would not fit
        keys = [_key("s", method_info(name).colour, method_info(name).short) for name in methods]
        keys += [_key("", "none", ""), *(_key(marker, MUTED, titles[title]) for title, marker in markers.items())]
        axes.legend(handles=keys, loc="upper left", bbox_to_anchor=(1.01, 1.02), handletextpad=0.2, labelspacing=0.6)
    names = [far.get(id(row), name(TitledRow(title, row, ())) if direct else "") for title, row in rows]
    _label(figure, axes, [_spot(row, low) for _, row in rows], names, steps)
    return figure


def _alt(dataset: str, rows: Sequence[tuple[str, Row]], front: Sequence[Row], places: int) -> str:
    best = [
        f"{row.short} on {title}, {percent(row.top1, places)} % in {seconds(row.cold_seconds)} s"
        for best_row in front
        for title, row in rows
        if row is best_row
    ]
    return (
        f"Test accuracy of {len(rows)} rows on {dataset} against their cold time. "
        f"No other row beats these in both, the fastest first: {'; '.join(best)}."
    )


def _spot(row: Row, low: float) -> Spot:
    return max(row.cold_seconds, _LEAST), max(100 * row.top1, low)


def _front(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that no other beats in both accuracy and time, the fastest first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.cold_seconds, -row.top1)):
        if not front or row.top1 > front[-1].top1:
            front.append(row)
    return front


def _key(marker: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, color=colour, label=label)


def _second_ticks(axes: Axes, values: Sequence[float]) -> None:
    narrow = max(values) < 100 * min(values)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: seconds(x)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _label(figure: Sheet, axes: Axes, spots: Sequence[Spot], names: Sequence[str], steps: DoubleArray) -> None:
    """Write each name near its spot, clear of other names, spots and steps."""
    labels = [Label(name, spot, INK, MUTED) for name, spot in zip(names, spots, strict=True) if name]
    if not labels:
        return
    figure.draw_without_rendering()  # settles the layout, so that data have their final pixels
    points, corners = (axes.transData.transform(np.array(x)) for x in (spots, steps))
    turns = np.stack([corners[1:, 0], corners[:-1, 1]], axis=1)  # a step goes right, then up
    lines = [_boxes(corners[:-1], turns), _boxes(turns, corners[1:])]
    obstacles = np.concatenate([np.concatenate([points - _DOT, points + _DOT], axis=1), *lines])
    write_labels(axes, labels, obstacles, near=2 * _DOT, gap=_GAP)


def _boxes(one: DoubleArray, other: DoubleArray) -> DoubleArray:
    thin = np.array([-1.0, -1.0, 1.0, 1.0])
    boxes: DoubleArray = np.concatenate([np.minimum(one, other), np.maximum(one, other)], axis=1) + thin
    return boxes
