"""Bytes of files that are changed in place: writing a whole file again has some file systems wait for their disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def flipped(path: Path, place: int, bits: int) -> Iterator[None]:
    """Have `bits` of the byte at `place` of a file turned over."""
    with path.open("r+b", buffering=0) as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ bits]))
        yield
        file.seek(place)
        file.write(bytes([byte]))
