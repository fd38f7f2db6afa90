"""Labels of a plot, placed so that none covers another label, a point or a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from probeline.report.figures.style import DPI, POINTS, SMALL
from probeline.types import BoolArray, DoubleArray

_DISTANCES = (13.0, 18.0, 24.0, 31.0, 39.0, 48.0, 58.0, 70.0, 84.0, 100.0)
"""Pixels from a point to the label around it."""

_ANGLES = np.deg2rad([0, 180, 90, 270, 45, 135, 315, 225, 20, 160, 340, 200, 70, 110, 290, 250])
"""In the order of preference."""

_TIE = 24
"""Points along a tie at which it is tested for crossings."""

_ORDERS = 6
"""Orders in which labels are placed, at most."""


@dataclass(frozen=True)
class Label:
    """A label: its text and colour, the point that it belongs to in data, and the colour of the tie between them."""

    text: str
    point: tuple[float, float]
    colour: str
    tie_colour: str


def write_labels(axes: Axes, labels: Sequence[Label], obstacles: DoubleArray, near: float, gap: float) -> None:
    """Write labels near their points, with a tie if farther than `near` pixels; see :func:`place_labels`.

    The figure's layout must be settled.
    """
    look: dict[str, Any] = {"xytext": (0, 0), "textcoords": "offset points", "fontsize": SMALL}
    texts = [axes.annotate(label.text, label.point, color=label.colour, **look) for label in labels]
    sizes = np.array([text.get_window_extent().size for text in texts])
    points: DoubleArray = axes.transData.transform(np.array([label.point for label in labels]))
    corners = place_labels(points, sizes, obstacles, axes.get_window_extent().extents, gap)
    for label, text, point, corner, size in zip(labels, texts, points, corners, sizes, strict=True):
        text.set(position=tuple((corner - point) * POINTS / DPI), zorder=5, in_layout=False)
        nearest = _tie_end(point, corner, size)
        if np.hypot(*(nearest - point)) > near:
            ends = axes.transData.inverted().transform([point, nearest])
            axes.plot(ends[:, 0], ends[:, 1], color=label.tie_colour, linewidth=0.5, zorder=2)


def place_labels(
    points: DoubleArray, sizes: DoubleArray, obstacles: DoubleArray, bounds: Sequence[float], gap: float
) -> DoubleArray:
    """Return the lower left corner of each label, float64 [n, 2]: the nearest free one around its point.

    A corner is free if the label covers nothing, and the straight tie to its point crosses nothing. Labels are placed
    in turn; while one of them is not free, all are placed anew with that one first. If no order leaves all free, the
    order with the least overlap is taken.

    Parameters
    ----------
    points, sizes : float64 [n, 2]
        What the labels belong to, and width and height of the labels, in pixels.
    obstacles : float64 [m, 4]
        Left, bottom, right and top end, in pixels, of what no label may cover; ties may cross those of their own point.
    bounds : 4 floats
        The same ends of the axes.
    gap : float
        Pixels to keep clear around each label.
    """
    order = list(range(len(points)))
    best, least = np.empty_like(points), np.inf
    for _ in range(_ORDERS):
        corners, costs = _in_turn(points, sizes, obstacles, np.asarray(bounds), gap, order)
        if costs.sum() < least:
            best, least = corners, float(costs.sum())
        if not least:
            break
        worst = int(np.argmax(costs))
        order = [worst, *(i for i in order if i != worst)]
    return best


def _in_turn(
    points: DoubleArray, sizes: DoubleArray, obstacles: DoubleArray, bounds: DoubleArray, gap: float, order: list[int]
) -> tuple[DoubleArray, DoubleArray]:
    """Return corners, and for each the cost of its overlaps with what was placed before."""
    taken = solid = obstacles
    corners, costs = np.empty_like(points), np.zeros(len(points))
    ways = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
    for i in order:
        point, size = points[i], sizes[i]
        corner = np.concatenate([point + ways * (size / 2 + distance) - size / 2 for distance in _DISTANCES])
        box = np.concatenate([corner - gap, corner + size + gap], axis=1)
        near = _overlap(box, taken).sum(axis=1)
        covers = _overlap(np.concatenate([corner, corner + size], axis=1), solid).any(axis=1)
        ties = point + np.linspace(0, 1, _TIE)[None, :, None] * (_tie_end(point, corner, size) - point)[:, None, :]
        others = taken[~_within(point, taken)]
        crossed = _within(ties[:, :, None, :], others).any(axis=2).sum(axis=1)
        outside = np.clip(bounds[:2] - box[:, :2], 0, None) + np.clip(box[:, 2:] - bounds[2:], 0, None)
        # Leaving the room is worse than covering a label or an obstacle, that is worse than any crossing, and crossing
        # worse than being too near; argmin takes the first, the most preferred of equals.
        cost = near + 100 * crossed + 1e4 * covers + 1e6 * outside.sum(axis=1)
        best = int(np.argmin(cost))
        corners[i], costs[i] = corner[best], cost[best]
        tie = np.concatenate([ties[best] - 2, ties[best] + 2], axis=1)
        taken = np.concatenate([taken, box[best : best + 1], tie])
        solid = np.concatenate([solid, [[*corner[best], *(corner[best] + size)]]])
    return corners, costs


def _tie_end(point: DoubleArray, corner: DoubleArray, size: DoubleArray) -> DoubleArray:
    """Return the spot of a label, float64 [..., 2], that is nearest to `point`."""
    return np.clip(point, corner, corner + size)


def _overlap(boxes: DoubleArray, others: DoubleArray) -> DoubleArray:
    """Return the area that each of `boxes` shares with each of `others`, float64 [n, m]."""
    left, bottom = (np.maximum.outer(boxes[:, side], others[:, side]) for side in (0, 1))
    right, top = (np.minimum.outer(boxes[:, side], others[:, side]) for side in (2, 3))
    area: DoubleArray = np.clip(right - left, 0, None) * np.clip(top - bottom, 0, None)
    return area


def _within(spot: DoubleArray, boxes: DoubleArray) -> BoolArray:
    x, y = spot[..., 0], spot[..., 1]
    left, bottom, right, top = boxes.T
    return np.asarray((left <= x) & (x <= right) & (bottom <= y) & (y <= top))
