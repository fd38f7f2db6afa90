"""What a file is, by its first bytes. Names are only a hint for which files to look at."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import PurePath

from probeline.files import reading

EXTENSIONS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
"""Files of these names are listed as images without being opened."""

HEAD = 32
"""Bytes that tell the format of a file."""

_OTHER_FILES = frozenset(
    (
        ".txt",
        ".csv",
        ".tsv",
        ".json",
        ".jsonl",
        ".xml",
        ".yaml",
        ".yml",
        ".toml",
        ".md",
        ".ini",
        ".db",
        ".log",
        ".cfg",
        ".pdf",
        ".py",
        ".ipynb",
        ".npy",
        ".npz",
        ".mat",
        ".h5",
        ".hdf5",
        ".pkl",
        ".pt",
        ".pth",
        ".parquet",
        ".zip",
        ".gz",
        ".tar",
        ".tgz",
        ".7z",
        ".rar",
        ".mp4",
        ".avi",
        ".mov",
        ".mkv",
        ".webm",
        ".wav",
        ".mp3",
        ".xmp",
        ".thm",
        ".nef",
        ".cr2",
        ".cr3",
        ".dng",
        ".arw",
        ".pef",
        ".orf",
        ".rw2",
        ".srw",
        ".nrw",
        ".raf",
    )
)
"""Files of these names are not opened: annotations of the images, and formats that hold small previews."""

_BACKUPS = ("~", "_original", ".bak", ".orig")
"""Ends of the names that editors give to copies of an image before a change."""

_ANYWHERE = ("JPEG", "PNG", "BMP", "WEBP")
"""Formats that count under any name. TIFF is the frame of many others, and PNM has a magic number of two letters."""

_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Lengths of the header that follows the file header of a BMP."""


def format_of(head: bytes) -> str | None:
    """Return the decodable format of a file by its first `HEAD` bytes, as Pillow names it; None if it has none."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    return "PPM" if re.match(rb"P[1-6]\s+[#\d]", head) else None


_OTHERS = (
    (0, b"GIF8", "a GIF"),
    (4, b"ftypavif", "an AVIF"),
    (4, b"ftypavis", "an AVIF"),
    (4, b"ftyphei", "a HEIC"),
    (4, b"ftyphev", "a HEIC"),
    (4, b"ftypmif1", "a HEIC"),
    (4, b"ftypmsf1", "a HEIC"),
    (4, b"ftyp", "a video"),
    (0, b"\x1a\x45\xdf\xa3", "a video"),
    (8, b"AVI ", "a video"),
    (0, b"%PDF", "a PDF"),
    (0, b"8BPS", "a PSD"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (4, b"JXL ", "a JPEG XL"),
    (4, b"jP  ", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (128, b"DICM", "a DICOM"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"version https://git-lfs", "a Git LFS pointer: run git lfs pull"),
)
"""Offset and bytes of formats that are not decoded, in words."""


def describe(data: bytes) -> str:
    """Return in words what a file that is none of the decodable formats is, by its bytes."""
    if not data:
        return "an empty file"
    for offset, magic, words in _OTHERS:
        if data[offset : offset + len(magic)] == magic:
            return words
    text = data[:512].lstrip(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in text:
        return "an SVG"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page"
    if not data[:512].strip(b"\0"):
        return "a file of zeros"
    if text.isascii() and text.decode("ascii").replace("\n", " ").replace("\r", " ").replace("\t", " ").isprintable():
        return "a text"
    return "no image"


def why_no_image(path: str, name: str) -> str | None:
    """Return why a file is not listed as an image, None if it is; `name` is its own name.

    A file whose name ends like an image's is not opened. Of others the first bytes decide, unless their name is that
    of an annotation or of a format that only contains images.
    """
    stem, suffix = os.path.splitext(name.lower())  # noqa: PTH122 - a Path for each of a million files takes seconds
    if suffix in EXTENSIONS:
        return None
    if suffix.endswith(_BACKUPS) or stem.endswith("~"):
        return "a backup copy"
    reason = f"not a photo ({suffix if len(suffix) > 1 else 'no extension'})"
    if suffix in _OTHER_FILES:
        return reason
    found = format_of(read_head(path))
    unnamed = len(suffix) < 2 or not EXTENSIONS.isdisjoint(PurePath(stem).suffixes)
    return None if found in _ANYWHERE or (found and (unnamed or suffix in (".pbm", ".pnm"))) else reason


def read_head(path: str) -> bytes:
    """Return the first `HEAD` bytes of a file; none if it cannot be opened."""
    with contextlib.suppress(OSError):
        return reading.read_head(path, HEAD)
    return b""
