"""Learning-rate range tests: the loss while the rate rises with each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from probeline.metrics.lr_range import EARLY, HIGHEST, LOWEST, SMOOTHING, smooth_curve
from probeline.report.figures.sheet import Sheet, legend_label, sheet
from probeline.report.figures.style import INK, MUTED, WIDTH
from probeline.report.records.range_tests import range_test_titles, suggest_rates, suggestion_in_words
from probeline.results.methods import method_info
from probeline.results.range_test import RangeTest

_ABOVE = 0.4
"""Room above the first losses, as a share of how far the loss falls below them; higher losses are cut off."""


def range_tests(tests: Sequence[RangeTest]) -> Sheet:
    """Return a panel for each test; at least one."""
    columns = min(2, len(tests))
    rows = -(-len(tests) // columns)
    caption = (
        "The first steps of a training while the rate rises. Thin: the loss of each batch, before its step. "
        f"Thick: its exponential mean (factor {SMOOTHING:g} per step). Dot and line: where that falls fastest. "
        "Triangle and dashed line: a tenth of the rate at which it is lowest, the ring. "
        "No mark: no fall beyond the scatter."
    )
    names = [legend_label(title) for title in range_test_titles(tests)]
    lines = max(name.count("\n") for name in names)
    title = f"Learning-rate range tests on {tests[0].dataset}"
    suggestions = (
        f"{name}: {suggestion_in_words(test)}" for name, test in zip(range_test_titles(tests), tests, strict=True)
    )
    alt = f"Train loss over a rising learning rate. {'; '.join(suggestions)}."
    figure = sheet(WIDTH, 1.3 + rows * (2.1 + 0.14 * lines + (0.6 if columns == 1 else 0.0)), title, caption, alt)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, test, name in zip(panels.flat, tests, names, strict=False):
        axes.set_title(name, color=method_info(test.method).colour)
        _panel(axes, test)
    for axes in panels.flat[len(tests) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("train loss")
    for axes in panels.flat[max(0, len(tests) - columns) : len(tests)]:
        axes.set_xlabel("learning rate (log scale)")
    return figure


def _panel(axes: Axes, test: RangeTest) -> None:
    colour = method_info(test.method).colour
    at, means = smooth_curve(test.rates, test.losses)
    axes.plot(test.rates, test.losses, color=MUTED, linewidth=0.6)
    axes.plot(at, means, color=colour, linewidth=1.6)
    rates = suggest_rates(test)
    if rates is not None:
        for rate, mark, dash in ((rates.steepest, "o", "-"), (rates.tenth, "v", "--")):
            axes.axvline(rate, color=colour, linewidth=0.8, linestyle=dash, zorder=1)
            axes.plot(rate, np.interp(rate, at, means), mark, color=colour, markersize=5.5, zorder=4)
        ring: dict[str, Any] = {"color": INK, "markerfacecolor": "none", "markersize": 9, "zorder": 4}
        axes.plot(rates.lowest, means.min(), "o", **ring)
    axes.set_xscale("log")
    axes.set_xlim(LOWEST / 1.5, HIGHEST * 1.5)
    axes.xaxis.set_major_locator(LogLocator(numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}".replace("e-0", "e-")))
    axes.xaxis.set_minor_locator(NullLocator())
    if test.losses:
        axes.set_ylim(*_limits(test.losses))


def _limits(losses: Sequence[float]) -> tuple[float, float]:
    """Return the lowest and highest loss that a panel shows."""
    low, high = min(losses), max(losses[:EARLY])
    fall = max(high - low, 0.1 * high, 1e-6)
    return low - 0.1 * fall, high + _ABOVE * fall
