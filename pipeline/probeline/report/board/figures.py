"""The figures of a board: the critical-difference diagram, and accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from probeline.format import abridge, count, percent, plural, probability, seconds
from probeline.report.board.board import Board
from probeline.report.board.cost import Cost, costs
from probeline.report.board.standing import RankTests, Standing
from probeline.report.board.verdict import rank
from probeline.report.figures.inline import inline
from probeline.report.figures.sheet import Sheet, default_look, png, set_tooltip, svg
from probeline.report.figures.style import INK, LINE, MARKERS, MUTED, SERIES, SIZE, SMALL, WIDTH
from probeline.report.folder import FIGURES
from probeline.report.model.content import ReportFigure
from probeline.report.model.differences import LEVEL
from probeline.text import printable

_LONGEST = 36
"""Characters of a title in a figure; longer ones lose their middle, as their ends tell them apart."""

_STEP = 0.24
"""Inches from one title to the next."""

_PANEL = 2.5
"""Inches of a panel from top to bottom."""


def draw(board: Board) -> list[tuple[ReportFigure, bytes]]:
    """Return the figures that a board has data for, each with the bytes of its PNG file; nothing is written."""
    figures = []
    with default_look():
        for name, sheet in _sheets(board):
            file = board.folder / FIGURES / f"{name}.png"
            element = inline(svg(sheet), name, sheet.alt)
            figures.append((ReportFigure(name, file, sheet.headline, sheet.caption, element), png(sheet)))
    return figures


def _sheets(board: Board) -> list[tuple[str, Sheet]]:
    standing = board.standing
    sheets = []
    if standing is not None and standing.tests is not None:
        sheets.append(("critical-difference", critical_difference(board, standing, standing.tests)))
    if standing is not None and len(standing.nets) > 1 and (known := costs(standing, board.records.latencies)):
        sheets.append(("cost", cost(board, standing, known)))
    return sheets


def _cut(title: str) -> str:
    """Return a title for which its row or the legend has room."""
    return abridge(printable(title), _LONGEST)


def critical_difference(board: Board, standing: Standing, tests: RankTests) -> Sheet:
    """Return the mean ranks on an axis, the best at the left, with bars over nets that do not differ significantly.

    References
    ----------
    Demsar 2006, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, figure 1.
    """
    n, k = len(standing.datasets), len(standing.nets)
    titles = [_cut(board.titles[one.net]) for one in standing.nets]
    means = [one.mean_rank for one in standing.nets]
    caption = (
        f"Mean rank of test top-1 over {n} data sets; 1 is the best. A bar joins backbones whose mean ranks differ by "
        f"less than Nemenyi's critical difference (CD) of {rank(tests.critical_difference)} at {LEVEL}. "
        f"Friedman's test: {probability(tests.friedman.p)}"
        + ("." if tests.friedman.p < LEVEL else ", so that no difference is significant.")
    )
    order = ", ".join(f"{title} {rank(mean)}" for title, mean in zip(titles, means, strict=True))
    joined = "; ".join(f"{titles[first]} to {titles[last]}" for first, last in tests.groups) or "none"
    alt = f"Mean ranks of {k} backbones over {n} data sets, the best first: {order}. Joined by a bar: {joined}."
    half = ceil(k / 2)
    below = 0.5 + 0.35 * len(tests.groups)
    bottom = below + half
    sheet = Sheet(WIDTH, 1.35 + _STEP * (bottom + 2.2), "Mean ranks over data sets", caption, alt)
    axes = sheet.add_subplot()
    axes.set_axis_off()
    low, high = 1.0, float(k)
    room = 0.55 * (high - low)
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(bottom + 0.4, -2.2)
    axes.plot([low, high], [0, 0], color=INK, linewidth=1.0)
    for tick in range(1, k + 1):
        axes.plot([tick, tick], [0, -0.22], color=INK, linewidth=1.0)
        axes.text(tick, -0.35, str(tick), ha="center", va="bottom", fontsize=SIZE)
    _ruler(axes, low, tests.critical_difference, high + room)
    for i, (first, last) in enumerate(tests.groups):
        y = 0.35 + 0.35 * i
        pad = 0.012 * (high - low)
        axes.plot(
            [means[first] - pad, means[last] + pad], [y, y], color=INK, linewidth=3.2, solid_capstyle="round", zorder=3
        )
    for i, (title, mean) in enumerate(zip(titles, means, strict=True)):
        is_left = i < half
        y = below + (i + 1 if is_left else k - i) - 0.3
        end = low - 0.04 * (high - low) if is_left else high + 0.04 * (high - low)
        axes.plot([mean, mean, end], [0, y, y], color=MUTED, linewidth=0.8, zorder=1)
        (dot,) = axes.plot(mean, 0, "o", color=SERIES[0], markersize=4.5, zorder=4)
        axes.text(
            end + (-0.01 if is_left else 0.01) * (high - low),
            y,
            f"{title}  {rank(mean)}" if is_left else f"{rank(mean)}  {title}",
            ha="right" if is_left else "left",
            va="center_baseline",
            fontsize=SIZE,
        )
        set_tooltip(dot, _tooltip(board, standing, i))
    return sheet


def _ruler(axes: Axes, low: float, difference: float, most: float) -> None:
    """Draw the length of the critical difference above the axis; one without an end mark is longer than the figure."""
    end, y = min(low + difference, most), -1.5
    axes.plot([low, end], [y, y], color=MUTED, linewidth=1.2)
    for x in [low] if end < low + difference else [low, end]:
        axes.plot([x, x], [y - 0.15, y + 0.15], color=MUTED, linewidth=1.2)
    text = f"CD {rank(difference)}"
    axes.text((low + end) / 2, y - 0.2, text, ha="center", va="bottom", fontsize=SMALL, color=MUTED)


def _tooltip(board: Board, standing: Standing, i: int) -> str:
    one = standing.nets[i]
    own = ", ".join(
        f"{data.name} {percent(entry.row.top1, board.places)} %"
        for data, entry in zip(standing.datasets, one.entries, strict=True)
    )
    return f"{board.titles[one.net]}: mean rank {rank(one.mean_rank)}, on validation {rank(one.val_rank)}; {own}"


def cost(board: Board, standing: Standing, known: Sequence[Cost]) -> Sheet:
    """Return mean normalised accuracy against each cost, with the nets that no other beats in both joined."""
    places, n = board.places, len(standing.datasets)
    titles = [_cut(board.titles[one.net]) for one in standing.nets]
    caption = (
        f"Mean normalised accuracy, where 0 is chance, over {plural(n, 'data set')}, with its 95 % interval for other "
        "test images. "
        "Seconds are of the shown rows, all data sets together. The line joins the backbones, outlined, that no other "
        "beats in both accuracy and cost."
    )
    fronts = "; ".join(
        f"{one.name}: {', '.join(board.titles[standing.nets[i].net] for i in one.front)}" for one in known
    )
    alt = f"Accuracy of {len(titles)} backbones against their cost. No other beats these, the cheapest first: {fronts}."
    columns = min(len(known), 2)
    lines = ceil(len(known) / columns)
    keys = [
        Line2D([], [], linestyle="", marker=_marker(i), color=_colour(i), label=title) for i, title in enumerate(titles)
    ]
    height = LINE * ceil(len(titles) / 2) + LINE  # of a legend in two columns
    is_free = len(known) < lines * columns and LINE * len(titles) < _PANEL  # a panel that the legend fits into
    below = [] if is_free else [height]
    sheet = Sheet(WIDTH, 1.2 + _PANEL * lines + sum(below), "Accuracy against cost", caption, alt)
    grid = sheet.add_gridspec(lines + len(below), columns, height_ratios=[*[_PANEL] * lines, *below])
    first: Axes | None = None
    for i, one in enumerate(known):
        axes = sheet.add_subplot(grid[divmod(i, columns)], sharey=first)
        first = first or axes
        _panel(axes, board, standing, one)
        axes.tick_params(labelleft=i % columns == 0)
        if i % columns == 0:
            axes.set_ylabel("mean normalised, %")
    legend = sheet.add_subplot(grid[lines - 1, columns - 1] if is_free else grid[lines, :])
    legend.set_axis_off()
    look: dict[str, Any] = {"handletextpad": 0.2, "fontsize": SIZE, "borderaxespad": 0.0}
    legend.legend(handles=keys, loc="upper left", ncols=1 if is_free else 2, **look)
    sheet.alt += f" Highest: {percent(max(one.normalised for one in standing.nets), places)} %."
    return sheet


def _marker(i: int) -> str:
    return MARKERS[i % len(MARKERS)]


def _colour(i: int) -> str:
    return SERIES[i % len(SERIES)]


def _panel(axes: Axes, board: Board, standing: Standing, one: Cost) -> None:
    places = board.places
    floor_of_cost = min((value for value in one.values if value > 0), default=1.0) / 10
    spots = [
        (max(value, floor_of_cost), 100 * net.normalised) for value, net in zip(one.values, standing.nets, strict=True)
    ]
    if len(one.front) > 1:
        steps = [spots[i] for i in one.front]
        axes.step([x for x, _ in steps], [y for _, y in steps], where="post", color=MUTED, linewidth=1.0, zorder=1)
    for i, (spot, net) in enumerate(zip(spots, standing.nets, strict=True)):
        ends = [100 * end for end in net.normalised_interval]
        axes.plot([spot[0], spot[0]], ends, color=_colour(i), linewidth=1.4, zorder=2)
        (dot,) = axes.plot(*spot, _marker(i), color=_colour(i), markersize=7, zorder=3)
        is_front = i in one.front
        dot.set(markeredgecolor=INK if is_front else "white", markeredgewidth=1.1 if is_front else 0.7)
        set_tooltip(
            dot,
            f"{board.titles[net.net]}: {percent(net.normalised, places)} % normalised, {one.name} "
            f"{_amount(one, one.values[i])}",
        )
    axes.set_xscale("log")
    low, high = min(x for x, _ in spots), max(x for x, _ in spots)
    axes.set_xlim(low / 1.8, high * 1.8)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 30 * low else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _amount(one, x)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    bottom, top = axes.get_ylim()
    axes.set_ylim(floor(bottom), min(ceil(top), 101))
    axes.set_xlabel(f"{one.name} (log scale)")


def _amount(one: Cost, value: float) -> str:
    if one.unit == "s":
        return f"{seconds(value)} s"
    return f"{value:,.0f} MB" if one.unit == "MB" else count(round(value))
