"""From an image file to the pixels a net sees. Changes must bump ``PREPROCESS_VERSION``, which is part of every key.

The decode policy:

* JPEG, PNG, BMP, WebP, TIFF and PNM, recognised by content, not by name; the first of several frames.
* At most 178,956,970 pixels (where Pillow only warns), checked before any is decoded; a WebP of at most 16,383 per
  side, the limit of a frame. Only an animation may declare more; filling 150 million pixels took 40 s.
* What is made to be slow or large, as by 3,000 scans, is an error: :mod:`probeline.data.pixels.bounds` has the limits.
* A truncated file is an error, never an image that is partly grey.
* The EXIF orientation is applied, unless the metadata cannot be read. Colour profiles are ignored. A file that Pillow
  refuses for its metadata is decoded without them.
* Alpha and transparent colours are composited on black, or on white by `Decoding.background`.
* 16-bit grey keeps its high byte, as Pillow does with 16-bit colour, unless `Decoding.grey_range` says otherwise.
  Wider pixels are an error.
* Everything else is converted to RGB by Pillow.

Resizing is Pillow's, the horizontal pass first, in two calls: in a single call the order depends on the image's shape
from Pillow 13 on, so that equal keys would have different pixels.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError, features

from probeline.data.folders.contents import HEAD, describe, format_of
from probeline.data.pixels.bounds import MOST_PIXELS, TooCostly, check_cost, check_tags
from probeline.data.pixels.metadata import without_metadata
from probeline.errors import BadData, BadImage
from probeline.files.memory import DECODING, Lease, read_leased
from probeline.identity import digest_bytes
from probeline.images import Decoding, PixelArray, Preprocess
from probeline.names import GREY_BITS
from probeline.types import AnyArray

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
LONGEST_WEBP = 16_383

LONGEST = 100
"""Aspect ratio beyond which only the region of the crop is resized."""

_STRIP = 1 << 20
"""Pixels that are converted at a time where that takes copies: few, so that a large image needs no second one."""

_RESULT = 4
"""Bytes of a pixel in Pillow's mode RGB."""

_SMALL_PIXELS = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes of a pixel in Pillow's modes; 4 in all others."""

_WEBP_PIXEL, _PYTHON_PIXEL = 14, 16
"""What decoders hold beside the image, bytes for each pixel: that of WebP, and those in Python (see `bounds`)."""

_UNREADABLE, _REMEDY = "image cannot be read", "remove or replace the file"

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

_TEXT_EXIF = "Raw profile type exif"
"""The name under which old programs write EXIF into a PNG, as hexadecimal digits from the fourth line on."""

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


@dataclass(frozen=True)
class Pixels:
    """A decoded image, and what is worth knowing of its file."""

    image: Image.Image
    """Upright, in mode RGB."""
    is_transparent: bool = False
    """Whether a pixel of it is not opaque."""
    grey_max: int | None = None
    """Largest value of 16-bit grey; None for other images."""


def decode(
    path: Path,
    sha256: str | None = None,
    decoding: Decoding = Decoding(),  # noqa: B008 - frozen
    lease: Lease | None = None,
) -> Image.Image:
    """Return an image file upright and in mode RGB; thread-safe.

    The `lease` holds the memory that it takes, from before it is decoded on; without one, only while it is decoded.

    Raises
    ------
    BadImage
        The bytes of the file cannot be decoded as an image.
    BadData
        The file cannot be read just now, or its bytes have another sha256 than given.
    """
    return decode_file(path, sha256, decoding, lease).image


def decode_file(path: Path, sha256: str | None, decoding: Decoding, lease: Lease | None = None) -> Pixels:
    """Return an image file as :func:`decode` does, and what is worth knowing of it."""
    if lease is None:
        with Lease(DECODING) as own:
            return decode_file(path, sha256, decoding, own)
    try:
        data = read_leased(path, lease)
        if sha256 is not None and digest_bytes(data) != sha256:
            raise ValueError("other content than when the data set was listed")
    except (OSError, ValueError, MemoryError) as error:
        raise BadData(_UNREADABLE, where=path, got=_reason(error), remedy=_REMEDY) from error
    return decode_bytes(data, path, decoding, lease)


