"""Pictures that are made to be slow or large: refused at once, or decoded within the memory that they claim."""

from __future__ import annotations

import io
import math
import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice

from PIL import Image

from faults.children import sweep
from faults.figures import Figures, summed
from probeline.data.pixels.bounds import MOST_PIXELS
from probeline.data.pixels.decode import LONGEST_WEBP, decode_bytes
from probeline.data.pixels.inspection import _inspect_bytes
from probeline.errors import BadImage
from probeline.files.memory import Budget, Lease
from probeline.images import Decoding

MEMORY = 96 << 20
"""Bytes of address space that a refusal may take, beyond the file; without limits the bombs take up to terabytes."""

SLACK = 64 << 20
"""Beyond what is claimed: strips of a million pixels, zlib, and what the allocator keeps."""

REFUSED_WITHIN, SECONDS_PER_MEGAPIXEL = 5, 4
"""A refusal takes milliseconds. The slowest kind, PNM as text, takes two seconds for a million pixels alone."""


def run(count: int, seed: int, *, bombs_alone: int | None = None) -> Figures:
    """Try every bomb, and pictures of each kind with `count` million pixels, or as many as the kind may have.

    With `bombs_alone` only so many bombs are tried, and no other picture.
    """
    bombs = list(islice(_bombs(random.Random(seed)), bombs_alone))
    complaints = [
        "" if line == "refused" else f"{name}: {line}"
        for (name, _), line in zip(bombs, sweep(bombs, _refusal, limit=REFUSED_WITHIN, memory=MEMORY), strict=True)
    ]
    large = [] if bombs_alone else list(_large(min(count * 1_000_000, MOST_PIXELS)))
    limit = max(20, SECONDS_PER_MEGAPIXEL * count)
    most = 0.0
    claims = sweep([data for _, data, _ in large], _claim, limit=limit)
    for (name, data, pixels), claimed in zip(large, claims, strict=True):
        if not claimed.isdigit():
            complaints.append(f"{name}: {claimed}")
            continue
        (line,) = sweep([data], _decode, limit=limit, memory=int(claimed) + SLACK)
        complaints.append("" if line == "read" else f"{name}: {line} in the {claimed} bytes that it claims")
        most = max(most, (int(claimed) - len(data)) / pixels)
    note = (
        f"{len(bombs)} kinds (scans, segments, chunks, tags, tiles, comments, runs) are refused within "
        f"{REFUSED_WITHIN} s and {MEMORY >> 20} MiB; {len(large)} kinds of {count} million pixels are decoded within "
        f"the memory that they claim, at most {most:.0f} bytes a pixel"
    )
    return summed("Slow and large pictures", complaints, note)


def _refusal(trial: tuple[str, bytes]) -> str:
    name, data = trial
    if name.startswith("doctor"):
        _inspect_bytes(data, ".tif")
        return "refused"
    try:
        image = decode_bytes(data, "the picture").image
    except BadImage as error:
        return "refused" if "\n" not in str(error) else "not in one line"
    except Exception as error:
        return f"an error without a name: {error!r}"
    return f"decoded: {image.size}"


def _claim(data: bytes) -> str:
    with Lease(Budget()) as lease:
        decode_bytes(data, "the picture", Decoding(), lease)
        return str(lease.held)


