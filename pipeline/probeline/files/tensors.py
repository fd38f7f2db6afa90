"""Files of safetensors: the header is checked against the size of the file before any tensor is read."""

from __future__ import annotations

import json
import os
from pathlib import Path

from probeline.files.reading import FileKind, open_file

_LONGEST_HEADER = 16 << 20
"""Bytes: 100,000 tensors of 160 bytes each."""

_LENGTH = 8
"""Bytes of the header's length, which come first."""


def read_tensors(path: Path, kind: FileKind) -> bytes:
    """Return the bytes of a file of safetensors that is as long as its header says.

    The library that makes tensors of the bytes checks everything else.

    Raises
    ------
    OSError
    ValueError
        The header is too long, is no header, or says another size.
    """
    with open_file(path, kind) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(_LENGTH), "little")
        if not 0 < length <= min(size - _LENGTH, _LONGEST_HEADER):
            raise ValueError(f"{size:,} bytes with a header of {length:,}")
        expected = _LENGTH + length + _bytes_of_tensors(file.read(length))
        if size != expected:
            raise ValueError(f"{size:,} bytes, where its header says {expected:,}")
        file.seek(0)
        return file.read(size)


def _bytes_of_tensors(header: bytes) -> int:
    try:
        facts = json.loads(header)
        ends = [tensor["data_offsets"][1] for name, tensor in facts.items() if name != "__metadata__"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("a header that is not one of safetensors") from error
    if not all(type(end) is int and end >= 0 for end in ends):
        raise ValueError("a header whose offsets are no numbers")
    return max(ends, default=0)
