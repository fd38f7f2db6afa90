"""Learning curves: test top-1 over the number of train images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from probeline.format import decimals, percent
from probeline.names import Method
from probeline.report.figures.labels import Label, write_labels
from probeline.report.figures.sheet import Sheet, legend_height, legend_label, span
from probeline.report.figures.style import DASHES, DPI, MARKERS, SERIES, SMALL, WIDTH
from probeline.report.records.learning_steps import Step, curve_titles, steps
from probeline.results.curve import Curve
from probeline.types import DoubleArray

_NAMED = 4
"""More curves have a legend instead of names."""

_NEAR, _GAP = DPI / 20, DPI / 40
"""Pixels: how far a name may be without a tie, and the room around it."""

_PIECES = 8
"""Boxes that stand for a stretch of a curve, which no name may cover."""

_TICK = 0.1
"""Tick labels that are nearer to the next than this share of the axis are left out."""


def learning(curves: Sequence[Curve]) -> Sheet:
    """Return a panel over fractions and a panel over shots, if there are any; at least one curve."""
    kinds: dict[str, list[list[Step]]] = {}
    for kind in ("fraction", "shots"):
        lines = [[step for step in steps(curve) if step.kind == kind] for curve in curves]
        if any(lines):
            kinds[kind] = lines
    titles = [legend_label(title) for title in curve_titles(curves)]
    title = f"Learning curves on {curves[0].dataset}"
    figure = Sheet(WIDTH, max(4.0, 1.5 + legend_height(titles)), title, _caption(curves), _alt(curves))
    widths = [2 + max(map(len, lines)) for lines in kinds.values()]  # room for each step, and for the ends
    panels = figure.subplots(1, len(kinds), squeeze=False, sharey=True, width_ratios=widths)[0]
    for axes, (kind, lines) in zip(panels, kinds.items(), strict=True):
        for i, line in enumerate(lines):
            _draw_line(axes, line, i, alpha=0.16 if len(curves) <= _NAMED else 0.07)
        _mark_steps(axes, [step for line in lines for step in line])
        axes.set_xlabel("train images (log scale)" if kind == "fraction" else "images per class (log scale)")
    panels[0].set_ylabel("test top-1, %")
    panels[0].margins(y=0.08)
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(max(low, -3), min(high, 103))
    if len(curves) <= _NAMED:
        _write_names(figure, panels[0], next(iter(kinds.values())), titles)
    else:
        keys = [line for line in panels[0].get_lines() if line.get_gid() == "curve"]
        figure.legend(keys, titles, loc="outside right upper", handlelength=2.5)
    return figure


def _caption(curves: Sequence[Curve]) -> str:
    all_steps = [step for curve in curves for step in steps(curve)]
    draws = max(step.draws for step in all_steps)
    probe = "Exact linear probe on n" if all(curve.method == Method.PROBE for curve in curves) else "N"
    caption = f"{probe}ested, stratified subsets of the train images. "
    caption += f"Line and band: mean, and lowest to highest of {draws} draws. " if draws > 1 else "One draw. "
    if any(step.interval for step in all_steps):
        caption += "Bar: Wilson's 95 % interval of a single draw. "
    caption += f"n = {span(curve.n_test for curve in curves)} test images."
    if not all(step.converged for step in all_steps):
        caption += " Hollow: a fit stopped before its tolerance."
    return caption


def _alt(curves: Sequence[Curve]) -> str:
    lines = []
    for curve, title in zip(curves, curve_titles(curves), strict=True):
        in_order = sorted(steps(curve), key=lambda step: step.n_train)
        first, last = (
            f"{percent(step.mean, decimals([curve.n_test]))} % at {step.images} images"
            for step in (in_order[0], in_order[-1])
        )
        lines.append(f"{title}: {first}, {last}")
    return f"Test accuracy on {curves[0].dataset} over the number of train images. {'; '.join(lines)}."


def _x(step: Step) -> float:
    return step.amount if step.kind == "shots" else sum(step.n_train) / 2


def _draw_line(axes: Axes, curve_steps: Sequence[Step], i: int, alpha: float) -> None:
    x, colour = [_x(step) for step in curve_steps], SERIES[i % len(SERIES)]
    low, high = (np.array([100 * step.range[end] for step in curve_steps]) for end in (0, 1))
    axes.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0)
    dash = DASHES[i // len(SERIES) % len(DASHES)]
    style: dict[str, Any] = {"color": colour, "marker": MARKERS[i % len(MARKERS)], "markersize": 4.5}
    axes.plot(x, [100 * step.mean for step in curve_steps], **style, linestyle=dash, linewidth=1.5, gid="curve")
    for step in curve_steps:
        if not step.converged:
            axes.plot(_x(step), 100 * step.mean, **style, markerfacecolor="white", zorder=3)
        if step.interval is not None:
            ends = [100 * end for end in step.interval]
            axes.plot([_x(step)] * 2, ends, color=colour, linewidth=1.1, marker="_", markersize=5, zorder=1)


def _mark_steps(axes: Axes, all_steps: Sequence[Step]) -> None:
    """Mark the steps along the axis with images and share; of few images, several shares may be the same set."""
    axes.set_xscale("log")
    axes.margins(x=0.07)
    names: dict[float, str] = {}
    width = np.log(max(map(_x, all_steps)) / min(map(_x, all_steps))) or 1.0
    for x in sorted(set(map(_x, all_steps)), reverse=True):
        if not names or np.log(min(names) / x) > _TICK * width:
            here = [step for step in all_steps if _x(step) == x]
            shares = "–".join(f"{amount:g}" for amount in sorted({f(s.amount for s in here) for f in (min, max)}))
            names[x] = shares if here[0].kind == "shots" else f"{x:,.0f}\n{shares} %"
    axes.set_xticks(list(names), list(names.values()), fontsize=SMALL)
    axes.xaxis.set_minor_locator(NullLocator())


def _write_names(figure: Sheet, axes: Axes, curves: Sequence[Sequence[Step]], titles: Sequence[str]) -> None:
    """Write each curve's name near its middle, clear of all curves."""
    figure.draw_without_rendering()  # the layout must be settled
    labels = []
    for i, (curve, title) in enumerate(zip(curves, titles, strict=True)):
        if curve:
            middle = curve[len(curve) // 2]
            labels.append(Label(title, (_x(middle), 100 * middle.mean), SERIES[i], SERIES[i]))
    obstacles = np.concatenate([_boxes(axes, curve) for curve in curves if curve])
    write_labels(axes, labels, obstacles, near=_NEAR, gap=_GAP)


def _boxes(axes: Axes, curve_steps: Sequence[Step]) -> DoubleArray:
    """Return what a curve covers, with its band, interval and markers, as float64 [m, 4] in pixels."""
    ends = [step.interval or step.range for step in curve_steps]
    low, high = (
        axes.transData.transform([(_x(step), 100 * end[side]) for step, end in zip(curve_steps, ends, strict=True)])
        for side in (0, 1)
    )
    half = DPI / 30
    marks = np.concatenate([low - half, high + half], axis=1)
    shares = np.arange(_PIECES + 1)[:, None] / _PIECES
    bottom, top = (line[:-1, None] + np.diff(line, axis=0)[:, None] * shares for line in (low, high))
    lowest = np.minimum(bottom[:, :-1, 1], bottom[:, 1:, 1]) - 2
    highest = np.maximum(top[:, :-1, 1], top[:, 1:, 1]) + 2
    pieces = np.stack([bottom[:, :-1, 0], lowest, bottom[:, 1:, 0], highest], axis=2)
    return np.concatenate([marks, pieces.reshape(-1, 4)])