def _decode(data: bytes) -> str:
    return "read" if decode_bytes(data, "the picture").image.mode == "RGB" else "another mode"


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(side: int, bits: int, colour: int, extra: bytes = b"", *, interlaced: bool = False) -> bytes:
    """Return a black PNG; of an interlaced one there are more than enough bytes."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + math.ceil(side * channels * bits / 8))
    squeeze = zlib.compressobj(1)
    rows = [squeeze.compress(row) for _ in range(side + (side // 8 + 8 if interlaced else 0))]
    header = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, int(interlaced))
    body = _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", b"".join(rows) + squeeze.flush()) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _scans(count: int, *, arithmetic: bool = False) -> bytes:
    """Return a progressive JPEG of so many scans beyond its own: the last of them again and again."""
    data = _saved(Image.new("RGB", (512, 512), (9, 99, 200)), "JPEG", progressive=True)
    if arithmetic:
        data = data.replace(b"\xff\xc2", b"\xff\xca", 1)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + data[-2:]


def _sequential(count: int) -> bytes:
    """Return a sequential JPEG whose components come one by one, again and again."""
    data = _saved(Image.new("RGB", (512, 512)), "JPEG", subsampling=0)
    start = data.index(b"\xff\xda")
    scan = [b"\xff\xda\0\x08\1" + bytes([1 + number % 3]) + b"\0\0\x3f\0" + bytes(50) for number in range(count)]
    return data[:start] + b"".join(scan) + b"\xff\xd9"


def _segment(marker: int, data: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def _directory(tags: Sequence[tuple[int, int, int, int]], *, after: bytes = b"") -> bytes:
    """Return a TIFF of number, type, count and value, or place, of each tag, with bytes that follow them."""
    listed = b"".join(struct.pack("<HHLL", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + listed + bytes(4) + after


def _place(tags: int) -> int:
    """Return where the bytes after a directory are."""
    return 8 + 2 + 12 * tags + 4


def _tiff(width: int, height: int, compression: int) -> list[tuple[int, int, int, int]]:
    values = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 277: 1}
    return [(tag, 4, 1, value) for tag, value in values.items()]


def _shared_tags(count: int, size: int) -> bytes:
    """Return a TIFF of tags that all have the same bytes as their data."""
    tags = [*_tiff(1, 1, 1), (273, 4, 1, 8), (278, 4, 1, 1), (279, 4, 1, 1)]
    place = _place(len(tags) + count)
    return _directory([*tags, *((1000 + number, 7, size, place) for number in range(count))], after=bytes(size))


def _tiles(width: int, height: int, side: tuple[int, int], place: tuple[int, int] | None = None) -> bytes:
    packed = zlib.compress(bytes(1 << 20))
    tags = [*_tiff(width, height, 8), (322, 4, 1, side[0]), (323, 4, 1, side[1])]
    start = _place(len(tags) + 2)
    tags += [(324, 4, *(place or (1, start))), (325, 4, 1, len(packed))]
    return _directory(tags, after=packed)


def _chain(count: int) -> bytes:
    tags = [*_tiff(1, 1, 1), (273, 4, 1, 8), (278, 4, 1, 1), (279, 4, 1, 1)]
    one = _directory(tags)[8:-4]
    size = len(one) + 4
    places = [8 + size * number for number in range(1, count)] + [0]
    return b"II*\0" + struct.pack("<L", 8) + b"".join(one + struct.pack("<L", place) for place in places)


def _bmp(width: int, height: int, runs: bytes) -> bytes:
    palette = b"".join(bytes([i, 255 - i, 3, 0]) for i in range(256))
    start = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + info + palette + runs


def _webp(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _bombs(chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield pictures of some kilobytes to some megabytes that would take minutes, or gigabytes."""
    for count in (101, chance.randrange(102, 1000), 20_000):
        yield f"{count} more scans", _scans(count)
        yield f"{count} more scans, arithmetic", _scans(count, arithmetic=True)
        yield f"{count} sequential scans", _sequential(count)
    start, rest = (lambda data: (data[:2], data[2:]))(_saved(Image.new("RGB", (8, 8)), "JPEG"))
    yield "2 million comments", start + _segment(0xFE, b"") * 2_000_000 + rest
    yield "10 million fill bytes", start + b"\xff" * 10_000_000 + rest
    yield "10 million escaped bytes", start + b"\xff\0" * 5_000_000 + rest
    yield "1,000 segments of EXIF", start + _segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 1000 + rest
    exif = _shared_tags(5000, 400)[: 5000 * 12 + 500].ljust(65_000, b"\0")
    yield "EXIF of tags that share their data", start + _segment(0xE1, b"Exif\0\0" + _sharing(exif)) + rest
    yield "an index of pictures of such tags", start + _segment(0xE2, b"MPF\0" + _sharing(exif)) + rest
    png = _png(8, 8, 2)
    for kind, data in ((b"tEXt", b"a\0b"), (b"abCd", b""), (b"IDAT", b"")):
        yield f"a million chunks of {kind.decode()}", png[:33] + _chunk(kind, data) * 1_000_000 + png[33:]
    profile = _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes((1 << 20) - 10)))
    yield "10,000 colour profiles", png[:33] + profile * 10_000 + png[33:]
    yield "10,000 colour profiles at the end", png[:-12] + profile * 10_000 + png[-12:]
    yield "a TIFF of tags that share their data", _shared_tags(20_000, 100_000)
    yield "a BigTIFF of 2^40 tags", b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1 << 40) + bytes(20 << 20)
    yield "a tile of 30,000 x 30,000", _tiles(100, 100, (30_000, 30_000))
    yield "tiles of 16 x 2^24", _tiles(16_000, 10, (16, 1 << 24))
    yield "5 million tiles", _tiles(16, 16 * 5_000_000, (16, 16), place=(5_000_000, 8))
    strips = [*_tiff(1, 2_000_000, 1), (278, 4, 1, 1), (273, 4, 2_000_000, 100), (279, 4, 2_000_000, 100)]
    yield "2 million strips", _directory(strips, after=bytes(8_000_100))
    yield "doctor: 200,000 directories", _chain(200_000)
    yield "a million comments in a PNM", b"P2\n1000 1000\n255\n0 " + b"#\n" * 1_000_000 + b"0 " * 1_000_000
    yield "a PNM header of 10 MB", b"P6\n#" + b"x" * 10_000_000 + b"\n10 10\n255\n" + bytes(300)
    yield "a PNM header of spaces", b"P6\n" + b" " * 10_000_000 + b"10 10\n255\n" + bytes(300)
    yield "text of 36 million pixels", b"P2\n6000 6000\n255\n" + b"0 " * 36_000_000
    yield "100 levels of 36 million pixels", b"P5\n6000 6000\n100\n" + bytes(36_000_000)
    yield "runs of 100 million pixels", _bmp(10_000, 10_000, (b"\xff\7" * 39 + b"\x37\7\0\0") * 10_000)
    yield "150 million bytes of ends of lines", _bmp(1000, 1000, bytes(150_000_000))


