"""How far confidence is from accuracy, before and after a temperature that val fitted."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from probeline.format import decimals, percent
from probeline.report.figures.scores.accuracy import HEADING, heading
from probeline.report.figures.sheet import Sheet, sheet, span, tell
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
        f"n = {span(row.n_test for _, row in rows)} test images. Hollow: as the method gives its scores. Filled: with "
        "the temperature that was fitted on val. Even perfect probabilities have some."
    )
    if any(row.method in NO_PROBABILITIES for _, row in rows):
        caption += " Filled alone: scores that are no probabilities before that."
    best = min(rows, key=lambda titled: titled[1].ece)
    chances = [row for _, row in rows if row.method not in NO_PROBABILITIES]
    better = sum(row.ece < row.raw_ece for row in chances)
    dataset = parts[0].scores[0][0].dataset
    alt = (
        f"Calibration error of {len(rows)} rows on {dataset} before and after temperature scaling: lower after it for "
        f"{better} of {len(chances)} that give probabilities; the lowest is {percent(best[1].ece, places)} % "
        f"({best[1].short} on {best[0]})."
    )
    headings = {part.title: wrap(part.title, HEADING) if len(parts) > 1 else [] for part in parts}
    height = 1.3 + 0.235 * (len(rows) + sum(map(len, headings.values())))
    figure = sheet(WIDTH, height, f"How honest the probabilities are on {dataset}", caption, alt)
    axes = figure.add_subplot()
    labels: list[str] = []
    for part in parts:
        for line in headings[part.title]:
            heading(axes, line, len(labels))
            labels.append("")
        for row in part.rows:
            y, colour = len(labels), method_info(row.method).colour
            before, after = 100 * row.raw_ece, 100 * row.ece
            if row.method not in NO_PROBABILITIES:
                axes.plot([before, after], [y, y], color=MUTED, linewidth=0.9, zorder=1)
                axes.plot(before, y, "o", color=colour, markerfacecolor="white", markersize=5.5, zorder=2)
            (dot,) = axes.plot(after, y, "o", color=colour, markersize=5.5, zorder=3)
            tell(
                dot,
                f"{row.short} on {part.title}: ECE {percent(row.raw_ece, places)} % at temperature 1, "
                f"{percent(row.ece, places)} % at {row.temperature:.3g}; NLL {row.raw_nll:.3f} and {row.nll:.3f}",
            )
            labels.append(row.short)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("expected calibration error, %")
    return figure
