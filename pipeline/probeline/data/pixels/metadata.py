"""Images without their metadata: what is left when a file is sound but for texts, profiles and previews in it."""

from __future__ import annotations

from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_METADATA = frozenset(
    b"tEXt zTXt iTXt iCCP gAMA cHRM sRGB cICP mDCV cLLI pHYs tIME bKGD hIST sBIT sPLT acTL fcTL fdAT caBX".split()
)
"""Chunks that do not decide the pixels of the first image; one of an unknown name may be a damaged one that does."""

_SOS = 0xDA
_APP0, _APP1, _APP14, _COMMENT = 0xE0, 0xE1, 0xEE, 0xFE
"""Markers of JPEG: APP0 and APP14 tell how colours are coded, APP1 has EXIF or XMP."""

_JFIF = 18
"""Least length of a sound APP0 segment with its marker, bytes."""


def without_metadata(data: bytes) -> Iterator[bytes]:
    """Yield a JPEG or PNG without metadata: first with its EXIF, for the orientation, then without.

    Nothing is yielded for other formats, and for files that end within their metadata.
    """
    for keeps_exif in (True, False):
        if data.startswith(_PNG):
            yield _png(data, keeps_exif=keeps_exif)
        elif data.startswith(b"\xff\xd8") and (stripped := _jpeg(data, keeps_exif=keeps_exif)):
            yield stripped


def _png(data: bytes, *, keeps_exif: bool) -> bytes:
    kept, start = [_PNG], len(_PNG)
    while start < len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        chunk = data[start : start + 12 + length]
        kind = chunk[4:8]
        if kind not in _PNG_METADATA and (keeps_exif or kind != b"eXIf"):
            kept.append(chunk)
        if kind == b"IEND":
            break
        start += 12 + length
    return b"".join(kept)


def _jpeg(data: bytes, *, keeps_exif: bool) -> bytes | None:
    kept, start = [data[:2]], 2
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker = data[start + 1]
        if marker == 0xFF:  # fill bytes may come before a marker
            start += 1
            continue
        if marker == _SOS:
            return b"".join((*kept, data[start:]))
        stop = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        is_exif = marker == _APP1 and data[start + 4 : start + 8] == b"Exif"
        is_metadata = (_APP0 < marker <= 0xEF and marker != _APP14) or (marker == _APP0 and stop - start < _JFIF)
        if (not is_metadata and marker != _COMMENT) or (is_exif and keeps_exif):
            kept.append(data[start:stop])
        start = stop
    return None
