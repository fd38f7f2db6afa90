"""Long columns of classes or numbers in a record: little-endian in base64, so that JSON has one text to parse."""

from __future__ import annotations

import base64
import binascii
import math
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


_FLOATS = {"<f4": "f", "<f8": "d"}


@dataclass(frozen=True)
class PackedFloats:
    """In ``Annotated[tuple[float, ...], PackedFloats()]``: numbers that are always packed, with NaN where unknown."""


def pack(values: Sequence[int]) -> dict[str, str]:
    """Return a column as a JSON value, of the smallest type that holds it."""
    most = max(values, default=0)
    kind = next(kind for kind in _TYPES if most < 1 << 8 * int(kind[-1]))
    column = array(_TYPES[kind], values)
    _swap_if_big_endian(column)
    return {"type": kind, "base64": base64.b64encode(column.tobytes()).decode("ascii")}


def unpack(value: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the values of a packed column; ValueError for a JSON value that is none."""
    return tuple(_unpacked(value, _TYPES))


def pack_floats(values: Sequence[float]) -> dict[str, str]:
    """Return a column of numbers as a JSON value: float32 if that holds them all as they are, else float64."""
    narrow = array("f", values)
    is_exact = all(own == wide or wide != wide for own, wide in zip(narrow, values, strict=True))
    column = narrow if is_exact else array("d", values)
    _swap_if_big_endian(column)
    return {"type": "<f4" if is_exact else "<f8", "base64": base64.b64encode(column.tobytes()).decode("ascii")}


def unpack_floats(value: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the numbers of a packed column; ValueError for a JSON value that is none, or for an infinite number."""
    column = tuple(_unpacked(value, _FLOATS))
    if any(map(math.isinf, column)):
        raise ValueError("expected finite numbers or NaN, got an infinite one")
    return column


def _unpacked(value: Mapping[str, Any], types: Mapping[str, str]) -> array[Any]:
    kind, text = value.get("type"), value.get("base64")
    if len(value) != 2 or not isinstance(kind, str) or kind not in types or not isinstance(text, str):
        raise ValueError(f"expected type, one of {', '.join(types)}, and base64")
    column: array[Any] = array(types[kind])
    try:
        column.frombytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"expected base64 of {kind}") from error
    _swap_if_big_endian(column)
    return column


def _swap_if_big_endian(column: array[Any]) -> None:
    if sys.byteorder == "big":
        column.byteswap()
