"""What a picture may cost, found in its file before Pillow opens it: small files can take minutes or all memory.

Each limit is far above what cameras and programs write, and one of its own file format; the time of everything else
grows with the file's bytes and the picture's pixels, of which both have a limit.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator

MOST_PIXELS = 178_956_970
"""Where Pillow refuses to go on; it warns from half of it."""

MOST_SCANS = 100
"""Scans of a JPEG, as in libtiff. Encoders write about ten; each costs a pass over all pixels, with a file of any size.

A hundred scans of the largest picture take ten seconds.
"""

MOST_SEGMENTS, MOST_JUNK, MOST_EXIF = 4_000, 1 << 16, 64
"""Of a JPEG before its first scan: segments, bytes between them, and segments of EXIF, of which one is the rule.

Pillow reads the bytes one by one, and joins the EXIF segments in quadratic time. 4,000 segments hold 256 MB.
"""

MOST_CHUNKS, MOST_PROFILES = 200_000, 16
"""Chunks of a PNG, which are 131,072 in a file of 1 GiB with the usual 8 KiB each, and its colour profiles.

Each profile is unpacked, to as much as 1 MB; one is allowed by the format.
"""

MOST_TILES = 1_000_000
"""Strips or tiles of a TIFF: the largest picture in tiles of 16 x 16, the smallest allowed, has 700,000."""

MOST_SLOW_PIXELS = 1 << 25
"""Pixels of what Pillow decodes in Python: PNM as text or of an unusual depth, and run-length coded BMP.

It takes up to two seconds for a million pixels, and so a minute for the largest such picture.
"""

MOST_SLOW_BYTES = {"PNM": 512 << 20, "BMP": 128 << 20}
"""Bytes of such a file: text of 16 bytes a pixel, and runs of 4."""

MOST_COMMENTS, MOST_HEADER = 1_000, 1 << 16
"""Comments in a PNM file as text, which Pillow cuts out in quadratic time, and bytes of a PNM header."""

MOST_TAGS = 1 << 16
"""Tags of a directory: there are no more numbers for them."""

_UNFOLDED = 64 << 20
"""Bytes that the tags of TIFF and EXIF may have beyond twice those of the file: they may share their data."""

_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_SHORT = 3
_WIDTH, _HEIGHT, _STRIPS, _TILE_WIDTH, _TILE_HEIGHT, _TILES = 256, 257, 273, 322, 323, 324

_SOS, _EOI, _EXIF_SEGMENT, _MPF_SEGMENT = 0xDA, 0xD9, 0xE1, 0xE2
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
"""Markers of JPEG without a segment."""

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A marker within coded pixels: none of the escaped bytes and restarts that belong to them."""

_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})


class TooCostly(ValueError):
    """A picture that takes more time or memory than any real one; leaving out its metadata does not help."""


def check_cost(data: bytes) -> bool:
    """Refuse the bytes of a picture that are made to be slow or large; others may still be broken.

    Returns whether its decoder holds the coefficients of all pixels, as that of a JPEG with several scans does.

    Raises
    ------
    TooCostly
        What there is too much of.
    """
    if data.startswith(b"\xff\xd8"):
        return _check_jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(data)
    elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0*", b"MM*\0"):
        _check_tiff(data)
    elif data.startswith(b"BM"):
        _check_bmp(data)
    elif data[:1] == b"P" and data[1:2] in b"0123456fFy":
        _check_pnm(data)
    return False


def check_tags(data: bytes) -> None:
    """Refuse the bytes of a TIFF, or of EXIF after its name, whose tags unfold to far more than they have.

    Before version 13 Pillow reads each tag, of 65,535, though they all may have the whole file as their data.
    """
    unfolded = 0
    for _, kind, count, _ in _tags(data):
        unfolded += min(count * _TIFF_SIZES.get(kind, 0), len(data))
    if unfolded > 2 * len(data) + _UNFOLDED:
        raise TooCostly(f"tags of {unfolded:,} bytes in {len(data):,}")


def _refuse_more(count: int, most: int, what: str) -> None:
    if count > most:
        raise TooCostly(f"more than {most:,} {what}")


def _check_jpeg(data: bytes) -> bool:
    frame, scan = _first_scan(data)
    if _has_one_scan(data, frame, scan):
        return False
    if data.count(b"\xff\xda", scan) <= MOST_SCANS:
        return True
    scans = steps = 0
    place = scan
    while (found := _MARKER.search(data, place)) and data[found.start() + 1] != _EOI:
        place, marker = found.end(), data[found.start() + 1]
        scans += marker == _SOS
        steps += 1
        _refuse_more(scans, MOST_SCANS, "scans")
        _refuse_more(steps, MOST_SEGMENTS, "segments between the scans of a JPEG")
        if marker not in _BARE:
            place += int.from_bytes(data[place : place + 2], "big")
    return True


