"""Pictures: first filters, a net's input, misclassified and similar images, without caption; and embedding maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from probeline.images import PixelArray
from probeline.report.figures.sheet import Sheet, default_look, legend_height, names, png
from probeline.report.figures.style import DPI, FAINT, INK, MARKERS, MUTED, POINTS, SERIES, SIZE, SMALL, WIDTH
from probeline.results.illustrations.embedding_map import EmbeddingMap
from probeline.results.illustrations.picture import Misclassification
from probeline.text import printable
from probeline.types import FloatArray

_COLUMNS = 8
"""Of filters: 64 make a square."""

_FILTERS_WIDTH = 1040
"""Pixels, about those of a figure's width, so that little is resampled."""

_GAP = 8
"""Pixels between two filters."""

_TILES = 4
"""Misclassified images side by side, so that class names have room."""

TILE = 260
"""Pixels of a side of a misclassified image."""

_ROOM = POINTS * WIDTH - 12
"""Points from the left to the right end of all images."""

_SPACE, _LINE = 9.0, 11.5
"""Points between two images, and from one line of letters to the next."""

_HEADING = 2 * _LINE + _SPACE / 2
"""Points above an image, for its heading and detail."""

_TALLEST = 1.6
"""Height over width of an image of the input, at most; taller ones become narrower."""

_TINY = 96
"""Pixels per side up to which each is shown as a square."""

_WRONG = "#A63D00"
"""Vermilion, dark enough for small letters on white."""

COLOURS = (*SERIES[:6], "#BF09A0", "#799E2F", "#5F44E5", "#7F4206", "#27BF09", "#BF3939")
"""Of classes, which have a marker each too."""

_PLANE_HEIGHT = 5.4
"""Inches of a plane."""

_MANY = 400
"""Points up to which markers are large."""

_DOT: dict[str, Any] = {"linestyle": "", "markeredgewidth": 0}
_RING: dict[str, Any] = {
    "linestyle": "",
    "marker": "o",
    "color": INK,
    "markerfacecolor": "none",
    "markeredgewidth": 0.6,
}


class SimilarTile(NamedTuple):
    """An image uint8 [side, side, 3] of a sheet of similar images, with its lines below."""

    pixels: PixelArray
    lines: Sequence[str]


class Panel(NamedTuple):
    """An image of a net's input, uint8 [H, W, 3], with two lines above it."""

    heading: str
    detail: str
    pixels: PixelArray


def rendered(make: Callable[[], Sheet]) -> bytes:
    """Return a figure as a PNG file, in the look of all figures."""
    with default_look():
        return png(make())


def filters(title: str, kernels: FloatArray) -> Sheet:
    """Return a grid of kernels, float32 [K, 3, h, w] of red, green and blue, each scaled to its own range."""
    grid = _grid(own_range(kernels))
    height = _ROOM * grid.shape[0] / grid.shape[1]
    figure, axes = _sheet_in_points(title, height)
    axes.imshow(grid, extent=(0, _ROOM, height, 0), interpolation="nearest")
    return figure


def own_range(kernels: FloatArray) -> PixelArray:
    """Return kernels as colours, uint8 [K, h, w, 3], from the least value of each to its largest; grey if equal."""
    low, high = (end(kernels, axis=(1, 2, 3), keepdims=True) for end in (np.min, np.max))
    flat = high == low
    scaled = np.where(flat, 0.5, (kernels - low) / np.where(flat, 1, high - low))
    colours: PixelArray = np.rint(255 * scaled).astype(np.uint8).transpose(0, 2, 3, 1)
    return colours