def decode_bytes(
    data: bytes,
    where: object,
    decoding: Decoding = Decoding(),  # noqa: B008 - frozen
    lease: Lease | None = None,
) -> Pixels:
    """Return the image of a file's bytes; `where` is what messages call it, and the `lease` holds its memory.

    Raises
    ------
    BadImage
        The bytes cannot be decoded.
    BadData
        They cannot be decoded here and now: too little memory, or a Pillow without that format.
    """
    if lease is None:
        with Lease(DECODING) as own:
            return decode_bytes(data, where, decoding, own)
    # Pillow warns of odd metadata; warnings.catch_warnings would race between threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        return _decode_bytes(data, decoding, lease)
    except Exception as error:  # Pillow's readers raise almost anything on a broken file
        for stripped in () if isinstance(error, TooCostly | MemoryError) else without_metadata(data):
            with contextlib.suppress(Exception):
                return _decode_bytes(stripped, decoding, lease)
        reason = _reason(error)
        if isinstance(error, UnidentifiedImageError):
            named = format_of(data[:HEAD])
            reason = f"a broken {named}" if named else f"{describe(data)}, none of {', '.join(FORMATS)}"
        kind = BadImage if _is_about_bytes(error, data) else BadData
        raise kind(_UNREADABLE, where=where, got=reason, remedy=_REMEDY) from error


def open_bytes(data: bytes) -> Image.Image:
    """Return the bytes of an image that can be decoded as Pillow opens it, without its metadata if they are broken."""
    for whole_or_stripped in (data, *without_metadata(data)):
        with contextlib.suppress(Exception):
            return Image.open(io.BytesIO(whole_or_stripped), formats=FORMATS)
    raise BadImage(_UNREADABLE, where=f"{len(data):,} bytes", got=describe(data))


def _decode_bytes(data: bytes, decoding: Decoding, lease: Lease) -> Pixels:
    if not data:
        raise ValueError("an empty file")
    buffers = check_cost(data)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_size(image)
        lease.claim(len(data) + _needed_bytes(image, lease, buffers=buffers))
        pixels, transposition = _decoded(image, decoding)
    del image  # before there is a copy of the other
    return _turned(pixels, transposition)


def _check_size(image: Image.Image) -> None:
    pixels = image.width * image.height
    if pixels > MOST_PIXELS:
        raise ValueError(f"{pixels} pixels, at most {MOST_PIXELS} are decoded")
    if image.format == "WEBP" and max(image.size) > LONGEST_WEBP:
        raise ValueError(f"a WebP with a side of {max(image.size)} pixels, at most {LONGEST_WEBP} fit a frame")
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is unknown")


def _needed_bytes(image: Image.Image, lease: Lease, *, buffers: bool) -> int:
    """Return how much memory an opened image takes at most, to be decoded and then worked on."""
    own, of_decoder = _SMALL_PIXELS.get(image.mode, 4), 0
    if buffers:  # coefficients of 16 bits
        of_decoder = 2 * len(image.getbands())
    elif image.format == "WEBP":
        of_decoder = _WEBP_PIXEL
    elif image.format == "PPM" or image.info.get("compression") in (1, 2):  # of BMP; TIFF has words there
        of_decoder = _PYTHON_PIXEL
    pixels = image.width * image.height
    decoding = pixels * max(own + of_decoder, own + _RESULT, 2 * _RESULT)
    return max(decoding, pixels * _RESULT + lease.copies(*image.size))


