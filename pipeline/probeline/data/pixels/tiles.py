"""Images in the size of a report's figures; none of this reaches a net."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from probeline.images import PixelArray

_LIGHT_GREY = (240, 240, 240)


def shrink(image: Image.Image, longest: int) -> Image.Image:
    """Return an RGB image whose longer side is at most `longest` pixels; a smaller one as it is."""
    factor = longest / max(image.size)
    if factor >= 1:
        return image
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def scale(image: Image.Image, longest: int) -> Image.Image:
    """Return an RGB image shrunk to at most `longest` pixels per side, or enlarged by an integer to nearly that."""
    inner = shrink(image, longest)
    times = longest // max(inner.size)
    return inner.resize((inner.width * times, inner.height * times), Image.Resampling.NEAREST)


def tile(image: Image.Image, side: int) -> PixelArray:
    """Return a scaled RGB image in the middle of a light grey square: uint8 [side, side, 3]."""
    inner = scale(image, side)
    square = Image.new("RGB", (side, side), _LIGHT_GREY)
    square.paste(inner, ((side - inner.width) // 2, (side - inner.height) // 2))
    return np.array(square)


def encode_webp(image: Image.Image, quality: int | None) -> bytes:
    """Return the pixels of an RGB image as a WebP file of a quality in [0, 100]; None is lossless."""
    data = BytesIO()
    pixels = Image.fromarray(np.array(image))  # without the photo's colour profile and metadata
    pixels.save(data, "WEBP", **({"lossless": True} if quality is None else {"quality": quality}))
    return data.getvalue()
