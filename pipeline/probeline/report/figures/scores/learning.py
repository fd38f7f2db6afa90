"""Learning curves: test top-1 over the number of train images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from probeline.format import decimals, percent
from probeline.names import Method
from probeline.report.figures.labels import Label, write_labels
from probeline.report.figures.sheet import Sheet, legend_label, sheet, span
from probeline.report.figures.style import DASHES, DPI, LINE, MARKERS, SERIES, SMALL, WIDTH
from probeline.report.records.learning_steps import Step, curve_titles, steps
from probeline.results.curve import Curve
from probeline.types import DoubleArray

_NAMED = 4
"""More curves have a legend instead of names."""

_NEAR, _GAP = DPI / 20, DPI / 40
"""Pixels: how far a name may be without a tie, and the room around it."""

_PIECES = 8
"""Boxes of a stretch of a curve, which no name may cover."""

_TICK = 0.1
"""Tick labels that are nearer to the next than this share of the axis are left out."""


def learning(curves: Sequence[Curve]) -> Sheet:
    """Return one panel over fractions and one over shots, those there are; at least one curve."""
    kinds = [kind for kind in ("fraction", "shots") if any(_of(curve, kind) for curve in curves)]
    all_steps = [step for curve in curves for step in steps(curve)]
    titles = [legend_label(title) for title in curve_titles(curves)]
    lines = sum(title.count("\n") + 1 for title in titles)
    title = f"Learning curves on {curves[0].dataset}"
    figure = sheet(WIDTH, max(4.0, 1.5 + LINE * lines), title, _caption(curves, all_steps), _alt(curves))
    panels = figure.subplots(1, len(kinds), squeeze=False, sharey=True, width_ratios=_widths(curves, kinds))[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for i, curve in enumerate(curves):
            _line(axes, _of(curve, kind), i, alpha=0.16 if len(curves) <= _NAMED else 0.07)
        _ticks(axes, [step for curve in curves for step in _of(curve, kind)])
        axes.set_xlabel("train images (log scale)" if kind == "fraction" else "images per class (log scale)")
    panels[0].set_ylabel("test top-1, %")
    panels[0].margins(y=0.08)
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(max(low, -3), min(high, 103))
    if len(curves) <= _NAMED:
        _name(figure, panels[0], [_of(curve, kinds[0]) for curve in curves], titles)
    else:
        keys = [line for line in panels[0].get_lines() if line.get_gid() == "curve"]
        figure.legend(keys, titles, loc="outside right upper", handlelength=2.5)
    return figure


def _caption(curves: Sequence[Curve], all_steps: Sequence[Step]) -> str:
    draws = max(step.draws for step in all_steps)
    probe = "Exact linear probe on n" if all(curve.method == Method.PROBE for curve in curves) else "N"
    caption = f"{probe}ested, stratified subsets of the train images. "
    caption += f"Line and band: mean, and lowest to highest of {draws} draws. " if draws > 1 else "One draw. "
    if any(step.interval for step in all_steps):
        caption += "Bar: Wilson's 95 % interval of a single draw. "
    caption += f"n = {span(curve.n_test for curve in curves)} test images."
    return caption + (
        "" if all(step.converged for step in all_steps) else " Hollow: a fit stopped before its tolerance."
    )


def _alt(curves: Sequence[Curve]) -> str:
    lines = []
    for curve, title in zip(curves, curve_titles(curves), strict=True):
        found = sorted(steps(curve), key=lambda step: step.n_train)
        first, last = (
            f"{percent(step.mean, decimals([curve.n_test]))} % at {step.images} images"
            for step in (found[0], found[-1])
        )
        lines.append(f"{title}: {first}, {last}")
    return f"Test accuracy on {curves[0].dataset} over the number of train images. {'; '.join(lines)}."


def _of(curve: Curve, kind: str) -> list[Step]:
    return [step for step in steps(curve) if step.kind == kind]


def _widths(curves: Sequence[Curve], kinds: Sequence[str]) -> list[int]:
    """Return the widths of the panels: a place for each step, and room for the ends."""
    return [2 + max(len(_of(curve, kind)) for curve in curves) for kind in kinds]


def _x(step: Step) -> float:
    return step.amount if step.kind == "shots" else sum(step.n_train) / 2


def _colour(i: int) -> str:
    return SERIES[i % len(SERIES)]


def _line(axes: Axes, curve_steps: Sequence[Step], i: int, alpha: float) -> None:
    x = [_x(step) for step in curve_steps]
    low, high = (np.array([100 * step.range[end] for step in curve_steps]) for end in (0, 1))
    axes.fill_between(x, low, high, color=_colour(i), alpha=alpha, linewidth=0)
    dash = DASHES[i // len(SERIES) % len(DASHES)]
    style: dict[str, Any] = {"color": _colour(i), "marker": MARKERS[i % len(MARKERS)], "markersize": 4.5}
    axes.plot(x, [100 * step.mean for step in curve_steps], **style, linestyle=dash, linewidth=1.5, gid="curve")
    for step in curve_steps:
        if not step.converged:
            axes.plot(_x(step), 100 * step.mean, **style, markerfacecolor="white", zorder=3)
        if step.interval is not None:
            ends = [100 * end for end in step.interval]
            axes.plot([_x(step)] * 2, ends, color=_colour(i), linewidth=1.1, marker="_", markersize=5, zorder=1)


def _ticks(axes: Axes, all_steps: Sequence[Step]) -> None:
    """Mark the steps themselves along the axis, each with its images and its share, the largest first.

    Few images and many classes: several shares may be one and the same set of images.
    """
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


def _name(figure: Sheet, axes: Axes, curves: Sequence[Sequence[Step]], titles: Sequence[str]) -> None:
    """Write each curve's name near its middle, clear of all curves."""
    figure.draw_without_rendering()  # settles the layout, so that data have their final pixels
    labels = []
    for i, (curve, title) in enumerate(zip(curves, titles, strict=True)):
        if curve:
            middle = curve[len(curve) // 2]
            labels.append(Label(title, (_x(middle), 100 * middle.mean), _colour(i), _colour(i)))
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
    boxes = [[*(bottom - half), *(top + half)] for bottom, top in zip(low, high, strict=True)]
    for (low_a, high_a), (low_b, high_b) in pairwise(zip(low, high, strict=True)):
        for piece in range(_PIECES):
            bottoms, tops = (
                np.stack([a + (b - a) * share for share in (piece / _PIECES, (piece + 1) / _PIECES)])
                for a, b in ((low_a, low_b), (high_a, high_b))
            )
            boxes.append([bottoms[0, 0], bottoms[:, 1].min() - 2, bottoms[1, 0], tops[:, 1].max() + 2])
    return np.array(boxes)
