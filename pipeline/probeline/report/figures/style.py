"""How every figure looks: sizes, fonts, greys and markers; colours of methods are in `probeline.results.methods`."""

from __future__ import annotations

from typing import Any

DPI = 150
"""Dots per inch: a figure 7.5 inches wide fills a page on GitHub and prints sharply in a column."""

POINTS = 72
"""Per inch."""

WIDTH = 7.5
"""Inches of a figure, unless its data want another shape."""

FAMILY = "DejaVu Sans"
"""Comes with matplotlib."""

INK, MUTED, FAINT = "#1A1A1A", "#5F5F5F", "#D9D9D9"
"""Text and axes; captions and secondary marks; grids."""

SIZE, SMALL, TITLE = 8.5, 7.0, 11.0
"""Points: text, captions and crowded labels, titles."""

LINE = 0.21
"""Inches from one line of a legend to the next."""

MARKERS = "osD^vPX*<>ph"
"""One per backbone where colours show methods."""

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C", "#262626")
"""One per line where colours show backbones: those that differ most come first."""

DASHES = ("-", "--", "-.", ":")
"""One per backbone where lines cross."""

RC: dict[Any, Any] = {
    "font.family": FAMILY,
    "font.size": SIZE,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a class name is a dollar sign
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": SIZE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "probeline",
}
"""Over matplotlib's defaults, whatever the user's own settings say."""