def _first_scan(data: bytes) -> tuple[int, int]:
    """Return where the frame's header and the first scan of a JPEG begin, 0 and the file's end if they are missing."""
    place, frame, segments, junk = 2, 0, 0, 0
    exif: list[bytes] = []
    while 0 <= place < len(data) - 1:
        if data[place] != 0xFF or data[place + 1] in (0xFF, 0x00):
            next_one = data.find(b"\xff", place + 1)
            junk += (next_one if next_one > 0 else len(data)) - place
            _refuse_more(junk, MOST_JUNK, "bytes between the segments of a JPEG")
            place = next_one
            continue
        marker = data[place + 1]
        if marker == _SOS:
            break
        segments += 1
        _refuse_more(segments, MOST_SEGMENTS, "segments in a JPEG before its pixels")
        length = 0 if marker in _BARE else int.from_bytes(data[place + 2 : place + 4], "big")
        body = place + 4
        if marker in _FRAMES and not frame:
            frame = place
        elif marker == _EXIF_SEGMENT and data[body : body + 6] == b"Exif\0\0":
            exif.append(data[body + 6 : place + 2 + length])
            _refuse_more(len(exif), MOST_EXIF, "segments of EXIF")
        elif marker == _MPF_SEGMENT and data[body : body + 4] == b"MPF\0":
            check_tags(data[body + 4 : place + 2 + length])
        place += 2 + length
    check_tags(b"".join(exif))
    return frame, place if 0 <= place < len(data) else len(data)


def _has_one_scan(data: bytes, frame: int, scan: int) -> bool:
    """Return whether the decoder reads only the first scan: that of a sequential JPEG, with all its components."""
    components, in_scan = data[frame + 9 : frame + 10], data[scan + 4 : scan + 5]
    return data[frame + 1] in _SEQUENTIAL and components == in_scan


def _check_png(data: bytes) -> None:
    place, chunks, profiles = 8, 0, 0
    while place + 8 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        profiles += data[place + 4 : place + 8] == b"iCCP"
        chunks += 1
        _refuse_more(chunks, MOST_CHUNKS, "chunks in a PNG")
        _refuse_more(profiles, MOST_PROFILES, "colour profiles in a PNG")
        place += 12 + length


def _check_tiff(data: bytes) -> None:
    check_tags(data)
    sizes: dict[int, int] = {}
    for tag, _, count, value in _tags(data):
        # Of a tag that is there twice some versions of Pillow read the first, others the last.
        sizes[tag] = max(sizes.get(tag, 0), count if tag in (_STRIPS, _TILES) else value)
    for tag in (_STRIPS, _TILES):
        _refuse_more(sizes.get(tag, 0), MOST_TILES, "strips or tiles in a TIFF")
    across, down = sizes.get(_TILE_WIDTH, 0), sizes.get(_TILE_HEIGHT, 0)
    if across and down:
        columns, rows = -(-sizes.get(_WIDTH, 0) // across), -(-sizes.get(_HEIGHT, 0) // down)
        _refuse_more(columns * rows * across * down, MOST_PIXELS, "pixels in the tiles of a TIFF")


def _tags(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, type, count and value of each tag of the first directory; a value elsewhere is its place."""
    order = ">" if data[:1] == b"M" else "<"
    is_big = b"+" in data[2:4]
    place, count, entry = ("8xQ", "Q", "HHQQ") if is_big else ("4xL", "H", "HHLL")
    with contextlib.suppress(struct.error):  # a directory that is cut off
        (start,) = struct.unpack_from(order + place, data)
        (tags,) = struct.unpack_from(order + count, data, start)
        start += struct.calcsize(order + count)
        _refuse_more(tags, MOST_TAGS, "tags")
        size = struct.calcsize(order + entry)
        for _ in range(tags):
            tag, kind, values, value = struct.unpack_from(order + entry, data, start)
            if kind == _SHORT and values == 1:  # it comes first in its four or eight bytes
                value = value & 0xFFFF if order == "<" else value >> (48 if is_big else 16)
            yield tag, kind, values, value
            start += size


def _check_bmp(data: bytes) -> None:
    if data[30:34] not in (b"\1\0\0\0", b"\2\0\0\0") or len(data) < 34:
        return
    width, height = struct.unpack_from("<ii", data, 18)
    _check_slow(abs(width * height), len(data), "BMP", "run-length coded BMP")


def _check_pnm(data: bytes) -> None:
    words = re.sub(rb"#[^\r\n]*[\r\n]?", b"", data[:MOST_HEADER]).split(maxsplit=4)
    is_bilevel = words[0] in (b"P1", b"P4")
    if len(words) < (3 if is_bilevel else 4) and len(data) > MOST_HEADER:
        raise TooCostly(f"a PNM header of more than {MOST_HEADER:,} bytes")
    is_text = words[0] in (b"P1", b"P2", b"P3")
    try:
        width, height = int(words[1]), int(words[2])
        depth = 255 if is_bilevel else int(words[3])
    except (ValueError, IndexError):
        return  # a broken header, which Pillow refuses
    if is_text or not (depth == 255 or (depth == 65535 and words[0] == b"P5")):
        _check_slow(width * height, len(data), "PNM", "PNM as text or of this depth")
    if is_text:
        _refuse_more(data.count(b"#"), MOST_COMMENTS, "comments in a PNM")


def _check_slow(pixels: int, size: int, kind: str, what: str) -> None:
    _refuse_more(pixels, MOST_SLOW_PIXELS, f"pixels in a {what}")
    _refuse_more(size, MOST_SLOW_BYTES[kind], f"bytes in a {what}")
