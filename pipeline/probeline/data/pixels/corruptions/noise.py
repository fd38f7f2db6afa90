"""Noise of ImageNet-C: Gaussian, shot (Poisson) and impulse (salt and pepper) noise of each value of each channel."""

from __future__ import annotations

import numpy as np

from probeline.types import DoubleArray


def gaussian_noise(pixels: DoubleArray, std: float, rng: np.random.RandomState) -> DoubleArray:
    """Return pixels in [0, 1] with normal noise of this standard deviation added."""
    return pixels + rng.normal(scale=std, size=pixels.shape)


def shot_noise(pixels: DoubleArray, photons: float, rng: np.random.RandomState) -> DoubleArray:
    """Return pixels in [0, 1] as counts of photons, of which white has this many on average."""
    counts: DoubleArray = rng.poisson(pixels * photons) / photons
    return counts


def impulse_noise(pixels: DoubleArray, amount: float, rng: np.random.RandomState) -> DoubleArray:
    """Return pixels in [0, 1] with this share of their values replaced, by 0 or 1 with equal chances."""
    replaced = rng.uniform(size=pixels.shape) < amount
    ends = (rng.uniform(size=pixels.shape) < 0.5).astype(np.float64)
    return np.where(replaced, ends, pixels)
