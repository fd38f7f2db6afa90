"""Confusion matrices, and accuracy per class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import ScaledTranslation

from probeline.format import percent
from probeline.metrics.scores import confusion
from probeline.report.figures.sheet import Sheet, names
from probeline.report.figures.style import INK, MUTED, SIZE, SMALL
from probeline.report.model.row import Block, Row, reference_block
from probeline.results.methods import method_info
from probeline.results.score import Score
from probeline.types import DoubleArray, IntArray

_LISTED = 20
"""Classes that have room for numbers."""

_SHARED = 12
"""Classes up to which a cell of a confusion matrix has room for a share below its count."""

_TICKED = 120
"""Classes up to which a confusion matrix names them along its sides."""

_PAIRS = 28
"""Most frequent confusions that are listed next to a matrix without numbers."""

_CELLS = 1000
"""Most cells along a side of a confusion matrix, which has some 600 pixels; of more classes a cell is several."""


def confusions(title: str, row: Row, score: Score) -> Sheet:
    """Return the confusion matrix of one score, coloured by the shares of its rows."""
    k = len(score.class_names)
    labels, predictions = np.asarray(score.labels), np.asarray(score.predictions)
    together = math.ceil(k / _CELLS)
    counts = confusion(labels // together, predictions // together, math.ceil(k / together))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shown = names(score.class_names)
    is_numbered = k <= _LISTED
    side = min(max(3.0, 0.6 * k), 6.4)
    caption = f"n = {row.n_test:,} test images. Colour: share of the true class's images."
    if is_numbered:
        caption += " In a cell: images, and their share of the row." if k <= _SHARED else " In a cell: images."
    if together > 1:
        caption += f" A cell is {together} by {together} classes, in their order."
    if row.seeds > 1:
        caption += f" The first of {row.seeds} seeds."
    width = side + (1.9 if is_numbered else 4.2)
    right = int((labels == predictions).sum())
    headline = f"Confusion matrix of the {row.short} on {title}"
    alt = f"{headline}: {right:,} of {row.n_test:,} test images are classified correctly."
    figure = Sheet(width, side + 1.4, headline, caption, alt, square=True)
    grid = figure.add_gridspec(1, 1 if is_numbered else 2, width_ratios=None if is_numbered else (side, 2.5))
    axes = figure.add_subplot(grid[0, 0])
    image = heat_map(axes, shares, 0.5, "equal", pad=2)  # the root spreads the low end, where the errors are
    axes.set_ylabel("true class")
    axes.set_xlabel("predicted class")
    if k <= _TICKED:
        size = min(SIZE, 72 * 0.8 * side / k)
        axes.set_xticks(range(k), shown, rotation=0 if k <= 3 else 90, fontsize=size)
        axes.set_yticks(range(k), shown, fontsize=size)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=28, pad=0.02, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
    bar.outline.set_visible(False)
    if is_numbered:
        _write_cells(axes, counts, shares)
    else:
        _list_pairs(figure.add_subplot(grid[0, 1]), labels, predictions, shown)
    return figure


def _write_cells(axes: Axes, counts: IntArray, shares: DoubleArray) -> None:
    k = len(counts)
    size = SIZE + 3 if k <= 3 else SMALL if k <= _SHARED else SMALL - 1
    for true, predicted in zip(*np.nonzero(counts), strict=True):
        share = shares[true, predicted]
        text = f"{counts[true, predicted]:,}" + (f"\n{percent(share, 1)} %" if k <= _SHARED else "")
        ink = "white" if share > 0.35 else INK
        axes.text(predicted, true, text, ha="center", va="center", fontsize=size, color=ink, linespacing=1.15)


def _list_pairs(axes: Axes, labels: IntArray, predictions: IntArray, shown: Sequence[str]) -> None:
    is_wrong = labels != predictions
    pairs, counts = np.unique(np.stack([labels[is_wrong], predictions[is_wrong]]), axis=1, return_counts=True)
    axes.set_axis_off()
    axes.set_title("Most frequent confusions", loc="left")
    for line, pair in enumerate(np.argsort(-counts, kind="stable")[:_PAIRS].tolist()):
        true, predicted = pairs[:, pair].tolist()
        y = 1 - (line + 1) / (_PAIRS + 1)
        axes.text(0.1, y, f"{counts[pair]:,}", fontsize=SMALL, ha="right", fontweight="bold")
        axes.text(0.14, y, f"{shown[true]} as {shown[predicted]}", fontsize=SMALL)


def by_class(table: Sequence[Block]) -> Sheet:
    """Return the accuracy per class by the methods of one backbone and tap: the reference probe's."""
    block = reference_block(table)
    first = block.scores[0][0]
    k = len(first.class_names)
    images = np.bincount(first.labels, minlength=k)
    shares = np.stack([np.array(row.per_class, np.float64) for row in block.rows], axis=1)
    hardest = [int(c) for c in np.argsort(shares.mean(axis=1), kind="stable") if images[c] > 0][:_LISTED]
    tested = int((images > 0).sum())
    which = "the hardest class first" if len(hardest) == tested else f"the {len(hardest)} hardest of {tested} classes"
    caption = f"Accuracy in percent on each class's n test images, of {first.n_test:,}."
    if any(row.seeds > 1 for row in block.rows):
        caption += " Means over seeds."
    if tested < k:
        caption += f" {k - tested} of {k} classes have no test image."
    if any(row.where for row in block.rows) and any(method_info(row.method).trains for row in block.rows):
        caption += " Training has no tap."
    shown = names(first.class_names)
    means = shares[hardest].mean(axis=1)
    ends = (f"{shown[hardest[end]]} {percent(float(means[end]), 1)} %" for end in (0, -1))
    alt = f"Accuracy of each class for {len(block.rows)} rows on {block.title}, on average from {' to '.join(ends)}."
    width, height = max(2.6 + 0.66 * len(block.rows), 5.0), 2.5 + 0.26 * len(hardest)
    figure = Sheet(width, height, f"Accuracy per class on {block.title}, {which}", caption, alt)
    axes = figure.add_subplot()
    heat_map(axes, shares[hardest], 2.0, "auto", pad=6)
    for (line, column), share in np.ndenumerate(shares[hardest]):
        ink = "white" if share > 0.8 else INK
        axes.text(column, line, percent(share, 1), ha="center", va="center", fontsize=SIZE, color=ink)
    for line, number in enumerate(hardest):
        axes.text(len(block.rows) - 0.4, line, f"n = {images[number]:,}", va="center", fontsize=SMALL, color=MUTED)
    above = axes.get_xaxis_transform() + ScaledTranslation(0, 4 / 72, figure.dpi_scale_trans)
    for column, row in enumerate(block.rows):
        colour = method_info(row.method).colour
        sides = [column - 0.46, column + 0.46]
        axes.plot(sides, [1, 1], color=colour, linewidth=4, transform=above, clip_on=False, solid_capstyle="butt")
    axes.xaxis.tick_top()
    shorts = [row.short for row in block.rows]
    axes.set_xticks(range(len(shorts)), shorts, rotation=35, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(hardest)), [shown[number] for number in hardest])
    return figure


def heat_map(
    axes: Axes, shares: DoubleArray, power: float, aspect: Literal["equal", "auto"], *, pad: float
) -> AxesImage:
    """Draw shares in blue, scaled by a power of them, with labels `pad` points from the cells."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=pad)
    norm = PowerNorm(power, 0, 1)
    return axes.imshow(shares, cmap="Blues", norm=norm, aspect=aspect, interpolation="nearest")
