"""Accuracy against cold time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from probeline.format import decimals, percent, seconds
from probeline.report.figures.labels import Label, write_labels
from probeline.report.figures.sheet import Sheet, legend_height, legend_label, set_tooltip, span
from probeline.report.figures.style import DPI, INK, MARKERS, MUTED, WIDTH
from probeline.report.model.axis import lower_limit
from probeline.report.model.row import Block, Row, row_naming, row_tip, titled_rows
from probeline.results.methods import method_info, order
from probeline.types import DoubleArray

_NAMED = 24
"""More rows, or those of several nets, have a legend instead of names."""

MIN_SECONDS = 1e-3
"""Of an axis; a logarithm has no zero."""

_DOT, _GAP = DPI / 17, DPI / 40
"""Pixels: half a marker, and what stays clear around a name."""


def cost(table: Sequence[Block]) -> Sheet | None:
    """Return top-1 against cold seconds with the Pareto front, or None for a single row."""
    titled, name = titled_rows(table), row_naming(table)
    rows = [row for _, row, _ in titled]
    if len(rows) < 2:
        return None
    caption = (
        "Cold time includes feature extraction. The line joins the rows, outlined, that no other beats in both "
        "accuracy and time. "
        f"n = {span(row.n_test for row in rows)} test images"
        + ("; means over seeds." if any(row.seeds > 1 for row in rows) else ".")
    )
    low = 100 * lower_limit([row.top1 for row in rows])
    places = decimals(row.n_test for row in rows)
    is_named = len(table) == 1 and len(rows) <= _NAMED
    names = [name(titled_row) if is_named else "" for titled_row in titled]
    for i, row in enumerate(rows):
        if 100 * row.top1 < low:
            names[i] = f"{names[i] or row.short} {percent(row.top1, places)}"
    if low:
        caption += " A triangle: far lower, with its top-1 beside it."
    methods = sorted({row.method for row in rows}, key=order)
    titles = {title: legend_label(title) for title, _, _ in titled}
    height = max(4.8, 1.5 + legend_height([*methods, *titles.values()]))
    front = _front(rows)
    dataset = table[0].scores[0][0].dataset
    best = "; ".join(
        f"{row.short} on {title}, {percent(row.top1, places)} % in {seconds(row.cold_seconds)} s"
        for title, row, _ in sorted(titled, key=lambda titled_row: titled_row.row.cold_seconds)
        if row in front
    )
    alt = (
        f"Test accuracy of {len(rows)} rows on {dataset} against their cold time. "
        f"No other row beats these in both, the fastest first: {best}."
    )
    figure = Sheet(WIDTH, height, f"Accuracy against time on {dataset}", caption, alt)
    axes = figure.add_subplot()
    markers = {title: MARKERS[i % len(MARKERS)] for i, title in enumerate(titles)}
    for title, row, _ in titled:
        marker = "v" if 100 * row.top1 < low else markers[title]
        (dot,) = axes.plot(*_spot(row, low), marker, color=method_info(row.method).colour, markersize=7.5)
        set_tooltip(dot, row_tip(title, row, places))
        if row in front:
            dot.set(markeredgecolor=INK, markeredgewidth=1.1, zorder=4)
        else:
            dot.set(markeredgecolor="white", markeredgewidth=0.7, zorder=3)
    spots = [_spot(row, low) for row in rows]
    steps = np.array([_spot(row, low) for row in front])
    axes.step(steps[:, 0], steps[:, 1], where="post", color=MUTED, linewidth=1.0, zorder=1)
    axes.set_xscale("log")
    axes.margins(x=0.1, y=0.12)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, -3), min(top, 103))
    times = [x for x, _ in spots]
    second_ticks(axes, (1.0, 2.0, 5.0) if max(times) < 100 * min(times) else (1.0,))
    axes.set_xlabel("cold seconds (log scale)")
    axes.set_ylabel("test top-1, %")
    if not is_named:  # a name at every dot would not fit
        marks = [("s", method_info(method).colour, method_info(method).short) for method in methods]
        marks += [("", "none", ""), *((marker, MUTED, titles[title]) for title, marker in markers.items())]
        keys = [Line2D([], [], linestyle="", marker=marker, color=colour, label=text) for marker, colour, text in marks]
        axes.legend(handles=keys, loc="upper left", bbox_to_anchor=(1.01, 1.02), handletextpad=0.2, labelspacing=0.6)
    labels = [Label(text, spot, INK, MUTED) for text, spot in zip(names, spots, strict=True) if text]
    if labels:
        _write_names(figure, axes, labels, np.array(spots), steps)
    return figure


def _spot(row: Row, low: float) -> tuple[float, float]:
    return max(row.cold_seconds, MIN_SECONDS), max(100 * row.top1, low)


def _front(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that no other beats in both accuracy and time, the fastest first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.cold_seconds, -row.top1)):
        if not front or row.top1 > front[-1].top1:
            front.append(row)
    return front


def second_ticks(axes: Axes, steps: Sequence[float]) -> None:
    """Label seconds along a logarithmic axis, at these multiples of powers of ten."""
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: seconds(x)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _write_names(figure: Sheet, axes: Axes, labels: Sequence[Label], spots: DoubleArray, steps: DoubleArray) -> None:
    """Write each name near its spot, clear of other names, spots and steps."""
    figure.draw_without_rendering()  # the layout must be settled
    points, corners = (axes.transData.transform(x) for x in (spots, steps))
    turns = np.stack([corners[1:, 0], corners[:-1, 1]], axis=1)  # a step goes right, then up
    obstacles = [np.concatenate([points - _DOT, points + _DOT], axis=1)]
    for start, end in ((corners[:-1], turns), (turns, corners[1:])):
        obstacles.append(np.concatenate([np.minimum(start, end) - 1, np.maximum(start, end) + 1], axis=1))
    write_labels(axes, labels, np.concatenate(obstacles), near=2 * _DOT, gap=_GAP)