def _sharing(exif: bytes) -> bytes:
    """Return EXIF whose tags all have nearly all of it as their data."""
    count = struct.unpack("<H", exif[8:10])[0]
    tags = b"".join(struct.pack("<HHLL", 1000 + i, 7, len(exif) - 1000, 500) for i in range(count))
    return (exif[:10] + tags).ljust(len(exif), b"\0")[:65_000]


def _large(pixels: int) -> Iterator[tuple[str, bytes, int]]:
    """Yield a picture of about so many pixels of each kind, and how many it has."""
    side = math.isqrt(pixels)
    palette, alphas = _chunk(b"PLTE", bytes(range(256)) * 3), _chunk(b"tRNS", bytes(range(256)))
    for name, bits, colour, extra in (
        ("colour", 8, 2, b""),
        ("palette", 8, 3, palette),
        ("palette with alpha", 8, 3, palette + alphas),
        ("bilevel palette", 1, 3, _chunk(b"PLTE", bytes(6))),
        ("grey with alpha", 8, 4, b""),
        ("alpha", 8, 6, b""),
        ("16-bit alpha", 16, 6, b""),
        ("16-bit grey", 16, 0, b""),
        ("a colour key", 8, 2, _chunk(b"tRNS", bytes(6))),
    ):
        yield f"PNG, {name}", _png(side, bits, colour, extra), side**2
    yield "PNG, interlaced", _png(side, 8, 6, interlaced=True), side**2
    image, turned = Image.new("RGB", (side, side), (9, 99, 200)), Image.Exif()
    turned[274] = 6
    yield "JPEG", _saved(image, "JPEG"), side**2
    yield "JPEG, progressive", _saved(image, "JPEG", progressive=True, subsampling=0), side**2
    yield "JPEG, turned", _saved(image, "JPEG", exif=turned), side**2
    yield "JPEG, CMYK", _saved(image.convert("CMYK"), "JPEG", progressive=True, subsampling=0), side**2
    yield "TIFF", _saved(image, "TIFF", compression="tiff_deflate"), side**2
    yield "TIFF, turned", _saved(image, "TIFF", compression="tiff_deflate", exif=turned), side**2
    yield "BMP", _saved(image, "BMP"), side**2
    yield "PNM", _saved(image, "PPM"), side**2
    small = min(side, LONGEST_WEBP)
    square = image.crop((0, 0, small, small))
    yield "WebP", _saved(square, "WEBP", method=0), small**2
    square.putalpha(77)
    yield "WebP, alpha", _saved(square, "WEBP", method=0), small**2
    few = min(side, 1000)  # in Python, up to two seconds for a million
    yield "PNM as text", b"P3\n%d %d\n255\n" % (few, few) + b"0 " * (3 * few**2), few**2
    yield "PNM of 12 bits", b"P5\n%d %d\n4095\n" % (few, few) + bytes(2 * few**2), few**2
    yield "BMP of runs", _bmp(few, few, (b"\1\7" * few + b"\0\0") * few), few**2
