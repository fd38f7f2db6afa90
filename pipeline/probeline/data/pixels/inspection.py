"""Images inspected for the doctor: what decoding each needed, and a thumbnail of its pixels. No net sees these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from probeline.data.pixels.decode import find_transposition, open_bytes
from probeline.data.pixels.loading import lease_for, open_pixels, ordered
from probeline.files.reading import IMAGE, read_bytes
from probeline.images import ImageArray, ImageFiles, Images, PixelArray, Preprocess
from probeline.types import IntArray

SIDE = 32
"""Side of the thumbnails, pixels."""

HELP = {
    "extension": "its name says another format than its bytes",
    "cut": "a JPEG without its end marker: cut off, and what is missing is made up",
    "space": "CMYK or another colour space than RGB or grey",
    "palette": "colours from a palette",
    "deep": "16 bits per channel, of which 8 are kept",
    "alpha": "transparency, composited on one colour",
    "frames": "several frames, of which the first is used",
    "turned": "turned upright by its EXIF orientation",
    "small": "the shorter side is below the net's input: scaled up",
    "cropped": "the centre crop leaves out more than half of it",
    "constant": "one colour everywhere",
}
"""What may be unusual about an image, in words."""

_EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm"),
}

_BLOCK = 64
_PNG_DEPTH, _TIFF_DEPTH = 24, 258
"""Offset in a PNG file, and number of the TIFF tag, of the bits per channel."""


@dataclass(frozen=True)
class Inspection:
    """What an inspection of n images gives."""

    thumbnails: PixelArray
    """uint8 [n, SIDE, SIDE, 3]: each whole image, squeezed to a square."""
    helped: tuple[tuple[str, ...], ...]
    """Keys of `HELP` that apply to each image."""


def inspect_images(
    images: Images,
    rows: IntArray,
    preprocess: Preprocess,
    threads: int,
    advance: Callable[[int], object] = lambda _: None,
) -> Inspection:
    """Return the thumbnails of some images of a part and what each needed; each is decoded once.

    The net's `preprocess` decides which images are too small for it, and how much of each it crops; `advance` is called
    with the number of images since the last call.

    Raises
    ------
    BadData
        An image that cannot be read, or that changed since it was listed.
    """
    thumbnails = np.empty((len(rows), SIDE, SIDE, 3), np.uint8)
    helped: list[tuple[str, ...]] = []

    def inspect(start: int) -> list[tuple[PixelArray, tuple[str, ...]]]:
        return [_inspect(images, row, preprocess) for row in rows[start : start + _BLOCK].tolist()]

    for start, block in ordered(inspect, range(0, len(rows), _BLOCK), threads):
        for slot, (pixels, needed) in zip(thumbnails[start:], block, strict=False):
            slot[:] = pixels
            helped.append(needed)
        advance(len(block))
    return Inspection(thumbnails, tuple(helped))


def _inspect(images: Images, row: int, preprocess: Preprocess) -> tuple[PixelArray, tuple[str, ...]]:
    with lease_for(preprocess) as lease:
        image = open_pixels(images, row, lease).image
        return _inspect_pixels(image, _inspect_source(images, row), preprocess)


def _inspect_pixels(
    image: Image.Image, of_file: tuple[str, ...], preprocess: Preprocess
) -> tuple[PixelArray, tuple[str, ...]]:
    square = image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    thumbnail = np.asarray(square)
    is_constant = not any(np.ptp(pixels, axis=(0, 1)).any() for pixels in (thumbnail, np.asarray(image)))
    return thumbnail, (*of_file, *_inspect_shape(image.size, preprocess), *(("constant",) if is_constant else ()))


def _inspect_source(images: Images, row: int) -> tuple[str, ...]:
    """Return what decoding an image from its file, or its encoded bytes, needs; nothing is known of decoded pixels."""
    if isinstance(images, ImageArray):
        return ()
    if isinstance(images, ImageFiles):
        return _inspect_bytes(read_bytes(images.paths[row], IMAGE), images.paths[row].suffix)
    item = images.read(row)
    return _inspect_bytes(item, Path(images.names[row]).suffix) if isinstance(item, bytes) else ()


def _inspect_bytes(data: bytes, suffix: str) -> tuple[str, ...]:
    """Return what decoding a readable image needs; an empty suffix says nothing of its format."""
    with open_bytes(data) as image:
        kind = "JPEG" if image.format == "MPO" else image.format
        needed = {
            "extension": suffix != "" and suffix.lower() not in _EXTENSIONS.get(str(kind), ()),
            # In the coded pixels after the last SOS marker, FF is followed by 00: an FF D9 is the end.
            "cut": kind == "JPEG" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"),
            "space": image.mode in ("CMYK", "YCbCr", "LAB", "HSV"),
            "palette": image.mode in ("P", "PA"),
            "deep": _is_deep(image, data),
            "alpha": image.has_transparency_data,
            "frames": getattr(image, "is_animated", False),  # not n_frames, which reads them all
            "turned": find_transposition(image) is not None,
        }
    return tuple(name for name, is_so in needed.items() if is_so)


def _is_deep(image: Image.Image, data: bytes) -> bool:
    if image.format == "TIFF":
        return any(bits > 8 for bits in getattr(image, "tag_v2", {}).get(_TIFF_DEPTH, ()))
    return image.mode.startswith("I") or (image.format == "PNG" and data[_PNG_DEPTH] > 8)


def _inspect_shape(size: tuple[int, int], preprocess: Preprocess) -> tuple[str, ...]:
    short, long = sorted(size)
    stretch = long / short if preprocess.resize_mode == "shorter" else 1
    visible = preprocess.crop**2 / (preprocess.resize**2 * stretch)
    return (*(("small",) if short < preprocess.crop else ()), *(("cropped",) if visible < 0.5 else ()))
