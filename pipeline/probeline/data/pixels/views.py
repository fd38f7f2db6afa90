"""Augmented views: of each image a random region, the same for ever in whatever order or company it is read."""

from __future__ import annotations

import numpy as np
from PIL import Image

from probeline.data.pixels.decode import random_resized_crop
from probeline.types import PixelArray, Preprocess, View


class Stream:
    """Draws from the raw 64-bit stream of PCG64, which NumPy promises not to change.

    Parameters
    ----------
    view : int
        The view's number.
    content : str
        sha256 of the image's source, hexadecimal.
    """

    def __init__(self, view: int, content: str) -> None:
        self._raw = np.random.PCG64(np.random.SeedSequence([view, int(content, 16)]))

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high), of 53 random bits."""
        return low + (high - low) * ((int(self._raw.random_raw()) >> 11) * 2.0**-53)

    def integers(self, low: int) -> int:
        """Return a whole number in [0, low), for a `low` far below 2**53."""
        return int(self.uniform(0, low))


def augmented(image: Image.Image, preprocess: Preprocess, view: View, content: str) -> PixelArray:
    """Return what a net sees of an image in a view: a random region, resized by Pillow, mirrored or not.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode RGB.
    preprocess : Preprocess
        Its `crop` and `interpolation` are used.
    view : View
    content : str
        sha256 of the image's source, hexadecimal.

    Returns
    -------
    uint8 [crop, crop, 3]
    """
    draws = Stream(view.number, content)
    mirrored = view.flips and draws.uniform(0, 1) < 0.5
    pixels = random_resized_crop(
        image,
        preprocess.crop,
        draws,
        scale=view.scale,
        ratio=view.ratio,
        interpolation=preprocess.interpolation,
    )
    return pixels[:, ::-1] if mirrored else pixels
