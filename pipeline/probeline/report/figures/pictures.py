"""Pictures: first filters, the input of a net, and misclassified images; reports have captions of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from probeline.report.figures.sheet import Sheet, default_look, fit, names, png
from probeline.report.figures.style import DPI, INK, MUTED, POINTS, SIZE, WIDTH
from probeline.results.picture import Misclassification
from probeline.types import FloatArray, PixelArray

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
    _put(axes, grid, 0, 0, _ROOM, height, "nearest")
    return figure


def own_range(kernels: FloatArray) -> PixelArray:
    """Return kernels as colours, uint8 [K, h, w, 3], from the least value of each to its largest; grey if all are equal."""
    low, high = (end(kernels, axis=(1, 2, 3), keepdims=True) for end in (np.min, np.max))
    flat = high == low
    scaled = np.where(flat, 0.5, (kernels - low) / np.where(flat, 1, high - low))
    colours: PixelArray = np.rint(255 * scaled).astype(np.uint8).transpose(0, 2, 3, 1)
    return colours


def _grid(colours: PixelArray) -> PixelArray:
    count, height, width = colours.shape[:3]
    columns = min(count, _COLUMNS)
    times = max(1, (_FILTERS_WIDTH // columns - _GAP) // width)
    large = colours.repeat(times, axis=1).repeat(times, axis=2)
    height, width = height * times + _GAP, width * times + _GAP
    grid = np.full((-(-count // columns) * height - _GAP, columns * width - _GAP, 3), 255, np.uint8)
    for i, kernel in enumerate(large):
        top, left = i // columns * height, i % columns * width
        grid[top : top + height - _GAP, left : left + width - _GAP] = kernel
    return grid


def net_input(title: str, panels: Sequence[Panel]) -> Sheet:
    """Return images side by side, each with its two lines above it."""
    side = (_ROOM - (len(panels) - 1) * _SPACE) / len(panels)
    scales = [min(side / panel.pixels.shape[1], _TALLEST * side / panel.pixels.shape[0]) for panel in panels]
    tallest = max(scale * panel.pixels.shape[0] for scale, panel in zip(scales, panels, strict=True))
    figure, axes = _sheet_in_points(title, _HEADING + tallest)
    for i, (panel, scale) in enumerate(zip(panels, scales, strict=True)):
        left = i * (side + _SPACE)
        height, width = (scale * length for length in panel.pixels.shape[:2])
        tiny = max(panel.pixels.shape) <= _TINY
        _put(axes, panel.pixels, left, _HEADING, width, height, "nearest" if tiny else "antialiased")
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
        _put(axes, pixels, left, top, side, side, "antialiased")
        below = top + side + _SPACE / 3
        _write(axes, f"true: {shown[error.true]}", left, below, side, color=INK)
        _write(axes, f"predicted: {shown[error.predicted]}", left, below + _LINE, side, color=_WRONG)
        _write(axes, f"{part}:{error.row}", left, below + 2 * _LINE, side, color=MUTED)
    return figure


def _sheet_in_points(title: str, height: float) -> tuple[Sheet, Axes]:
    """Return a sheet with axes of `_ROOM` x `height` points for all images: axes for each would take seconds."""
    figure = Sheet(WIDTH, height / POINTS + 0.45, title)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set(xlim=(0, _ROOM), ylim=(height, 0), aspect="equal", autoscale_on=False)
    return figure, axes


def _put(
    axes: Axes, pixels: PixelArray, left: float, top: float, width: float, height: float, interpolation: str
) -> None:
    axes.imshow(pixels, extent=(left, left + width, top + height, top), interpolation=interpolation)


def _write(axes: Axes, text: str, left: float, top: float, room: float, **look: Any) -> None:
    """Write a line that is no longer than `room` points."""
    fit(axes.text(left, top, text, va="top", fontsize=SIZE, **look), DPI * room / POINTS)
