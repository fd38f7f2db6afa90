"""Images in the size of a report's figures; none of this reaches a net."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from probeline.types import PixelArray

_AROUND = (240, 240, 240)


def shrunk(image: Image.Image, longest: int) -> Image.Image:
    """Return an RGB image whose longer side is at most `longest` pixels; a smaller one as it is."""
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def scaled(image: Image.Image, longest: int) -> Image.Image:
    """Return an RGB image whose longer side is at most `longest` pixels.

    It is made smaller to fit, or where it is small larger by a whole number, each of its pixels a square.
    """
    inner = shrunk(image, longest)
    times = longest // max(inner.size)
    return inner.resize((inner.width * times, inner.height * times), Image.Resampling.NEAREST)


def tile(image: Image.Image, side: int) -> PixelArray:
    """Return a whole RGB image, `scaled`, in the middle of a light grey square: uint8 [side, side, 3]."""
    inner = scaled(image, side)
    square = Image.new("RGB", (side, side), _AROUND)
    square.paste(inner, ((side - inner.width) // 2, (side - inner.height) // 2))
    return np.array(square)


def webp(image: Image.Image, quality: int | None) -> bytes:
    """Return the pixels of an RGB image as a WebP file of a quality in [0, 100]; None for not one value lost."""
    data = BytesIO()
    pixels = Image.fromarray(np.array(image))  # without the profile and the dates that came with a photo
    pixels.save(data, "WEBP", **({"lossless": True} if quality is None else {"quality": quality}))
    return data.getvalue()
