"""Whether a preprocessing record does what another implementation does: both prepare one image, and are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from probeline.backbones.resample import Resample
from probeline.errors import BadOption
from probeline.images import PixelArray, Preprocess
from probeline.types import DoubleArray

_MEAN, _LARGEST = 1.0, 12.0
"""Mean and largest difference in grey levels of 255 that two implementations of one resize may have.

Torch's resize of uint8 differs from Pillow's by one level in one value of a hundred; with the other filter, without
antialiasing, with two channels swapped or with the ratio kept instead of changed, the mean difference is 4 or more.
"""


def check_same(preprocess: Preprocess, reference: Callable[[Image.Image], Any], what: str) -> None:
    """Refuse a record that prepares a test image in another way than `reference`.

    Parameters
    ----------
    preprocess : Preprocess
    reference : callable
        Returns the net's input [3, crop, crop], or [1, 3, crop, crop], for an RGB image.
    what : str
        What `reference` is, in errors.

    Raises
    ------
    BadOption
        They differ, or `reference` fails.
    """
    image = _test_image(preprocess)
    ours = Resample(image.height, image.width, preprocess, torch.device("cpu"))(torch.from_numpy(np.array(image)[None]))
    try:
        theirs = torch.as_tensor(np.asarray(reference(image))).double()
    except Exception as error:  # whatever another's code may raise
        raise _refused(what, f"{type(error).__name__}: {error}") from error
    shape = (3, preprocess.crop, preprocess.crop)
    if tuple(theirs.shape) not in (shape, (1, *shape)):
        raise _refused(what, f"an input {list(theirs.shape)} where {list(shape)} was expected")
    mean, std = (
        torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (preprocess.mean, preprocess.std)
    )
    levels = 255 * (theirs.reshape(shape) * std + mean)
    difference = (levels - ours[0].permute(2, 0, 1)).abs()
    if not (difference.mean() <= _MEAN and difference.max() <= _LARGEST):
        raise _refused(what, f"values that differ by {float(difference.mean()):.1f} of 255 grey levels on average")


def _refused(what: str, got: str) -> BadOption:
    return BadOption(
        f"{what} cannot be written as a preprocessing record",
        expected="a resize (bilinear or bicubic), a square centre crop, and (pixel / 255 - mean) / std",
        got=got,
        remedy="state the preprocessing that comes nearest in a python: factory (see docs/guide/backbones.md)",
    )


def _test_image(preprocess: Preprocess) -> Image.Image:
    """Return an RGB image wider than high and more than twice as large as the crop, with colours that differ in each
    direction, and fine texture.

    What remains around the crop is even, as implementations round its half differently.
    """
    height = 2 * preprocess.crop + 36
    sizes = ((width, height) for width in range(round(1.4 * height), 3 * height))
    size = next(size for size in sizes if all((side - preprocess.crop) % 2 == 0 for side in preprocess.resized(*size)))
    return Image.fromarray(_pixels(*size))


def _pixels(width: int, height: int) -> PixelArray:
    across: DoubleArray = np.linspace(30, 225, width)[None, :].repeat(height, 0)
    down: DoubleArray = np.linspace(30, 225, height)[:, None].repeat(width, 1)
    texture = np.random.default_rng(0).integers(30, 226, (height, width))
    return np.stack([across, down, texture], axis=2).round().astype(np.uint8)
