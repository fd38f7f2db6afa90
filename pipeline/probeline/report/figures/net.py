"""Figures of a net: its stages as a table with bars, and the values of its input before and after normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from probeline.format import count
from probeline.report.figures.sheet import Sheet
from probeline.report.figures.style import INK, MUTED, SERIES, SIZE, SMALL, WIDTH
from probeline.text import printable
from probeline.types import DoubleArray, IntArray

_LINE = 0.24
"""Inches per stage."""

_CHANNELS = (("red", "#C4161C", "-"), ("green", "#00783E", "--"), ("blue", "#1F5FBF", "-."))

_BINS = 32
"""Of 256 grey levels, eight each."""

_LONGEST = 34
"""Characters of a module's path; a longer one is cut at its start."""

_COLUMNS = (0.0, 0.34, 0.52, 0.80)
"""Where the columns begin, as shares of the width."""

_BARS = (0.61, 0.77)
"""Where the bars of the parameters begin, and where the longest ends."""


class StageLine(NamedTuple):
    """A line of the table: module, shape of the output, parameters, and what is trained from here up."""

    module: str
    shape: Sequence[int]
    parameters: int
    trained: int
    strategy: str


def anatomy(title: str, stages: Sequence[StageLine], head: int) -> Sheet:
    """Return the stages from the image down to the head, with a bar for the parameters of each."""
    lines = [*stages, StageLine("head", (), head, head, "head")]
    figure = Sheet(WIDTH, _LINE * (len(lines) + 1.8) + 0.5, title)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(len(lines) + 0.4, -1.2))
    most = max(line.parameters for line in lines)
    heads = ("stage", "output", "parameters", "trained from here up")
    for left, head_text in zip(_COLUMNS, heads, strict=True):
        axes.text(left, -0.75, head_text, va="center", fontsize=SMALL, color=MUTED)
    for place, line in enumerate(lines):
        module = line.module if len(line.module) <= _LONGEST else "…" + line.module[1 - _LONGEST :]
        axes.text(_COLUMNS[0], place, printable(module), va="center", fontsize=SIZE, color=INK)
        shape = " x ".join(f"{side:,}" for side in line.shape)
        axes.text(_COLUMNS[1], place, shape, va="center", fontsize=SIZE, color=INK)
        axes.text(_COLUMNS[2], place, count(line.parameters), va="center", fontsize=SIZE, color=INK)
        width = (_BARS[1] - _BARS[0]) * line.parameters / most
        axes.barh(place, width, left=_BARS[0], height=0.7, color=SERIES[5], linewidth=0)
        trained = f"{count(line.trained)}  {line.strategy}"
        axes.text(_COLUMNS[3], place, trained, va="center", fontsize=SIZE, color=INK)
    return figure


def input_values(title: str, counts: IntArray, values: DoubleArray) -> Sheet:
    """Return histograms of three channels side by side: by grey level, and by the value that each becomes.

    `counts` is int64 [3, 256], `values` float64 [3, 256].
    """
    figure = Sheet(WIDTH, 3.0, title)
    before, after = figure.subplots(1, 2, sharey=True)
    shares = counts.reshape(3, _BINS, -1).sum(axis=2) / counts.sum(axis=1, keepdims=True)
    levels = np.arange(256.0)
    for axes, places in ((before, [levels] * 3), (after, list(values))):
        for (name, colour, dash), share, own in zip(_CHANNELS, shares, places, strict=True):
            step = (own[-1] - own[0]) / 255
            edges = np.linspace(own[0] - step / 2, own[-1] + step / 2, _BINS + 1)
            axes.stairs(100 * share, edges, color=colour, linestyle=dash, linewidth=1.3, label=name)
    before.set(title="before", xlabel="grey level", ylabel="% of the pixels")
    after.set(title="after normalisation", xlabel="input value")
    after.axvline(0, color=MUTED, linewidth=0.8)
    before.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.0)
    return figure
