"""How often predictions of each confidence are right: reliability diagrams of the rows whose confusions are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from matplotlib.axes import Axes

from probeline.metrics.intervals import wilson
from probeline.records import Score
from probeline.report.confused import confused
from probeline.report.figures.accuracy import HEADING
from probeline.report.figures.sheet import Sheet, sheet, tell
from probeline.report.figures.style import MUTED, SIZE, WIDTH
from probeline.report.methods import method
from probeline.report.rows import Block, Row
from probeline.report.words import decimals, percent


def reliability(table: Sequence[Block]) -> Sheet | None:
    """Return the diagrams of the reference probe and of a fine-tune side by side; None where there is neither."""
    some = confused(table)
    if not some:
        return None
    dataset, places = some[0][2].dataset, decimals(score.n_test for _, _, score in some)
    caption = (
        f"{some[0][2].n_test:,} test images in 15 bins of their confidence, the largest probability. Filled: with the "
        "temperature that was fitted on val, bars are Wilson's 95 % intervals. Hollow: at temperature 1. On the dashed "
        "line confidence is accuracy. Below: how many images each bin holds, the line at temperature 1."
    )
    if any(row.seeds > 1 for _, row, _ in some):
        caption += " Of several seeds, the first."
    alt = f"Accuracy by confidence on {dataset}: " + "; ".join(
        f"{row.short} on {title}, calibration error {percent(score.ece, places)} %, "
        f"{percent(score.raw_ece, places)} % at temperature 1"
        for title, row, score in some
    )
    figure = sheet(WIDTH, 4.9, f"Accuracy by confidence on {dataset}", caption, f"{alt}.")
    grid = figure.subplots(2, len(some), squeeze=False, sharex=True, height_ratios=(4, 1))
    for column, (title, row, score) in enumerate(some):
        above, below = grid[0][column], grid[1][column]
        lines = [*wrap(title, HEADING // len(some)), f"{row.short}, ECE {percent(score.ece, places)} %"]
        above.set_title("\n".join(lines), fontsize=SIZE)
        _accuracy(above, row, score)
        _images(below, row, score)
        if not column:
            above.set_ylabel("right, %")
            below.set_ylabel("images")
        below.set_xlabel("confidence, %")
    return figure


def _accuracy(axes: Axes, row: Row, score: Score) -> None:
    colour = method(row.method).colour
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.9, linestyle="--", zorder=1)
    for n, sure, right in score.raw_bins:
        if n:
            axes.plot(100 * sure, 100 * right, "o", color=colour, markerfacecolor="white", markersize=4.5, zorder=2)
    for n, sure, right in score.bins:
        if n:
            low, high = wilson(right * n, n)
            axes.plot([100 * sure] * 2, [100 * low, 100 * high], color=colour, linewidth=1.2, zorder=3)
            (dot,) = axes.plot(100 * sure, 100 * right, "o", color=colour, markersize=4.5, zorder=4)
            tell(
                dot,
                f"{n:,} images of mean confidence {percent(sure, 1)} %: {percent(right, 1)} % right "
                f"(95 % interval {percent(low, 1)} to {percent(high, 1)})",
            )
    axes.set_ylim(-3, 103)


def _images(axes: Axes, row: Row, score: Score) -> None:
    width = 100 / len(score.bins)
    starts = [place * width for place in range(len(score.bins))]
    counts, raw = ([n for n, _, _ in bins] for bins in (score.bins, score.raw_bins))
    axes.bar(starts, counts, width=width, align="edge", color=method(row.method).colour, alpha=0.6)
    axes.stairs(raw, [*starts, 100], color=MUTED, linewidth=0.9)
    axes.set_xlim(0, 100)
