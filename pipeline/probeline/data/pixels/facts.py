"""What is odd about an image as a net sees it: one colour everywhere, few levels, grey of 16 bits."""

from __future__ import annotations

from typing import Any

from probeline.data.pixels.decode import Pixels
from probeline.images import PixelArray

LEVELS = 16
"""An image whose values span fewer of the 256 levels shows a net next to nothing."""


def find_oddities(pixels: Pixels, view: PixelArray) -> dict[str, Any]:
    """Return the facts about a decoded image and its view uint8 [H, W, 3] that extraction records; mostly none."""
    facts: dict[str, Any] = {}
    if _is_of_one_colour(view):
        facts["one_colour"] = True
        if pixels.is_transparent:
            facts["transparent"] = True
    elif int(view.max()) - int(view.min()) < LEVELS:
        facts["few_levels"] = True
    if pixels.grey_max is not None:
        facts["grey_max"] = pixels.grey_max
    return facts


def _is_of_one_colour(view: PixelArray) -> bool:
    """Return whether all pixels are equal; the first row, looked at before the rest, answers for nearly all images.

    The range of each channel says the same, and takes NumPy 2 ms for 224 x 224 pixels: half of a photo's decoding.
    """
    first = view[0, 0]
    return bool((view[0] == first).all() and (view == first).all())
