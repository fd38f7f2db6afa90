"""What more labels would give: test top-1 of the exact probe against the images it is fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from probeline.records import Curve
from probeline.report.figures.sheet import legend_label, sheet, span
from probeline.report.figures.style import DASHES, LINE, MARKERS, SMALL, WIDTH
from probeline.report.learning import Step, curve_titles, steps
from probeline.report.methods import METHODS

_COLOURS = tuple(dict.fromkeys(method.colour for method in METHODS))
"""One for each backbone: there is one method here. Those of all methods, which colour-blind readers can tell apart."""

_DIRECT = 6
"""Up to so many curves, names stand at their ends; more go into a legend."""


def learning(curves: Sequence[Curve]) -> Figure:
    """Return one panel over fractions and one over shots, those there are; at least one curve."""
    kinds = [kind for kind in ("fraction", "shots") if any(_of(curve, kind) for curve in curves)]
    every = [step for curve in curves for step in steps(curve)]
    caption = (
        "Exact linear probe on nested, stratified parts of the train images, at least one of each class. Line and "
        f"band: mean, lowest and highest of up to {max(step.draws for step in every)} draws."
    )
    if any(step.interval for step in every):
        caption += " Bar: Wilson's 95 % interval of a single draw, for other test images."
    caption += (
        f" n = {span(curve.n_test for curve in curves)} test images. Each l2 is chosen on the same "
        f"{span(curve.n_val for curve in curves)} val images, not fewer for smaller parts."
    )
    if not all(step.converged for step in every):
        caption += " Hollow: a fit stopped before its tolerance."
    titles = [legend_label(title) for title in curve_titles(curves)]
    lines = sum(title.count("\n") + 1 for title in titles)
    title = f"What more labelled images give on {curves[0].dataset}"
    figure = sheet(WIDTH, max(4.0, 1.5 + LINE * lines), title, caption)
    panels = figure.subplots(1, len(kinds), squeeze=False, sharey=True, width_ratios=_widths(curves, kinds))[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for i, curve in enumerate(curves):
            _line(axes, _of(curve, kind), i)
        _ticks(axes, [step for curve in curves for step in _of(curve, kind)])
        axes.set_xlabel("train images (log scale)" if kind == "fraction" else "images a class (log scale)")
    panels[0].set_ylabel("test top-1, %")
    if len(curves) > 1:
        keys = [axes_line for axes_line in panels[0].get_lines() if axes_line.get_gid() == "curve"]
        figure.legend(keys, titles, loc="outside right upper", handlelength=2.5)
    return figure


def _of(curve: Curve, kind: str) -> list[Step]:
    return [step for step in steps(curve) if step.kind == kind]


def _widths(curves: Sequence[Curve], kinds: Sequence[str]) -> list[int]:
    """Return the widths of the panels: a place for each step, and room for the ends."""
    return [2 + max(len(_of(curve, kind)) for curve in curves) for kind in kinds]


def _x(step: Step) -> float:
    return step.amount if step.kind == "shots" else sum(step.n_train) / 2


def _line(axes: Axes, found: Sequence[Step], i: int) -> None:
    if not found:
        return
    colour = _COLOURS[i % len(_COLOURS)]
    x = [_x(step) for step in found]
    low, high = (np.array([100 * step.range[end] for step in found]) for end in (0, 1))
    axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    style: dict[str, Any] = {"color": colour, "linestyle": DASHES[i // len(_COLOURS) % len(DASHES)], "linewidth": 1.5}
    marker: dict[str, Any] = {"marker": MARKERS[i % len(MARKERS)], "markersize": 4.5, "markeredgewidth": 1.1}
    axes.plot(x, [100 * step.mean for step in found], **style, **marker, gid="curve")
    for step in found:
        if not step.converged:
            hollow = {**marker, "markerfacecolor": "white"}
            axes.plot(_x(step), 100 * step.mean, color=colour, **hollow, zorder=3)
        if step.interval is not None:
            ends = [100 * end for end in step.interval]
            axes.plot([_x(step)] * 2, ends, color=colour, linewidth=1.1, marker="_", markersize=5, zorder=1)


def _ticks(axes: Axes, found: Sequence[Step]) -> None:
    """Mark the steps themselves along the axis, each with its images and its share."""
    axes.set_xscale("log")
    names = {
        _x(step): step.title.removesuffix(" a class") if step.kind == "shots" else f"{_x(step):,.0f}\n{step.title}"
        for step in found
    }
    axes.set_xticks(list(names), list(names.values()), fontsize=SMALL)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.07)
