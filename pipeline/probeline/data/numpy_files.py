"""NumPy files of arrays, whose sizes are held against the file and the memory before anything is allocated."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from probeline.files.memory import check_fits
from probeline.files.reading import ARRAYS, open_file
from probeline.types import AnyArray

MOST_ARRAYS = 10_000
"""Arrays of an ``.npz``."""


def read_numpy(path: Path) -> AnyArray | dict[str, AnyArray]:
    """Return the array of an ``.npy``, or those of an ``.npz`` by name.

    Raises
    ------
    ValueError
        The file is none of these, holds pickled objects, says that an array has more bytes than there are, or needs
        more memory than the machine has. The message does not name the file.
    """
    try:
        with open_file(path, ARRAYS) as file:
            for name, size, stream in _arrays(file):
                _check_array(name, size, stream)
            file.seek(0)
            content = np.load(file, allow_pickle=False)
            return content if isinstance(content, np.ndarray) else {name: content[name] for name in content.files}
    except Exception as error:  # zip, zlib, header and type errors of a foreign file
        raise ValueError(getattr(error, "strerror", None) or str(error) or type(error).__name__) from error


def _arrays(file: BinaryIO) -> Iterator[tuple[str, int, Any]]:
    """Yield name, size in bytes and stream of each array of a file."""
    is_archive = file.read(2) == b"PK"
    size = file.seek(0, 2)
    file.seek(0)
    if not is_archive:
        yield "the array", size, file
        return
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > MOST_ARRAYS:
            raise ValueError(f"{len(members):,} arrays, at most {MOST_ARRAYS:,} are read")
        check_fits(sum(member.file_size for member in members))
        for member in members:
            with archive.open(member) as stream:
                yield member.filename, member.file_size, stream


def _check_array(name: str, size: int, stream: Any) -> None:
    """Refuse an array that is larger than what is left of its stream."""
    try:
        version = np.lib.format.read_magic(stream)
    except ValueError:
        return  # no array: NumPy says so, or passes it over
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    needed, left = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if needed > left and not dtype.hasobject:
        raise ValueError(f"{name} says {dtype} {list(shape)!r:.80}, {needed:,} bytes, and there are {left:,}")
