"""Embedding maps: the test images as points in a plane, coloured by class, errors ringed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from probeline.report.figures.sheet import Sheet, legend_height, names
from probeline.report.figures.style import INK, MARKERS, MUTED, SERIES, WIDTH
from probeline.results.embedding_map import EmbeddingMap, Projection
from probeline.types import BoolArray

COLOURS = (*SERIES[:6], "#BF09A0", "#799E2F", "#5F44E5", "#7F4206", "#27BF09", "#BF3939")
"""Of classes, which have a marker each too."""

_HEIGHT = 5.4
"""Inches of a plane."""

_MANY = 400
"""Points up to which markers are large."""

_RING: dict[str, Any] = {
    "linestyle": "",
    "marker": "o",
    "color": INK,
    "markerfacecolor": "none",
    "markeredgewidth": 0.6,
}


def embedding_map(record: EmbeddingMap) -> Sheet:
    """Return a panel for each projection of a map; with more classes than colours, all points are grey."""
    labels = np.asarray(record.labels)
    present: list[int] = np.unique(labels).tolist()
    shown = names(record.class_names)
    groups = [
        (colour, marker, shown[label], labels == label)
        for label, colour, marker in zip(present, COLOURS, MARKERS, strict=False)
    ]
    if len(present) > len(COLOURS):
        groups = [(MUTED, "o", f"{len(present)} classes", np.full(len(labels), True))]
    keys = [Line2D([], [], label=name, **_dot(colour, marker, 5.0)) for colour, marker, name, _ in groups]
    if any(record.wrong):
        keys.append(Line2D([], [], label="misclassified", markersize=7, **_RING))
    height = max(_HEIGHT * len(record.planes), 1.5 + legend_height(str(key.get_label()) for key in keys))
    figure = Sheet(WIDTH, height, record.title, record.caption, record.alt)
    panels = figure.subplots(len(record.planes), 1, squeeze=False)[:, 0]
    for axes, plane in zip(panels, record.planes, strict=True):
        _draw_plane(axes, plane, [(colour, marker, members) for colour, marker, _, members in groups], record.wrong)
    panels[0].legend(handles=keys, loc="upper left", bbox_to_anchor=(1.01, 1.02), handletextpad=0.2)
    return figure


def _dot(colour: str, marker: str, size: float) -> dict[str, Any]:
    return {"linestyle": "", "marker": marker, "color": colour, "markersize": size, "markeredgewidth": 0}


def _draw_plane(
    axes: Axes, plane: Projection, groups: Sequence[tuple[str, str, BoolArray]], wrong: Sequence[bool]
) -> None:
    xy = np.array(plane.xy, np.float64).reshape(-1, 2)
    size = 4.4 if len(xy) <= _MANY else 3.6
    for colour, marker, members in groups:
        axes.plot(*xy[members].T, **_dot(colour, marker, size), alpha=0.8, zorder=2)
    axes.plot(*xy[np.array(wrong, bool)].T, markersize=size + 2.6, zorder=3, **_RING)
    axes.set_aspect("equal", adjustable="box", anchor="W")  # a step is as long in both directions
    axes.grid(visible=False)
    axes.set(title=plane.title, xlabel=plane.axes[0], ylabel=plane.axes[1])
    if not any(plane.axes):
        axes.set(xticks=[], yticks=[])
