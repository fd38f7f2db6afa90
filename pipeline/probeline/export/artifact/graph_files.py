"""Files of graphs, which other programs run: what in them would be unpickled, unpacked to much more, or read elsewhere.

Nothing of a graph is loaded to find out, and neither torch nor onnx is needed.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from probeline.files.reading import WEIGHTS, open_file

_MOST_MEMBERS = 200_000
_SPARE_BYTES = 1 << 20
"""Bytes that the members of a .pt2 may have in addition to those of the file: torch does not compress them."""

_LONGEST_CONFIG = 64 << 20

_DEEPEST = 64
"""Levels of nested messages in an ONNX file."""

_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""The messages of ONNX that lead to tensors: the numbers of their fields, and the kinds of message in them."""

_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
"""Fields of a tensor whose values are in another file."""

_VARINT, _BYTES = 0, 2
_WIDTHS = {1: 8, 5: 4}
"""Types of protobuf's fields, and the bytes of those of fixed width."""


def check_pt2(path: Path) -> None:
    """Refuse a .pt2 file that loading would unpickle, or that unpacks to more than it is.

    Raises
    ------
    ValueError
    """
    try:
        with open_file(path, WEIGHTS) as file:
            members = pickled(file)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"a .pt2 that cannot be read: {error}") from error
    if members:
        raise ValueError(f"a .pt2 with pickles: {', '.join(members[:3]):.200}")


def pickled(file: BinaryIO) -> list[str]:
    """Return the members of a .pt2 archive that loading it would unpickle.

    Raises
    ------
    ValueError
        It unpacks to more than it is, or its tables are none of torch's.
    """
    members = []
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        unpacked = sum(member.file_size for member in infos)
        size = file.seek(0, 2)
        if len(infos) > _MOST_MEMBERS or unpacked > size + _SPARE_BYTES:
            raise ValueError(f"a .pt2 of {size:,} bytes whose {len(infos):,} members unpack to {unpacked:,}")
        for member in infos:
            inner = member.filename.partition("/")[2]
            if inner.startswith("data/sample_inputs/") and member.file_size:
                members.append(inner)
            if inner.startswith("data/") and inner.endswith("_config.json"):
                members += _pickled_payloads(archive, member)
    return members


def _pickled_payloads(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> list[str]:
    if member.file_size > _LONGEST_CONFIG:
        raise ValueError(f"{member.filename:.80}: {member.file_size:,} bytes")
    try:
        payloads = json.loads(archive.read(member))["config"]
        return [name for name, facts in payloads.items() if facts["use_pickle"] is not False]
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{member.filename:.80} is no table of torch's") from error


def check_onnx_file(data: bytes) -> None:
    """Refuse an ONNX file with tensors in other files, whose paths may lead anywhere.

    Raises
    ------
    ValueError
    """
    waiting = [("model", 0, len(data), 0)]
    while waiting:
        kind, start, end, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ValueError(f"an ONNX file nested more than {_DEEPEST} levels deep")
        for number, wire, first, last in _fields(data, start, end):
            if kind == "tensor" and (
                number == _EXTERNAL_DATA or (number == _DATA_LOCATION and (wire != _VARINT or first))
            ):
                raise ValueError("an ONNX file with tensors in other files")
            if number in _INSIDE[kind] and wire == _BYTES:
                waiting.append((_INSIDE[kind][number], first, last, depth + 1))


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, type, and the ends of each field of a message; in place of them the value of an integer, and 0."""
    while at < end:
        tag, at = _varint(data, at, end)
        wire = tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at, end)
            yield tag >> 3, wire, value, 0
            continue
        if wire == _BYTES:
            length, at = _varint(data, at, end)
        elif wire in _WIDTHS:
            length = _WIDTHS[wire]
        else:
            raise ValueError("an ONNX file that is no message of protobuf")
        if length > end - at:
            raise ValueError("an ONNX file that is cut short")
        yield tag >> 3, wire, at, at + length
        at += length


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError("an ONNX file that is cut short")
