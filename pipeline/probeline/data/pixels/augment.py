"""Random changes of the colours and shapes of training images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_JITTER = 0.4
"""The largest relative change of brightness, contrast and saturation, as in He et al. and SimCLR."""

_OPERATIONS = 2
"""RandAugment's N."""

_MAGNITUDE = 0.3
"""RandAugment's M as a share of the largest change; torchvision's default is 9 of 31."""

Change = Callable[[Image.Image, float], Image.Image]
"""Changes an RGB image by a signed strength in [-1, 1]."""


def recolour(image: Image.Image, preset: str, rng: np.random.Generator) -> Image.Image:
    """Return an RGB image changed by the preset ``jitter`` or ``randaugment``; the same image for any other preset.

    ``jitter`` changes brightness, contrast and saturation, each by up to 40 %, in a random order. ``randaugment`` makes
    two changes of 14 kinds, each of 0.3 of its largest strength (Cubuk et al. 2020, "RandAugment: Practical automated
    data augmentation with a reduced search space", CVPR workshops).
    """
    if preset == "jitter":
        for kind in rng.permutation(3):
            image = _ENHANCERS[int(kind)](image).enhance(1 + _JITTER * rng.uniform(-1, 1))
    elif preset == "randaugment":
        for kind in rng.integers(len(_CHANGES), size=_OPERATIONS):
            sign = 1.0 if rng.random() < 0.5 else -1.0
            image = _CHANGES[int(kind)](image, sign * _MAGNITUDE)
    return image


_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def _moved(matrix: Callable[[float, int, int], tuple[float, ...]]) -> Change:
    def change(image: Image.Image, strength: float) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, matrix(strength, *image.size))

    return change


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Change:
    return lambda image, strength: kind(image).enhance(1 + 0.9 * strength)


_CHANGES: tuple[Change, ...] = (
    lambda image, strength: image,  # noqa: ARG005
    _moved(lambda s, w, h: (1, 0.3 * s, 0, 0, 1, 0)),  # noqa: ARG005
    _moved(lambda s, w, h: (1, 0, 0, 0.3 * s, 1, 0)),  # noqa: ARG005
    _moved(lambda s, w, h: (1, 0, 0.45 * s * w, 0, 1, 0)),  # noqa: ARG005
    _moved(lambda s, w, h: (1, 0, 0, 0, 1, 0.45 * s * h)),  # noqa: ARG005
    lambda image, strength: image.rotate(30 * strength),
    _enhanced(ImageEnhance.Brightness),
    _enhanced(ImageEnhance.Color),
    _enhanced(ImageEnhance.Contrast),
    _enhanced(ImageEnhance.Sharpness),
    lambda image, strength: ImageOps.posterize(image, 8 - round(4 * abs(strength))),
    lambda image, strength: ImageOps.solarize(image, round(255 * (1 - abs(strength)))),
    lambda image, strength: ImageOps.autocontrast(image),  # noqa: ARG005
    lambda image, strength: ImageOps.equalize(image),  # noqa: ARG005
)
