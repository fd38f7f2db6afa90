"""Weather and light of ImageNet-C: snow, fog and brightness. Frost needs photographs of frost, and is left out."""

from __future__ import annotations

import numpy as np

from probeline.data.pixels.corruptions.blur import motion_blur, zoom
from probeline.types import DoubleArray

_LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601."""

_LEAST_MAP = 256
"""Side of the fractal that fog is cut from."""


def snow(
    pixels: DoubleArray,
    flakes: tuple[float, float, float, float],
    streak: tuple[int, float],
    kept: float,
    rng: np.random.RandomState,
) -> DoubleArray:
    """Return pixels [S, S, 3] in [0, 1], whitened, with streaks of flakes and the same turned by 180 degrees.

    Parameters
    ----------
    flakes : tuple of 4 floats
        Mean and standard deviation of the normal noise that they are made of, its zoom factor, and the value below
        which there is no flake.
    streak : int and float
        Radius and sigma of the motion blur in pixels, at a random angle from -135 to -45 degrees.
    kept : float
        Share of the image that is not whitened.
    """
    mean, std, factor, least = flakes
    layer = zoom(rng.normal(loc=mean, scale=std, size=(*pixels.shape[:2], 1)), factor)[..., 0]
    layer = np.floor(255 * np.clip(np.where(layer < least, 0, layer), 0, 1)) / 255
    layer = motion_blur(layer, *streak, rng.uniform(-135, -45))[..., None]
    white = np.maximum(pixels, 1.5 * (pixels @ np.array(_LUMA))[..., None] + 0.5)
    snowy: DoubleArray = kept * pixels + (1 - kept) * white + layer + np.rot90(layer, k=2)
    return snowy


def fog(pixels: DoubleArray, density: float, roughness: float, rng: np.random.RandomState) -> DoubleArray:
    """Return pixels [S, S, 3] in [0, 1] behind a fractal fog; the brightest value stays what it is at most.

    `roughness` is by how much the fractal's random part shrinks from one scale to the next.
    """
    side, brightest = pixels.shape[0], pixels.max()
    clouds = fractal(max(_LEAST_MAP, 1 << (side - 1).bit_length()), roughness, rng)[:side, :side, None]
    hazy: DoubleArray = (pixels + density * clouds) * brightest / (brightest + density)
    return hazy


def fractal(side: int, decay: float, rng: np.random.RandomState) -> DoubleArray:
    """Return a plasma fractal [side, side] in [0, 1] that wraps around, by the diamond-square algorithm.

    `side` is a power of two.

    References
    ----------
    Fournier, Fussell and Carpenter 1982, "Computer rendering of stochastic models", Communications of the ACM 25.
    """
    heights, spread, step = np.zeros((side, side)), 100.0, side
    while step >= 2:
        half = step // 2

        def middle(total: DoubleArray, spread: float = spread) -> DoubleArray:
            return total / 4 + spread * rng.uniform(-spread, spread, total.shape)

        corners = heights[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        heights[half::step, half::step] = middle(pairs + np.roll(pairs, -1, axis=1))
        centres = heights[half::step, half::step]
        above_and_below = centres + np.roll(centres, 1, axis=0)
        heights[::step, half::step] = middle(above_and_below + corners + np.roll(corners, -1, axis=1))
        left_and_right = centres + np.roll(centres, 1, axis=1)
        heights[half::step, ::step] = middle(left_and_right + corners + np.roll(corners, -1, axis=0))
        step, spread = half, spread / decay
    heights -= heights.min()
    scaled: DoubleArray = heights / heights.max()
    return scaled


def brightness(pixels: DoubleArray, added: float) -> DoubleArray:
    """Return pixels [..., 3] in [0, 1] with this much added to their value of HSV, at the same hue and saturation."""
    value = pixels.max(axis=-1, keepdims=True)
    brighter = np.minimum(value + added, 1)
    shown: DoubleArray = np.where(value > 0, pixels * brighter / np.where(value > 0, value, 1), brighter)
    return shown
