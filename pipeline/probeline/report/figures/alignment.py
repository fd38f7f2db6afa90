"""How alike sets of features are: a heat map of CKA."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import FuncFormatter

from probeline.format import signed
from probeline.report.figures.classes import heat_map
from probeline.report.figures.sheet import Sheet, legend_label
from probeline.report.figures.style import INK, SIZE, SMALL
from probeline.report.records.quality import alignment_in_words, feature_titles
from probeline.results.quality.alignment import FeatureAlignment

_NUMBERED = 16
"""Sets of features up to which a cell has room for its number."""


def alignment_map(alignment: FeatureAlignment) -> Sheet:
    """Return the unbiased CKA of every two sets of features, coloured from 0 to 1; undefined ones are left white."""
    count = len(alignment.nets)
    values = np.full((count, count), np.nan)
    np.fill_diagonal(values, 1.0)
    for pair in alignment.pairs:
        if pair.unbiased is not None:
            values[pair.first, pair.second] = values[pair.second, pair.first] = pair.unbiased
    titles = [legend_label(title) for title in feature_titles([net.net for net in alignment.nets])]
    images = f"{alignment.n:,} of {alignment.of_images:,}" if alignment.n < alignment.of_images else f"{alignment.n:,}"
    caption = f"Linear CKA, unbiased, on the features of {images} train images. Blank: not defined."
    if not np.isnan(values).any():
        caption = caption.removesuffix(" Blank: not defined.")
    side = min(max(2.2, 0.62 * count), 6.4)
    widest = max(len(line) for title in titles for line in title.split("\n"))
    margin = 0.075 * widest
    headline = f"How alike the features are on {alignment.dataset}"
    alt = f"Heat map of the alignment of {count} sets of features. {alignment_in_words(alignment)}."
    figure = Sheet(side + margin + 1.2, side + margin + 1.0, headline, caption, alt, square=True)
    axes = figure.add_subplot()
    image = heat_map(axes, np.clip(values, 0, 1), 1.0, "equal", pad=3)
    size = min(SIZE, 72 * 0.8 * side / count)
    axes.set_xticks(range(count), titles, rotation=90 if count > 2 else 0, fontsize=size)
    axes.set_yticks(range(count), titles, fontsize=size)
    if count <= _NUMBERED:
        for (line, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                ink = "white" if value > 0.6 else INK
                text = signed(f"{value:.2f}")
                axes.text(column, line, text, ha="center", va="center", fontsize=SMALL, color=ink)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=28, pad=0.02, ticks=[0, 0.25, 0.5, 0.75, 1])
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.outline.set_visible(False)
    return figure
