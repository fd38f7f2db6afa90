"""Augmented views: a random region of each image, which depends on the view and the image's content alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from probeline.data.pixels.decode import random_resized_crop, resize_crop
from probeline.images import Corruption, PixelArray, Preprocess, Sight, View


class Stream:
    """Random numbers for an image in a view, from the raw stream of PCG64, which NumPy promises not to change."""

    def __init__(self, view: int, content: str) -> None:
        self._raw = np.random.PCG64(np.random.SeedSequence([view, int(content, 16)]))

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high), of 53 random bits."""
        return low + (high - low) * ((int(self._raw.random_raw()) >> 11) * 2.0**-53)

    def integers(self, low: int) -> int:
        """Return an integer in [0, low), for a `low` far below 2**53."""
        return int(self.uniform(0, low))


def augment(image: Image.Image, preprocess: Preprocess, view: View, content: str) -> PixelArray:
    """Return a view of an RGB image with the sha256 `content`: uint8 [crop, crop, 3], mirrored if the view says so."""
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


def view_by(
    preprocess: Preprocess, view: Sight | None, content: Sequence[str]
) -> Callable[[Image.Image, int], PixelArray]:
    """Return the function that makes of an RGB image and its row what a net sees: the centre crop, or a view or
    corruption of it.

    `content` has the sha256 of each row's image.
    """
    if view is None:
        return lambda image, _: resize_crop(image, preprocess)
    if isinstance(view, Corruption):
        from probeline.data.pixels.corruptions.table import corrupt  # and with it scipy, which few runs need

        corruption = view
        return lambda image, row: corrupt(resize_crop(image, preprocess), corruption, content[row])
    return lambda image, row: augment(image, preprocess, view, content[row])
