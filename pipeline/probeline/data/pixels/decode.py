"""From an image file to the pixels a net sees. Changes must bump ``PREPROCESS_VERSION``, which is part of every key.

The decode policy:

* JPEG, PNG, BMP, WebP, TIFF and PNM, recognised by content, not by name; the first of several frames.
* At most 178,956,970 pixels (where Pillow only warns), checked before any is decoded; a WebP of at most 16,383 per
  side, the limit of a frame. Only an animation may declare more; filling 150 million pixels took 40 s.
* A truncated file is an error, never an image that is partly grey.
* The EXIF orientation is applied, unless the metadata cannot be read. Colour profiles are ignored.
* Alpha and transparent colours are composited on black.
* 16-bit grey keeps its high byte, as Pillow does with 16-bit colour. Wider pixels are an error.
* Everything else is converted to RGB by Pillow.

Resizing is Pillow's, the horizontal pass first, in two calls: in a single call the order depends on the image's shape
from Pillow 13 on, so that equal keys would have different pixels.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from probeline.errors import BadData
from probeline.identity import digest_bytes
from probeline.types import PixelArray, Preprocess

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 178_956_970
LONGEST_WEBP = 16_383

LONGEST = 100
"""Aspect ratio beyond which only the region of the crop is resized."""

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that undoes each EXIF orientation."""


def decode(path: Path, sha256: str | None = None) -> Image.Image:
    """Return an image file upright and in mode RGB; thread-safe.

    Raises
    ------
    BadData
        The file cannot be read as an image, or its bytes have another sha256 than given.
    """
    # Pillow warns of odd metadata; warnings.catch_warnings would race between threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        data = path.read_bytes()
        if sha256 is not None and digest_bytes(data) != sha256:
            raise ValueError("other content than when the data set was listed")
        if not data:
            raise ValueError("an empty file")
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _decoded(image)
    except Exception as error:  # Pillow's readers raise almost anything on a broken file
        raise BadData(
            "image cannot be read", where=path, got=_reason(error), remedy="remove or replace the file"
        ) from error


def decode_opened(image: Image.Image) -> Image.Image:
    """Return an image that Pillow has opened or created as :func:`decode` does; BadData if it cannot be read."""
    try:
        return _decoded(image)
    except Exception as error:
        raise BadData("image cannot be read", where=image.format or f"mode {image.mode}", got=_reason(error)) from error


def _decoded(image: Image.Image) -> Image.Image:
    pixels = image.width * image.height
    if pixels > MOST_PIXELS:
        raise ValueError(f"{pixels} pixels, at most {MOST_PIXELS} are decoded")
    if image.format == "WEBP" and max(image.size) > LONGEST_WEBP:
        raise ValueError(f"a WebP with a side of {max(image.size)} pixels, at most {LONGEST_WEBP} fit a frame")
    image.load()
    rgb, transposition = _convert_to_rgb(image), find_transposition(image)
    return rgb if transposition is None else rgb.transpose(transposition)


def resize_crop(image: Image.Image, preprocess: Preprocess) -> PixelArray:
    """Return the centre crop uint8 [crop, crop, 3] of a resized RGB image, as in torchvision's classification presets.

    It equals the crop of the fully resized image bit for bit, up to an aspect ratio of `LONGEST`. Beyond it only the
    region of the crop is resized, which may differ by a rounding.

    Raises
    ------
    ValueError
        A crop larger than the resized image, or a record without antialiasing, which Pillow always applies.
    """
    crop = preprocess.crop
    if crop > preprocess.resize or not preprocess.antialias:
        raise ValueError(f"no such preprocessing with Pillow: {preprocess}")
    resampling = _RESAMPLING[preprocess.interpolation]
    width, height = image.size
    short, long = sorted(image.size)
    new_width, new_height = preprocess.resized(width, height)
    left, top = round((new_width - crop) / 2), round((new_height - crop) / 2)
    if long > LONGEST * short and preprocess.resize_mode == "shorter":
        x, y = width / new_width, height / new_height
        region = (left * x, top * y, (left + crop) * x, (top + crop) * y)
        return np.array(_resized_region(image, region, crop, resampling))
    # Not with Pillow's `box`, a float32 region that changes one value in ten thousand by one.
    strip = image.resize((new_width, height), resampling).crop((left, 0, left + crop, height))
    return np.array(strip.resize((crop, new_height), resampling).crop((0, top, crop, top + crop)))


class Draws(Protocol):
    """Random numbers: a NumPy generator, or a stream that never changes."""

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""

    def integers(self, low: int) -> Any:
        """Return an integer in [0, low)."""


def random_resized_crop(
    image: Image.Image,
    size: int,
    rng: Draws,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
) -> PixelArray:
    """Return a random region of an RGB image, resized to uint8 [size, size, 3], as torchvision's ``RandomResizedCrop``.

    `scale` is the range of the region's area, as a share of the image's, and `ratio` that of its width over height,
    sampled uniformly in the logarithm (Szegedy et al. 2015, "Going deeper with convolutions", section 6).
    """
    resampling = _RESAMPLING[interpolation]
    left, top, width, height = random_region(image.width, image.height, rng, scale, ratio)
    region = image.crop((left, top, left + width, top + height))
    return np.array(region.resize((size, height), resampling).resize((size, size), resampling))


def _resized_region(
    image: Image.Image, region: tuple[float, float, float, float], size: int, resampling: Image.Resampling
) -> Image.Image:
    """Return a region (left, top, right, bottom) of an image as a square, using memory for the region alone."""
    left, top, right, bottom = region
    reach = 3 * max(1.0, (right - left) / size, (bottom - top) / size)  # a bicubic filter has radius 2 x scale
    x0, y0 = max(0, math.floor(left - reach)), max(0, math.floor(top - reach))
    x1, y1 = min(image.width, math.ceil(right + reach)), min(image.height, math.ceil(bottom + reach))
    part = image.crop((x0, y0, x1, y1))
    strip = part.resize((size, part.height), resampling, (left - x0, 0, right - x0, part.height))
    return strip.resize((size, size), resampling, (0, top - y0, size, bottom - y0))


def random_region(
    width: int, height: int, rng: Draws, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Return left, top, width and height of a random region; after ten that do not fit, the largest central one."""
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
    w = min(width, max(1, round(height * ratio[1])))
    h = min(height, max(1, round(width / ratio[0])))
    return (width - w) // 2, (height - h) // 2, w, h


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "none of " + ", ".join(FORMATS)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("pixels of more than 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is unknown")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        black = Image.new("RGB", image.size)
        black.paste(layer, mask=layer)
        return black
    return image if image.mode == "RGB" else image.convert("RGB")


def find_transposition(image: Image.Image) -> Image.Transpose | None:
    """Return the transposition that undoes the EXIF orientation of an opened image; None if there is none to undo."""
    orientation = None
    with contextlib.suppress(Exception):
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
