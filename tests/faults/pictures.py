"""Hostile pictures: each is read as Pillow reads it, be it without its metadata, or named as one that cannot be."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from faults import producer
from faults.children import sweep
from faults.figures import Figures, summed
from probeline.data.pixels.decode import FORMATS, LONGEST_WEBP, MOST_PIXELS, decode, resize_crop
from probeline.data.pixels.metadata import without_metadata
from probeline.errors import BadData
from probeline.identity import digest_bytes
from probeline.images import PixelArray

MEMORY = 4 << 30
"""Bytes of address space that reading may take: less than the larger bombs declare."""


def run(count: int, seed: int) -> Figures:
    """Read every original, and `count` seeded damages of them, in children that may crash or hang."""
    originals = dict(_originals())
    trials: list[tuple[str, bytes]] = list(originals.items())
    chance = random.Random(seed)
    for _ in range(count):
        name = chance.choice(list(originals))
        trials.append((f"{name}, damaged", _damaged(originals[name], chance)))
    with producer.workplace() as place:
        results = sweep(trials, lambda trial: _attempt(place / "picture.jpg", trial[1]), limit=20, memory=MEMORY)
    complaints = [
        "" if line in ("read", "named") else f"{name}: {line}" for line, (name, _) in zip(results, trials, strict=True)
    ]
    note = (
        f"{len(originals)} kinds (16-bit, CMYK, palette with alpha, EXIF-rotated, 1x1, 1x10000, bombs, wrong "
        f"extensions, no pictures) and their cut or changed copies; {results.count('read'):,} read as Pillow reads "
        f"them, {results.count('named'):,} named as unreadable, as by Pillow"
    )
    return summed("Hostile pictures", complaints, note)


def _attempt(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    expected: PixelArray | None = None
    for version in (data, *without_metadata(data)):
        with contextlib.suppress(Exception):
            expected = _as_pillow(version)
            break
    try:
        image = decode(path, digest_bytes(data))
    except BadData as error:
        if str(path) not in str(error) or "\n" in str(error):
            return f"not named in one line: {error}"
        return "named" if expected is None else f"Pillow reads it, {expected.shape}: {error}"
    except Exception as error:
        return f"an error without a name: {error!r}"
    found = np.asarray(image)
    if expected is None:
        return f"Pillow does not read it, found {found.shape}"
    # Compositing rounds in two ways in Pillow: by alpha_composite, as here, and by paste.
    if found.shape != expected.shape or (np.maximum(found, expected) - np.minimum(found, expected)).max() > 1:
        return "other pixels than Pillow's"
    crop = resize_crop(image, producer.BACKBONE.preprocess)
    return "read" if crop.shape == (32, 32, 3) else f"cropped to {crop.shape}"


def _as_pillow(data: bytes) -> PixelArray:
    """Return the pixels uint8 [H, W, 3] by Pillow's own means: its EXIF transposition, its compositing on black.

    Raises
    ------
    Exception
        What the reader raises, and ValueError for what the decode policy refuses.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError("a bomb")
        if image.format == "WEBP" and max(image.size) > LONGEST_WEBP:
            raise ValueError("a canvas that no frame fills")
        image.load()
        try:
            upright = ImageOps.exif_transpose(image)
        except Exception:  # broken metadata are no orientation
            upright = image
        if upright.mode == "F":
            raise ValueError("no known range")
        if upright.mode.startswith("I"):
            values = np.asarray(upright).astype(np.int64)
            if values.min() < 0 or values.max() > 0xFFFF:
                raise ValueError("no known range")
            return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
        if upright.has_transparency_data:
            black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
            upright = Image.alpha_composite(black, upright.convert("RGBA"))
        return np.asarray(upright.convert("RGB"))


