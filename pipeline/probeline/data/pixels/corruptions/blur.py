"""Blurs of ImageNet-C: out of focus, through frosted glass, by motion and by zooming."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from probeline.types import DoubleArray

_LEAST_REACH = 8
"""Pixels from the centre of a disk's kernel to its edge, at least."""


def defocus_blur(pixels: DoubleArray, radius: int, softness: float) -> DoubleArray:
    """Return pixels [H, W, 3] blurred by a disk of this radius, whose edge is itself blurred by `softness` pixels."""
    kernel = disk(radius, softness)
    return np.stack([ndimage.correlate(pixels[..., i], kernel, mode="mirror") for i in range(pixels.shape[2])], axis=2)


def disk(radius: int, softness: float) -> DoubleArray:
    """Return the kernel of a disk with a soft edge; its sum is 1 but for what the edge loses at the border."""
    reach, blur_reach = (_LEAST_REACH, 1) if radius <= _LEAST_REACH else (radius, 2)
    steps = np.arange(-reach, reach + 1)
    kernel = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.float64)
    kernel /= kernel.sum()
    weights = np.exp(-(np.arange(-blur_reach, blur_reach + 1) ** 2) / (2 * softness**2))
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, weights / weights.sum(), axis=axis, mode="mirror")
    return kernel


def glass_blur(pixels: DoubleArray, sigma: float, reach: int, rounds: int, rng: np.random.RandomState) -> DoubleArray:
    """Return pixels [H, W, 3] whose values were taken from near by, blurred before and after.

    Each pixel in turn, from the lower right, becomes the one at a random offset of at most `reach`, in several rounds.
    As the published program runs, it is copied and not swapped.
    """
    height, width, _ = pixels.shape
    blurred = np.floor(255 * _gaussian(pixels, sigma)) / 255
    flat = list(range(height * width))
    rows, columns = (range(side - reach, reach, -1) for side in (height, width))
    for _ in range(rounds):
        offsets = rng.randint(-reach, reach, size=(len(rows), len(columns), 2))
        for row, line in zip(rows, offsets, strict=True):
            for column, (dx, dy) in zip(columns, line.tolist(), strict=True):
                flat[row * width + column] = flat[(row + dy) * width + column + dx]
    shuffled = blurred.reshape(-1, 3)[flat].reshape(pixels.shape)
    return _gaussian(shuffled, sigma)


def _gaussian(pixels: DoubleArray, sigma: float) -> DoubleArray:
    blurred: DoubleArray = ndimage.gaussian_filter(pixels, (sigma, sigma, 0), mode="nearest", truncate=4)
    return blurred


def motion_blur(layer: DoubleArray, radius: int, sigma: float, angle: float) -> DoubleArray:
    """Return a layer [H, W] or [H, W, C] smeared to one side, as ImageMagick's ``-motion-blur`` does.

    Parameters
    ----------
    radius : int
        The streak has ``2 radius + 1`` pixels.
    sigma : float
        Of the half of a normal curve that weights them, in pixels.
    angle : float
        Degrees.
    """
    width = 2 * radius + 1
    weights = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    down, across = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    height, length = layer.shape[:2]
    blurred = np.zeros_like(layer)
    for step, weight in enumerate(weights):
        rows = np.clip(np.arange(height) + math.ceil(step * down - 0.5), 0, height - 1)
        columns = np.clip(np.arange(length) + math.ceil(step * across - 0.5), 0, length - 1)
        blurred += weight * layer[rows[:, None], columns]
    return blurred


def zoom_blur(pixels: DoubleArray, most: float, step: float) -> DoubleArray:
    """Return the mean of pixels [H, W, 3] as they are, and at zoom factors from 1 in steps to just below `most`."""
    factors = np.arange(1, most, step)
    total = pixels + sum(zoom(pixels, float(factor)) for factor in factors)
    blurred: DoubleArray = total / (len(factors) + 1)
    return blurred


def zoom(layer: DoubleArray, factor: float) -> DoubleArray:
    """Return the centre of a square layer [S, S, C], enlarged by a factor to its own size, bilinearly."""
    side = layer.shape[0]
    kept = math.ceil(side / factor)
    start = (side - kept) // 2
    enlarged = ndimage.zoom(layer[start : start + kept, start : start + kept], (factor, factor, 1), order=1)
    trimmed = (enlarged.shape[0] - side) // 2
    centre: DoubleArray = enlarged[trimmed : trimmed + side, trimmed : trimmed + side]
    return centre
