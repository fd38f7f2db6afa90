"""Calibration error of every row, with and without temperature scaling."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.format import decimals, percent
from probeline.report.figures.scores.row_lines import HEADING, arrange_rows
from probeline.report.figures.sheet import Sheet, set_tooltip, sheet, span
from probeline.report.figures.style import MUTED, WIDTH
from probeline.report.model.row import NO_PROBABILITIES, Block
from probeline.results.methods import method_info


def calibration(table: Sequence[Block]) -> Sheet:
    """Return the expected calibration error of each row at temperature 1 and at its own; at least one block."""
    parts = [part for block in table for part in block.parts()]
    rows = [(part.title, row) for part in parts for row in part.rows]
    places = decimals(row.n_test for _, row in rows)
    caption = (
        "Expected calibration error of the predicted class, 15 bins of equal width, "
        f"n = {span(row.n_test for _, row in rows)} test images. Hollow: without temperature scaling. Filled: with the "
        "temperature fitted on val. Even perfect probabilities have some error."
    )
    if any(row.method in NO_PROBABILITIES for _, row in rows):
        caption += " Only filled: scores that are no probabilities without it."
    best = min(rows, key=lambda titled: titled[1].ece)
    scaled = [row for _, row in rows if row.method not in NO_PROBABILITIES]
    better = sum(row.ece < row.raw_ece for row in scaled)
    dataset = parts[0].scores[0][0].dataset
    alt = (
        f"Calibration error of {len(rows)} rows on {dataset} before and after temperature scaling: lower after it for "
        f"{better} of {len(scaled)} that give probabilities; the lowest is {percent(best[1].ece, places)} % "
        f"({best[1].short} on {best[0]})."
    )
    groups = [(part.title, part.rows) for part in parts]
    lines = arrange_rows(groups, lambda row: row.short, heading=HEADING if len(parts) > 1 else None)
    figure = sheet(WIDTH, 1.3 + 0.235 * len(lines.labels), f"Calibration on {dataset}", caption, alt)
    axes = figure.add_subplot()
    for y, title, row in lines.rows:
        colour, before, after = method_info(row.method).colour, 100 * row.raw_ece, 100 * row.ece
        if row.method not in NO_PROBABILITIES:
            axes.plot([before, after], [y, y], color=MUTED, linewidth=0.9, zorder=1)
            axes.plot(before, y, "o", color=colour, markerfacecolor="white", markersize=5.5, zorder=2)
        (dot,) = axes.plot(after, y, "o", color=colour, markersize=5.5, zorder=3)
        set_tooltip(
            dot,
            f"{row.short} on {title}: ECE {percent(row.raw_ece, places)} % at temperature 1, "
            f"{percent(row.ece, places)} % at {row.temperature:.3g}; NLL {row.raw_nll:.3f} and {row.nll:.3f}",
        )
    lines.label(axes)
    axes.set_xlim(left=0)
    axes.set_xlabel("expected calibration error, %")
    return figure
