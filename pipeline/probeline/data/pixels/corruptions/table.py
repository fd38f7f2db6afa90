"""The corruptions of ImageNet-C by name, with the published parameters of their five severities.

References
----------
Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR,
and the parameters of its published program. Random numbers are others than there: they depend on the image's content.
The corrupted images are not compressed as JPEG with quality 85, in which ImageNet-C is distributed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from probeline.data.pixels.corruptions import blur, digital, noise, weather
from probeline.images import Corruption, PixelArray
from probeline.names import CORRUPTIONS
from probeline.types import DoubleArray

_UNIT = 244
"""Pixels, in which the elastic transform's parameters are published; the images have 224."""

PARAMETERS: Mapping[str, tuple[tuple[Any, ...], ...]] = {
    "gaussian_noise": ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    "shot_noise": ((60,), (25,), (12,), (5,), (3,)),
    "impulse_noise": ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": (
        ((0.1, 0.3, 3, 0.5), (10, 4), 0.8),
        ((0.2, 0.3, 2, 0.5), (12, 4), 0.7),
        ((0.55, 0.3, 4, 0.9), (12, 8), 0.7),
        ((0.55, 0.3, 4.5, 0.85), (12, 8), 0.65),
        ((0.55, 0.3, 2.5, 0.85), (12, 12), 0.55),
    ),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    "contrast": ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    "elastic_transform": (
        (_UNIT * 2, _UNIT * 0.7, _UNIT * 0.1),
        (_UNIT * 2, _UNIT * 0.08, _UNIT * 0.2),
        (_UNIT * 0.05, _UNIT * 0.01, _UNIT * 0.02),
        (_UNIT * 0.07, _UNIT * 0.01, _UNIT * 0.02),
        (_UNIT * 0.12, _UNIT * 0.01, _UNIT * 0.02),
    ),
    "pixelate": ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
    "jpeg_compression": ((25,), (18,), (15,), (10,), (7,)),
}
"""By name, for severities 1 to 5; lengths in pixels, at any image size."""


def corrupt(pixels: PixelArray, corruption: Corruption, content: str) -> PixelArray:
    """Return corrupted pixels uint8 [S, S, 3] of the image with the sha256 `content`; at severity 0 as they are."""
    if corruption.severity == 0:
        return pixels
    parameters, rng = PARAMETERS[corruption.name][corruption.severity - 1], _random_state(corruption, content)
    if corruption.name == "pixelate":
        return digital.pixelate(pixels, *parameters)
    if corruption.name == "jpeg_compression":
        return digital.jpeg_compression(pixels, *parameters)
    changed = _change(pixels / 255.0, corruption.name, parameters, rng)
    # Rounded down, as the published program does; 1e-9 keeps what is whole from falling below by rounding.
    return np.floor(255 * np.clip(changed, 0, 1) + 1e-9).astype(np.uint8)


def _change(pixels: DoubleArray, name: str, parameters: tuple[Any, ...], rng: np.random.RandomState) -> DoubleArray:
    if name == "motion_blur":
        radius, sigma = parameters
        return blur.motion_blur(pixels, radius, sigma, rng.uniform(-45, 45))
    if name in _PLAIN:
        return _PLAIN[name](pixels, *parameters)
    return _RANDOM[name](pixels, *parameters, rng)


_PLAIN: Mapping[str, Callable[..., DoubleArray]] = {
    "defocus_blur": blur.defocus_blur,
    "zoom_blur": blur.zoom_blur,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
}
_RANDOM: Mapping[str, Callable[..., DoubleArray]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "glass_blur": blur.glass_blur,
    "snow": weather.snow,
    "fog": weather.fog,
    "elastic_transform": digital.elastic_transform,
}


def _random_state(corruption: Corruption, content: str) -> np.random.RandomState:
    """Return random numbers of the image and the corruption alone; NumPy promises never to change RandomState's."""
    place = CORRUPTIONS.index(corruption.name)
    seeds = [corruption.seed, place, corruption.severity, int(content, 16)]
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seeds)))