def _is_about_bytes(error: Exception, data: bytes) -> bool:
    """Return whether an error will come again with the same bytes, and not of the machine or of Pillow's parts."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
        return False
    is_named = isinstance(error, UnidentifiedImageError)
    lacks_webp = is_named and format_of(data[:HEAD]) == "WEBP" and not features.check("webp")
    return not lacks_webp and "not available" not in str(error)


def decode_opened(
    image: Image.Image,
    decoding: Decoding = Decoding(),  # noqa: B008 - frozen
    lease: Lease | None = None,
) -> Pixels:
    """Return an image that Pillow has opened or created as :func:`decode_file` does; BadData if it cannot be read."""
    if lease is None:
        with Lease(DECODING) as own:
            return decode_opened(image, decoding, own)
    try:
        _check_size(image)
        lease.claim(_needed_bytes(image, lease, buffers=image.format in ("JPEG", "MPO")))
        return _turned(*_decoded(image, decoding))
    except Exception as error:
        raise BadData(_UNREADABLE, where=image.format or f"mode {image.mode}", got=_reason(error)) from error


def _decoded(image: Image.Image, decoding: Decoding) -> tuple[Pixels, Image.Transpose | None]:
    """Return an image in mode RGB as it is in its file, and what turns it upright."""
    image.load()
    return _convert_to_rgb(image, decoding), find_transposition(image)


def _turned(pixels: Pixels, transposition: Image.Transpose | None) -> Pixels:
    return pixels if transposition is None else replace(pixels, image=pixels.image.transpose(transposition))


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


def _convert_to_rgb(image: Image.Image, decoding: Decoding) -> Pixels:
    """Return an image in mode RGB, as it is turned."""
    if image.mode.startswith("I"):
        return _convert_grey(image, decoding.grey_range)
    if image.has_transparency_data:
        ground = Image.new("RGB", image.size, decoding.background)
        is_transparent = False
        for box, strip in _strips(image):
            layer = strip.convert("RGBA")
            ground.paste(layer, box, layer)
            is_transparent |= layer.getchannel("A").tobytes().count(255) < layer.width * layer.height
        return Pixels(ground, is_transparent)
    return Pixels(image if image.mode == "RGB" else image.convert("RGB"))


def _convert_grey(image: Image.Image, grey_range: str) -> Pixels:
    """Return an image of integers of up to 16 bits in mode RGB."""
    largest = 0
    for _, strip in _strips(image):
        values = np.asarray(strip)
        largest = max(largest, int(values.max()))
        if values.min() < 0 or largest > 0xFFFF:
            raise ValueError("pixels of more than 16 bits")
    rgb = Image.new("RGB", image.size)
    for box, strip in _strips(image):
        rgb.paste(Image.fromarray(_to_8_bits(np.asarray(strip), largest, grey_range)).convert("RGB"), box)
    return Pixels(rgb, grey_max=largest)


def _strips(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    """Yield the place and the pixels of each strip of an image, from top to bottom; of a small one, itself."""
    rows = max(1, _STRIP // image.width)
    if rows >= image.height:
        yield (0, 0, *image.size), image
        return
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        yield box, image.crop(box)


def _to_8_bits(values: AnyArray, largest: int, grey_range: str) -> PixelArray:
    """Return integers of up to 16 bits as uint8, by the rule of :attr:`Decoding.grey_range`."""
    depths = list(map(int, GREY_BITS))
    if grey_range == "full":
        depth = 16
    elif grey_range == "auto":
        depth = next(bits for bits in depths if largest < 1 << bits)
    else:
        depth = int(grey_range)
    pixels: PixelArray = np.minimum(values >> (depth - 8), 0xFF).astype(np.uint8)
    return pixels


def find_transposition(image: Image.Image) -> Image.Transpose | None:
    """Return the transposition that undoes the EXIF orientation of an opened image; None if there is none to undo."""
    orientation = None
    with contextlib.suppress(Exception):
        check_tags(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))
        check_tags(bytes.fromhex("".join(image.info.get(_TEXT_EXIF, "").split("\n")[3:])))
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
