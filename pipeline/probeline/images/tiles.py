"""Images in the size of a report's figures; none of this reaches a net."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from probeline.records import PixelArray

_AROUND = (240, 240, 240)


def shrunk(image: Image.Image, longest: int) -> Image.Image:
    """Return an RGB image whose longer side is at most `longest` pixels; a smaller one as it is."""
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def tile(image: Image.Image, side: int) -> PixelArray:
    """Return a whole RGB image in the middle of a light grey square: uint8 [side, side, 3].

    It is made smaller to fit, or where it is small larger by a whole number, each of its pixels a square.
    """
    inner = shrunk(image, side)
    times = side // max(inner.size)
    inner = inner.resize((inner.width * times, inner.height * times), Image.Resampling.NEAREST)
    square = Image.new("RGB", (side, side), _AROUND)
    square.paste(inner, ((side - inner.width) // 2, (side - inner.height) // 2))
    return np.array(square)


def thumbnail(image: Image.Image, longest: int, quality: int) -> bytes:
    """Return an RGB image of at most `longest` pixels a side as a JPEG file; `quality` in [1, 95]."""
    data = io.BytesIO()
    shrunk(image, longest).save(data, "JPEG", quality=quality, subsampling=0, optimize=True)
    return data.getvalue()