def _damaged(data: bytes, chance: random.Random) -> bytes:
    """Cut a file, or change some of its bytes, at its beginning more often than elsewhere."""
    if not data or chance.random() < 0.3:
        return data[: chance.randrange(len(data) + 1)]
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5])):
        reach = chance.choice([64, 512, len(data)])
        changed[chance.randrange(min(reach, len(data)))] = chance.randrange(256)
    return bytes(changed)


def _originals() -> Iterator[tuple[str, bytes]]:
    """Yield a name and the bytes of each kind of file."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (17, 23, 3), np.uint8))
    rgba = Image.fromarray(rng.integers(0, 256, (17, 23, 4), np.uint8))
    for form in ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM"):
        yield f"{form} in colour", _saved(image, form)
    yield "progressive JPEG", _saved(image, "JPEG", progressive=True)
    for form in ("JPEG", "TIFF"):
        yield f"CMYK {form}", _saved(image.convert("CMYK"), form)
    for form in ("PNG", "TIFF", "WEBP"):
        yield f"{form} with alpha", _saved(rgba, form)
    yield "grey PNG with alpha", _saved(rgba.convert("LA"), "PNG")
    palette = image.quantize(16)
    yield "palette", _saved(palette, "PNG")
    yield "palette with one transparent colour", _saved(palette, "PNG", transparency=3)
    yield "palette with alpha", _saved(palette, "PNG", transparency=bytes(range(0, 256, 16)))
    yield "colour key", _saved(image, "PNG", transparency=image.getpixel((0, 0)))
    yield "bilevel", _saved(image.convert("1"), "PNG")
    deep = rng.integers(0, 65_536, (17, 23), np.uint16)
    for form in ("PNG", "TIFF", "PPM"):
        yield f"16-bit grey {form}", _saved(Image.fromarray(deep), form)
    yield "16-bit colour PNG", _png(23, 17, 16, 2, deep.astype(">u2").tobytes() * 3)
    yield "16-bit PNG with alpha", _png(23, 17, 16, 6, deep.astype(">u2").tobytes() * 4)
    yield "32-bit TIFF", _saved(Image.fromarray(deep.astype(np.int32) * 9), "TIFF")
    yield "floating-point TIFF", _saved(Image.fromarray(deep.astype(np.float32)), "TIFF")
    for orientation in range(10):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        form = ("JPEG", "PNG", "TIFF", "WEBP")[orientation % 4]
        yield f"EXIF orientation {orientation} {form}", _saved(image, form, exif=exif)
    yield "broken EXIF", _saved(image, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    for size in ((1, 1), (1, 10_000), (10_000, 1), (1, 60_000)):
        yield f"{size[0]}x{size[1]}", _saved(Image.new("RGB", size, (1, 2, 3)), "PNG")
    for width, height in ((13_378, 13_378), (60_000, 60_000), (2**31 - 1, 2**31 - 1)):
        yield f"a bomb of {width}x{height}", _png(width, height, 8, 2, b"")
    frames = [Image.fromarray(rng.integers(0, 256, (17, 23, 3), np.uint8)) for _ in range(3)]
    for form in ("TIFF", "WEBP", "PNG"):
        yield f"{form} of 3 frames", _saved(frames[0], form, save_all=True, append_images=frames[1:])
    animation = bytearray(_saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    canvas = animation.index(b"VP8X") + 12
    animation[canvas : canvas + 3] = (8_000_000).to_bytes(3, "little")
    yield "WEBP of 3 frames on 8,000,001x17", bytes(animation)
    for form in ("GIF", "ICO", "PDF", "TGA"):
        yield f"{form} by the name of a JPEG", _saved(image, form)
    yield "EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n"
    yield "SVG", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"
    yield "text", b"no picture"
    yield "nothing", b""
    yield "zeros", bytes(5000)


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def _png(width: int, height: int, bits: int, colour: int, samples: bytes) -> bytes:
    """Return a PNG with this header, and these samples where it has as many."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = len(samples) // height
    rows = b"".join(b"\0" + samples[start : start + row] for start in range(0, len(samples), row)) if row else b""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
