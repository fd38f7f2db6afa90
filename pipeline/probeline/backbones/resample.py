"""Pillow's resize, bit for bit, as two matrix products on the device.

Pillow resamples 8-bit images in two passes, horizontal first, with integer coefficients of 22 fractional bits and a
rounding to 8 bits after each pass. Every product and partial sum is an integer below 2**53, so float64 matrix
products are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from probeline.images import Preprocess
from probeline.types import DoubleArray

_BITS = 22


def _bilinear(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _bicubic(x: float) -> float:
    # Keys (1981) with a = -0.5, as in Pillow.
    x = abs(x)
    if x < 1.0:
        return ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1
    if x < 2.0:
        return (((x - 5) * x + 8) * x - 4) * -0.5
    return 0.0


_FILTERS: dict[str, tuple[Callable[[float], float], float]] = {"bilinear": (_bilinear, 1.0), "bicubic": (_bicubic, 2.0)}


def coefficients(source: int, target: int, interpolation: str) -> DoubleArray:
    """Return Pillow's integer coefficients for one axis: float64 [target, source], each row summing to about 2**22."""
    kernel, radius = _FILTERS[interpolation]
    scale = source / target
    stretch = max(scale, 1.0)
    support = radius * stretch
    matrix = np.zeros((target, source))
    for row in range(target):
        centre = (row + 0.5) * scale
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), source)
        weights = [kernel((column - centre + 0.5) * (1.0 / stretch)) for column in range(low, high)]
        total = sum(weights)
        for column, weight in enumerate(weights, start=low):
            scaled = weight / total * (1 << _BITS)
            matrix[row, column] = int(scaled + math.copysign(0.5, scaled))
    return matrix


class Resample:
    """Resizes and centre-crops batches of one fixed size as Pillow does, on a device with float64, which MPS lacks."""

    def __init__(self, height: int, width: int, preprocess: Preprocess, device: torch.device) -> None:
        new_width, new_height = preprocess.resized(width, height)

        def axis(source: int, target: int) -> Tensor:
            start = round((target - preprocess.crop) / 2.0)
            rows = coefficients(source, target, preprocess.interpolation)[start : start + preprocess.crop]
            return torch.from_numpy(rows).to(device)

        self._vertical = axis(height, new_height)
        self._horizontal = axis(width, new_width).T.contiguous()

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return uint8 [B, crop, crop, 3] for uint8 [B, height, width, 3] on the device."""
        planes = pixels.permute(0, 3, 1, 2).to(torch.float64)
        rounded = _round(planes @ self._horizontal)
        return _round(self._vertical @ rounded).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _round(sums: Tensor) -> Tensor:
    return sums.add_(1 << (_BITS - 1)).mul_(2.0**-_BITS).floor_().clamp_(0, 255)
