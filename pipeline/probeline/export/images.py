"""Which images a predictor takes, and the crop that the net sees of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from probeline.data.pixels.bounds import MOST_PIXELS
from probeline.data.pixels.decode import decode, decode_opened, resize_crop
from probeline.data.pixels.loading import lease_for
from probeline.errors import BadData
from probeline.files.paths import is_blank
from probeline.images import PixelArray, Preprocess

if TYPE_CHECKING:
    from torch import Tensor

    Picture = str | Path | Image.Image | PixelArray | Tensor

_KINDS = "a path, a PIL image, a uint8 array [H, W, 3] or a uint8 tensor [3, H, W]"


def crop_of(picture: Picture, preprocess: Preprocess) -> PixelArray:
    """Return the crop that a net sees of an image: uint8 [crop, crop, 3], resized by Pillow as for training.

    Raises
    ------
    BadData
        It is no image, or of another kind than a predictor takes.
    """
    if isinstance(picture, str | Path) and is_blank(picture):
        raise BadData("an empty name of an image", expected="a path")
    if isinstance(picture, str | Path | Image.Image):
        with lease_for(preprocess) as lease:
            if isinstance(picture, Image.Image):
                return resize_crop(decode_opened(picture, preprocess.decoding, lease).image, preprocess)
            return resize_crop(decode(Path(picture), None, preprocess.decoding, lease), preprocess)
    return resize_crop(Image.fromarray(pixels_of(picture)), preprocess)


def pixels_of(picture: Any) -> PixelArray:
    """Return the pixels uint8 [H, W, 3] of an array or of a tensor."""
    import torch

    if not isinstance(picture, np.ndarray | torch.Tensor):
        raise BadData("this is no image", expected=_KINDS, got=type(picture).__name__)
    shape, kind = list(picture.shape), "array" if isinstance(picture, np.ndarray) else "tensor"
    channels = -1 if kind == "array" else 0
    dtype = str(picture.dtype).removeprefix("torch.")
    if dtype != "uint8" or len(shape) != 3 or shape[channels] != 3 or 0 in shape:
        raise BadData(f"this {kind} is no image of 3 channels", expected=_KINDS, got=f"{dtype} {shape}")
    pixels: PixelArray = picture if isinstance(picture, np.ndarray) else picture.permute(1, 2, 0).cpu().numpy()
    if (size := pixels.shape[0] * pixels.shape[1]) > MOST_PIXELS:
        raise BadData("this image is too large", expected=f"at most {MOST_PIXELS} pixels", got=size)
    return np.ascontiguousarray(pixels)


def iterate_images(pictures: Picture | Iterable[Picture]) -> Iterator[Picture]:
    """Yield the images of a single one, of a batch [N, ...] or of any iterable of them."""
    import torch

    if isinstance(pictures, str | Path | Image.Image):
        yield pictures
    elif isinstance(pictures, np.ndarray | torch.Tensor):
        yield from pictures if pictures.ndim == 4 else [pictures]
    elif isinstance(pictures, Iterable):
        yield from pictures
    else:
        raise BadData("these are no images", expected=f"{_KINDS}, or several of one kind", got=type(pictures).__name__)
