"""Long columns of classes in a record: as little-endian integers in base64, so that JSON has one text to parse."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_LISTED = 100_000
"""Values of the longest column that is written as a list, which any program reads."""

_TYPES = {"<u1": "B", "<u2": "H", "<u4": "I"}
"""The types as NumPy calls them, and as `array` does."""


@dataclass(frozen=True)
class Packed:
    """In ``Annotated[tuple[int, ...], Packed()]``: integers from 0 to 2**32 - 1 that are packed if they are many."""


def pack(values: Sequence[int]) -> dict[str, str]:
    """Return a column as a JSON value, of the smallest type that holds it."""
    most = max(values, default=0)
    kind = next(kind for kind in _TYPES if most < 1 << 8 * int(kind[-1]))
    column = array(_TYPES[kind], values)
    _swap_if_big_endian(column)
    return {"type": kind, "base64": base64.b64encode(column.tobytes()).decode("ascii")}


def unpack(value: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the values of a packed column; ValueError for a JSON value that is none."""
    kind, text = value.get("type"), value.get("base64")
    if len(value) != 2 or not isinstance(kind, str) or kind not in _TYPES or not isinstance(text, str):
        raise ValueError(f"expected type, one of {', '.join(_TYPES)}, and base64")
    column = array(_TYPES[kind])
    try:
        column.frombytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"expected base64 of {kind}") from error
    _swap_if_big_endian(column)
    return tuple(column)


def _swap_if_big_endian(column: array[int]) -> None:
    if sys.byteorder == "big":
        column.byteswap()