def _grid(colours: PixelArray) -> PixelArray:
    count, _, width = colours.shape[:3]
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    times = max(1, (_FILTERS_WIDTH // columns - _GAP) // width)
    large = colours.repeat(times, axis=1).repeat(times, axis=2)
    tiles = np.pad(large, ((0, rows * columns - count), (0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
    lines = tiles.reshape(rows, columns, *tiles.shape[1:]).swapaxes(1, 2)
    return lines.reshape(rows * tiles.shape[1], columns * tiles.shape[2], 3)[:-_GAP, :-_GAP]


def net_input(title: str, panels: Sequence[Panel]) -> Sheet:
    """Return images side by side, each with its two lines above it."""
    side = (_ROOM - (len(panels) - 1) * _SPACE) / len(panels)
    scales = [min(side / panel.pixels.shape[1], _TALLEST * side / panel.pixels.shape[0]) for panel in panels]
    tallest = max(scale * panel.pixels.shape[0] for scale, panel in zip(scales, panels, strict=True))
    figure, axes = _sheet_in_points(title, _HEADING + tallest)
    for i, (panel, scale) in enumerate(zip(panels, scales, strict=True)):
        left = i * (side + _SPACE)
        height, width = (scale * length for length in panel.pixels.shape[:2])
        interpolation = "nearest" if max(panel.pixels.shape) <= _TINY else "antialiased"
        ends = (left, left + width, _HEADING + height, _HEADING)
        axes.imshow(panel.pixels, extent=ends, interpolation=interpolation)
        _write(axes, panel.heading, left, 0, side, fontweight="bold", color=INK)
        _write(axes, panel.detail, left, _LINE, side, color=MUTED)
    return figure


def misclassified(
    title: str, part: str, wrong: Sequence[Misclassification], tiles: Sequence[PixelArray], class_names: Sequence[str]
) -> Sheet:
    """Return images of a part, uint8 [side, side, 3], in rows of four, with class, prediction and row below each."""
    side = (_ROOM - (_TILES - 1) * _SPACE) / _TILES
    labels = 3 * _LINE + 3 * _SPACE / 2
    figure, axes = _sheet_in_points(title, -(-len(wrong) // _TILES) * (side + labels))
    shown = names(class_names)
    for i, (error, pixels) in enumerate(zip(wrong, tiles, strict=True)):
        line, column = divmod(i, _TILES)
        left, top = column * (side + _SPACE), line * (side + labels)
        axes.imshow(pixels, extent=(left, left + side, top + side, top), interpolation="antialiased")
        below = top + side + _SPACE / 3
        _write(axes, f"true: {shown[error.true]}", left, below, side, color=INK)
        _write(axes, f"predicted: {shown[error.predicted]}", left, below + _LINE, side, color=_WRONG)
        _write(axes, f"{part}:{error.row}", left, below + 2 * _LINE, side, color=MUTED)
    return figure


SIMILAR = 6
"""Images side by side in a sheet of similar images; the query is the first of its lines."""


def similar(title: str, rows: Sequence[Sequence[SimilarTile]]) -> Sheet:
    """Return a sheet of queries, each followed by the images near it, in lines of `SIMILAR`; a rule parts the queries.

    The first column is left free below a query that needs several lines.
    """
    side = (_ROOM - (SIMILAR - 1) * _SPACE) / SIMILAR
    labels = max(len(tile.lines) for tiles in rows for tile in tiles)
    step = side + labels * _LINE + 1.5 * _SPACE
    needed = [max(1, -(-(len(tiles) - 1) // (SIMILAR - 1))) for tiles in rows]
    figure, axes = _sheet_in_points(title, sum(needed) * step)
    above = 0
    for tiles, count in zip(rows, needed, strict=True):
        if above:
            axes.axhline(above * step - _SPACE / 2, color=FAINT, linewidth=0.8)
        for i, tile in enumerate(tiles):
            line, column = divmod(max(0, i - 1), SIMILAR - 1)
            left, top = (column + (i > 0)) * (side + _SPACE), (above + line) * step
            axes.imshow(tile.pixels, extent=(left, left + side, top + side, top), interpolation="antialiased")
            for place, text in enumerate(tile.lines):
                look: dict[str, Any] = {"color": INK if place == 0 else MUTED}
                if i == 0 and place == 0:
                    look["fontweight"] = "bold"
                _write(axes, text, left, top + side + _SPACE / 3 + place * _LINE, side, **look)
        above += count
    return figure


def _sheet_in_points(title: str, height: float) -> tuple[Sheet, Axes]:
    """Return a sheet with axes of `_ROOM` x `height` points for all images: axes for each would take seconds."""
    figure = Sheet(WIDTH, height / POINTS + 0.45, title)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set(xlim=(0, _ROOM), ylim=(height, 0), aspect="equal", autoscale_on=False)
    return figure, axes


def _write(axes: Axes, text: str, left: float, top: float, room: float, **look: Any) -> None:
    """Write a line of at most `room` points: with smaller letters if it is longer, and cut if that is not enough."""
    text = printable(text)
    line, pixels = axes.text(left, top, text, va="top", fontsize=SIZE, **look), DPI * room / POINTS
    if (width := line.get_window_extent().width) > pixels:
        line.set_fontsize(max(SMALL, SIZE * pixels / width))
    for length in range(len(text) - 1, 0, -1):
        if line.get_window_extent().width <= pixels:
            break
        line.set_text(f"{text[:length]}…")


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
    keys = [
        Line2D([], [], **_DOT, color=colour, marker=marker, markersize=5.0, label=name)
        for colour, marker, name, _ in groups
    ]
    if any(record.wrong):
        keys.append(Line2D([], [], label="misclassified", markersize=7, **_RING))
    height = max(_PLANE_HEIGHT * len(record.planes), 1.5 + legend_height(str(key.get_label()) for key in keys))
    figure = Sheet(WIDTH, height, record.title, record.caption, record.alt)
    panels = figure.subplots(len(record.planes), 1, squeeze=False)[:, 0]
    for axes, plane in zip(panels, record.planes, strict=True):
        xy = np.array(plane.xy, np.float64).reshape(-1, 2)
        size = 4.4 if len(xy) <= _MANY else 3.6
        for colour, marker, _, members in groups:
            axes.plot(*xy[members].T, **_DOT, color=colour, marker=marker, markersize=size, alpha=0.8, zorder=2)
        axes.plot(*xy[np.array(record.wrong, bool)].T, **_RING, markersize=size + 2.6, zorder=3)
        axes.set_aspect("equal", adjustable="box", anchor="W")  # a step is as long in both directions
        axes.grid(visible=False)
        axes.set(title=plane.title, xlabel=plane.axes[0], ylabel=plane.axes[1])
        if not any(plane.axes):
            axes.set(xticks=[], yticks=[])
    panels[0].legend(handles=keys, loc="upper left", bbox_to_anchor=(1.01, 1.02), handletextpad=0.2)
    return figure
