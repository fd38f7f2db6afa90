"""Reliability diagrams of the rows that have a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes

from probeline.format import decimals, percent
from probeline.metrics.intervals import wilson
from probeline.report.figures.rows import HEADING
from probeline.report.figures.sheet import Sheet, set_tooltip
from probeline.report.figures.style import MUTED, SIZE, WIDTH
from probeline.report.model.confusion_rows import select_confusion_rows
from probeline.report.model.row import NO_PROBABILITIES, Block
from probeline.results.methods import method_info
from probeline.results.score import Score

Bin = tuple[int, float, float]
"""Number of images, their mean confidence, and their accuracy."""

LEAST = 10
"""Images per dot: an interval of two or three spans the whole panel."""


def reliability(table: Sequence[Block]) -> Sheet | None:
    """Return the diagrams of the rows of `select_confusion_rows` with probabilities; None if there are none."""
    selected = [confusion for confusion in select_confusion_rows(table) if confusion.row.method not in NO_PROBABILITIES]
    if not selected:
        return None
    first, places = selected[0].score, decimals(confusion.score.n_test for confusion in selected)
    caption = (
        f"{first.n_test:,} test images in 15 bins of their confidence, the largest probability; neighbouring bins are "
        f"pooled until they hold {LEAST} images. Filled: with the temperature fitted on val, bars are "
        "Wilson's 95 % intervals. Hollow: at temperature 1. On the dashed line confidence is accuracy. Below: how many "
        "images each bin holds, the line at temperature 1."
    )
    headline = f"Accuracy by confidence on {first.dataset}"
    rows = "; ".join(
        f"{confusion.row.short} on {confusion.title}, calibration error {percent(confusion.score.ece, places)} %, "
        f"{percent(confusion.score.raw_ece, places)} % at temperature 1"
        for confusion in selected
    )
    figure = Sheet(WIDTH, 4.9, headline, caption, f"{headline}: {rows}.")
    grid = figure.subplots(2, len(selected), squeeze=False, sharex=True, height_ratios=(4, 1))
    for above, below, confusion in zip(*grid, selected, strict=True):
        seed = f", seed {confusion.score.seed}" if confusion.row.seeds > 1 else ""
        lines = (confusion.title, confusion.row.short + seed, f"ECE {percent(confusion.score.ece, places)} %")
        above.set_title(
            "\n".join(part for line in lines for part in wrap(line, HEADING // len(selected))), fontsize=SIZE
        )
        colour = method_info(confusion.row.method).colour
        _draw_accuracy(above, colour, confusion.score)
        _draw_images(below, colour, confusion.score)
        below.set_xlabel("confidence, %")
    grid[0][0].set_ylabel("right, %")
    grid[1][0].set_ylabel("images")
    return figure


def pooled(bins: Sequence[Bin], least: int = LEAST) -> list[Bin]:
    """Return bins of at least `least` images, if there are so many: neighbours, pooled from the most confident on."""
    groups: list[list[Bin]] = []
    for bin_ in reversed([bin_ for bin_ in bins if bin_[0]]):
        if not groups or _count(groups[-1]) >= least:
            groups.append([])
        groups[-1].append(bin_)
    if len(groups) > 1 and _count(groups[-1]) < least:
        groups[-2:] = [groups[-2] + groups[-1]]
    return [
        (n, sum(m * sure for m, sure, _ in group) / n, sum(m * right for m, _, right in group) / n)
        for n, group in zip(map(_count, groups[::-1]), groups[::-1], strict=True)
    ]


def _count(bins: Sequence[Bin]) -> int:
    return sum(n for n, _, _ in bins)


def _draw_accuracy(axes: Axes, colour: str, score: Score) -> None:
    look: dict[str, Any] = {"color": colour, "markersize": 4.5, "clip_on": False}
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.9, linestyle="--", zorder=1)
    for _, sure, right in pooled(score.raw_bins):
        axes.plot(100 * sure, 100 * right, "o", **look, markerfacecolor="white", zorder=2)
    for n, sure, right in pooled(score.bins):
        low, high = wilson(right * n, n)
        axes.plot([100 * sure] * 2, [100 * low, 100 * high], color=colour, linewidth=1.2, zorder=3, clip_on=False)
        (dot,) = axes.plot(100 * sure, 100 * right, "o", **look, zorder=4)
        set_tooltip(
            dot,
            f"{n:,} images of mean confidence {percent(sure, 1)} %: {percent(right, 1)} % right "
            f"(95 % interval {percent(low, 1)} to {percent(high, 1)})",
        )
    axes.set_ylim(-3, 103)


def _draw_images(axes: Axes, colour: str, score: Score) -> None:
    width = 100 / len(score.bins)
    starts = [i * width for i in range(len(score.bins))]
    counts, raw = ([n for n, _, _ in bins] for bins in (score.bins, score.raw_bins))
    axes.bar(starts, counts, width=width, align="edge", color=colour, alpha=0.6)
    axes.stairs(raw, [*starts, 100], color=MUTED, linewidth=0.9)
    axes.set_xlim(0, 100)
