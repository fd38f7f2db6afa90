"""Checks of figures for tests: which texts are shown, where they overlap and how colours look."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from probeline.report.figures.sheet import Sheet, png


def drawn(figure: Sheet, monkeypatch: pytest.MonkeyPatch) -> list[Text]:
    """Return the texts that drawing the figure really shows: ticks out of range are not among them."""
    found: list[Text] = []
    draw_text = Text.draw

    def watch(text: Text, renderer: object) -> None:
        if text.get_visible() and text.get_text().strip():
            found.append(text)
        draw_text(text, renderer)

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", watch)
        png(figure)
    return [text for i, text in enumerate(found) if text not in found[:i]]


def assert_clear(figure: Figure, boxes: Sequence[tuple[Text, Bbox]]) -> None:
    """Assert that every text lies within the figure and on no other."""
    for text, box in boxes:
        low, high = figure.bbox.min, figure.bbox.max
        assert (box.min >= low).all(), text
        assert (box.max <= high).all(), text
    straight = [(text, box) for text, box in boxes if text.get_rotation() % 90 == 0]
    for (text, box), (other, its) in combinations(straight, 2):
        overlap = np.minimum(box.max, its.max) - np.maximum(box.min, its.min)
        # Boxes of neighbouring lines may touch by a pixel; no letter is as thin.
        assert (overlap <= 1).any(), (text, other)


def cielab(colour: str) -> npt.NDArray[np.float64]:
    """Return lightness and two opponent axes of an sRGB colour under D65."""
    levels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    light = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ light / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])
