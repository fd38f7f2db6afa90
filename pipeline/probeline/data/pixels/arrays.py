"""Arrays of images in the shapes and types that people have, as uint8 RGB: converted only where nothing is lost."""

from __future__ import annotations

import numpy as np

from probeline.errors import BadData
from probeline.identity import digest_pixels
from probeline.images import PixelArray
from probeline.types import AnyArray

_SLACK = 1e-3
"""How far 255 times a float32 in [0, 1] may be from a whole number."""


def to_rgb(array: AnyArray, where: object) -> tuple[PixelArray, tuple[str, ...]]:
    """Return images as uint8 [N, H, W, 3], and in words how they were converted.

    Accepted are [N, H, W, 3], grey [N, H, W] and [N, H, W, 1], and [N, 3, H, W] and [N, 1, H, W] if the last axis
    cannot be channels too; uint8, whole numbers from 0 to 255, and floats in [0, 1] that are multiples of 1/255.

    Raises
    ------
    BadData
        Any other array: what it is, and how to convert it.
    """
    array, how = _channels_last(array, where)
    pixels, converted = _to_uint8(array, where)
    if pixels.ndim == 3:
        pixels = np.repeat(pixels[..., None], 3, axis=3)
    return np.ascontiguousarray(pixels), tuple(filter(None, (how, converted)))


def digest_images(pixels: PixelArray) -> tuple[str, ...]:
    """Return the content digest of each image of uint8 [N, H, W, 3]."""
    height, width = pixels.shape[1:3]
    return tuple(digest_pixels(height, width, image.data) for image in pixels)


def _channels_last(array: AnyArray, where: object) -> tuple[AnyArray, str | None]:
    """Return the array as [N, H, W, 3] or grey [N, H, W]."""
    shape = array.shape
    if array.ndim == 3 and 0 not in shape:
        return array, "grey images in all three channels"
    if array.ndim == 4 and 0 not in shape:
        first, last = shape[1] in (1, 3), shape[3] in (1, 3)
        if last and not (first and shape[1] == 3):
            return (array, None) if shape[3] == 3 else (array[..., 0], "grey images in all three channels")
        if first and not last:
            axes = "[N, 3, H, W] read as channels first"
            return (np.moveaxis(array, 1, 3), axes) if shape[1] == 3 else (array[:, 0], "grey images, channels first")
    remedy = "give [N, H, W, 3]"
    if array.ndim == 2:
        remedy = "reshape the rows: x.reshape(-1, HEIGHT, WIDTH)"
    elif array.ndim == 4 and shape[3] == 4:
        remedy = "leave the fourth channel out, or composite it first"
    raise BadData(
        "array is not of images", where=where, expected="[N, H, W, 3] or [N, H, W]", got=list(shape), remedy=remedy
    )


def _to_uint8(array: AnyArray, where: object) -> tuple[PixelArray, str | None]:
    if array.dtype == np.uint8:
        return array, None
    kind = str(array.dtype)
    if array.dtype.kind not in "iuf":
        raise BadData("array does not hold pixels", where=where, expected="uint8", got=kind)
    least, most = array.min(), array.max()
    scale = f"{kind} from {least:g} to {most:g}"
    if not (np.isfinite(least) and np.isfinite(most)) or least < 0 or most > 255:
        remedy = "give the pixels before they were normalised" if least < 0 else "scale them to 0 to 255 as uint8"
        raise BadData("array does not hold pixels", where=where, expected="uint8", got=scale, remedy=remedy)
    if array.dtype.kind == "f":
        factor = 255 if most <= 1 else 1
        exact = np.rint(array * factor)
        if np.abs(array * factor - exact).max() > _SLACK:
            round_it = "(255 * x).round().astype('uint8')" if factor == 255 else "x.round().astype('uint8')"
            raise BadData(
                "converting these pixels to 8 bits would lose digits",
                where=where,
                expected="uint8",
                got=scale,
                remedy=f"do it on purpose: {round_it}",
            )
        return exact.astype(np.uint8), f"{scale} read as 8 bits{' times 1/255' if factor == 255 else ''}, exactly"
    if most <= 1:
        raise BadData(
            "whole numbers that are only 0 and 1 may be black and white or almost black",
            where=where,
            expected="0 to 255",
            got=scale,
            remedy="give 255 * x as uint8 for black and white",
        )
    return array.astype(np.uint8), f"{scale} read as 8 bits, exactly"
