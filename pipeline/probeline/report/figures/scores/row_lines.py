"""What figures with a line for each row share: headings, labels, and the mark of a row's top-1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes

from probeline.report.figures.sheet import set_tooltip
from probeline.report.model.row import Row
from probeline.results.methods import method_info

FAR = " A triangle: far lower, with its top-1 at the right."
"""The caption's sentence if a row is drawn at the edge."""

HEADING = 64
"""Characters of a line above the rows of a backbone and tap: bold ones of medium width fill three quarters."""


@dataclass(frozen=True)
class RowLines:
    """The lines of a figure from the top: all labels, headings with their line, and rows with line and title."""

    labels: tuple[str, ...]
    headings: tuple[tuple[int, str], ...]
    rows: tuple[tuple[int, str, Row], ...]

    def label(self, axes: Axes, below: float = 0.4) -> None:
        """Write the headings and label the rows; `below` is the room below the last row, in lines."""
        across = axes.get_yaxis_transform()
        for y, text in self.headings:
            heading = axes.text(
                0, y, text, transform=across, ha="left", va="center_baseline", fontweight="bold", zorder=4
            )
            heading.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
        axes.set_yticks(range(len(self.labels)), self.labels)
        axes.set_ylim(len(self.labels) - below, -0.6)
        hide_lines(axes)


def arrange_rows(
    groups: Sequence[tuple[str, Sequence[Row]]], name: Callable[[Row], str], *, heading: int | None = HEADING
) -> RowLines:
    """Return the lines of groups of rows, with headings of at most `heading` characters a line, or without."""
    labels: list[str] = []
    headings: list[tuple[int, str]] = []
    rows: list[tuple[int, str, Row]] = []
    for title, members in groups:
        for line in wrap(title, heading) if heading else ():
            headings.append((len(labels), line))
            labels.append("")
        for row in members:
            rows.append((len(labels), title, row))
            labels.append(name(row))
    return RowLines(tuple(labels), tuple(headings), tuple(rows))


def hide_lines(axes: Axes) -> None:
    """Hide ticks, grid and spine of the axis that labels the rows."""
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def draw_top1(axes: Axes, row: Row, y: float, tip: str, low: float) -> None:
    """Draw a row's top-1 in percent and its interval, or a triangle at `low` if it is far below."""
    colour = method_info(row.method).colour
    face = colour if row.converged else "white"
    style: dict[str, Any] = {"color": colour, "markerfacecolor": face, "markersize": 6, "markeredgewidth": 1.3}
    if 100 * row.top1 < low:
        (mark,) = axes.plot(low, y, "<", **style, zorder=3)
    else:
        axes.plot(
            [100 * end for end in row.interval], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=2
        )
        (mark,) = axes.plot(100 * row.top1, y, "o", **style, zorder=3)
    set_tooltip(mark, tip)
