"""Small real photos for tests: pieces of the two that scikit-learn has."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images


def photo_patches(side: int = 64) -> list[Image.Image]:
    """Return square pieces of photos that do not overlap: 120 of 64 pixels, of a temple and of a flower.

    Among them are pieces of sky and of blurred leaves, some of which are flat.
    """
    return [
        Image.fromarray(photo[top : top + side, left : left + side])
        for photo in _photos()
        for top in range(0, photo.shape[0] - side + 1, side)
        for left in range(0, photo.shape[1] - side + 1, side)
    ]


@functools.cache
def _photos() -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], ...]:
    return tuple(load_sample_images().images)
