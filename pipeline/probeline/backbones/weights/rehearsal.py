"""What a weights file would have torch do, found before torch reads it: files of some kilobytes can ask for terabytes.

`torch.load(weights_only=True)` runs no code of a file, but what the file asks for has no limit: members of an archive
that unpack to a thousand times their size, tensors and byte arrays of any size, texts that are encoded again and again.
Therefore the pickle is read here first, with stand-ins for all that it names. What `torch.save` writes passes.
"""

from __future__ import annotations

import math
import pickle
import struct
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from probeline.files.reading import WEIGHTS, open_file

MOST_PICKLE = 32 << 20
"""Bytes of the pickle in a weights file, without the numbers of its tensors: some 200,000 tensors."""

MOST_DIRECTORY = 64 << 20
"""Bytes of the list of an archive's members, which is some 60 for each tensor."""

MOST_HEADER = 100_000_000
"""Bytes of the header of a safetensors file, which safetensors has as its own limit."""

_ENCODINGS = ("latin1", "utf-8")
"""How pickles of torch write bytes as text. Others, as hex, may be used on their own results: 2, 4, 8 times as much."""

_SLACK = 1 << 20
"""Bytes that a file may ask for whatever its own size."""

_END, _END_64, _PLACE_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")


class TooLarge(ValueError):
    """A weights file that asks for more than it can hold."""


class Inert:
    """Stands for every object of a file that is no tensor: whatever is done to it runs no code of the file."""

    state: object = None

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, name: object, value: object) -> None: ...


def check_torch_file(path: Path) -> None:
    """Refuse a file of torch that asks for more memory than it has bytes.

    Raises
    ------
    TooLarge
    Exception
        The file cannot be read as one of torch: of a dozen kinds, as of `torch.load`.
    """
    with open_file(path, WEIGHTS) as stream:
        if stream.read(4) != b"PK\3\4":
            stream.seek(0)
            _check_old_format(stream)
            return
        size = stream.seek(0, 2)
        _check_directory(stream, size)
        with zipfile.ZipFile(stream) as archive:
            _check_members(archive.infolist(), size)
            for member in archive.infolist():
                if member.filename.endswith("data.pkl"):
                    with archive.open(member) as pickled:
                        _Rehearsal(_Counted(pickled), size).load()


def check_safetensors(path: Path) -> None:
    """Refuse a safetensors file whose header is longer than any.

    Raises
    ------
    TooLarge, OSError
    """
    with open_file(path, WEIGHTS) as stream:
        length = int.from_bytes(stream.read(8), "little")
    if length > MOST_HEADER:
        raise TooLarge(f"a header of {length:,} bytes, at most {MOST_HEADER:,} are read")


def _check_directory(stream: BinaryIO, size: int) -> None:
    """Refuse an archive whose list of members may be read in two ways, or is too long; torch writes it at the end."""
    place = size - _END.size
    stream.seek(max(0, place - _PLACE_64.size))
    tail = stream.read()
    if tail[-_END.size : -_END.size + 4] != b"PK\5\6":
        raise TooLarge("an archive that does not end with its list of members")
    *_, length, start, _ = _END.unpack(tail[-_END.size :])
    if tail[:4] == b"PK\6\7":
        *_, place, _ = _PLACE_64.unpack(tail[: _PLACE_64.size])
        stream.seek(place)
        *_, length, start = _END_64.unpack(stream.read(_END_64.size))
        if place + _END_64.size + _PLACE_64.size + _END.size != size:
            raise TooLarge("an archive with something between its list of members and its end")
    if start + length != place:
        raise TooLarge("an archive whose list of members is elsewhere than it says")
    if length > MOST_DIRECTORY:
        raise TooLarge(f"a list of members of {length:,} bytes, at most {MOST_DIRECTORY:,} are read")


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            got = f"{member.compress_size:,} bytes that unpack to {member.file_size:,}"
            raise TooLarge(f"a compressed member, where torch stores them: {got}")
    if (total := sum(member.file_size for member in members)) > size:
        raise TooLarge(f"members of {total:,} bytes in a file of {size:,}")
    if len({member.filename.casefold() for member in members}) < len(members):
        raise TooLarge("two members of one name")


def _check_old_format(stream: BinaryIO) -> None:
    """Read the pickles of the format before torch 1.6: magic number, version, system, tensors, and their order."""
    size = stream.seek(0, 2)
    stream.seek(0)
    for _ in range(5):
        _Rehearsal(_Counted(stream), size).load()


class _Counted:
    """A stream of which no more than `MOST_PICKLE` bytes are read."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._left = stream, MOST_PICKLE

    def _count(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge(f"a pickle of more than {MOST_PICKLE:,} bytes beside the tensors")
        return data

    def read(self, count: int = -1) -> bytes:
        """Return some bytes."""
        return self._count(self._stream.read(count if 0 <= count <= self._left else self._left + 1))

    def readline(self) -> bytes:
        """Return the bytes to the end of a line."""
        return self._count(self._stream.readline(self._left + 1))


class _Rehearsal(pickle._Unpickler):
    """Reads a pickle without torch, with stand-ins; TooLarge is raised for what is larger than the file.

    It is Python's own in Python, since that in C sets aside memory for as many objects as the file says it has.
    """

    def __init__(self, stream: _Counted, size: int) -> None:
        super().__init__(stream, encoding="latin1")
        self._size = size
        self._made = 0
        self._known: Mapping[str, object] = {
            "collections.OrderedDict": OrderedDict,
            "collections.Counter": Counter,
            "torch.Size": tuple,
            "_codecs.encode": self._encode,
            "builtins.bytearray": self._make_bytes,
            "__builtin__.bytearray": self._make_bytes,
        }

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for an object that the pickle names."""
        if module in ("torch._utils", "torch._tensor") and name.startswith("_rebuild"):
            return self._rebuild
        if f"{module}.{name}" in self._known:
            return self._known[f"{module}.{name}"]
        return self._stand_in(counts=module.partition(".")[0] == "torch")

    def persistent_load(self, pid: Any) -> Any:
        """Return what stands for a storage: kind, class, key, device, and the number of its values."""
        if isinstance(pid, tuple) and len(pid) > 4:
            self._check_numbers((pid[4],))
        return Inert()

    def _stand_in(self, *, counts: bool) -> type:
        check = self._check_numbers

        class StandIn(Inert):
            """Takes whatever a pickle does to an object; of torch's own, sizes are checked."""

            def __init__(self, *arguments: object, **_: object) -> None:
                if counts:  # a tensor or a storage of so many values
                    check(arguments)

            def __setstate__(self, state: object) -> None:
                if isinstance(state, tuple) and len(state) == 4:  # a tensor: storage, offset, size, stride
                    check(state[2])

            def append(self, _: object) -> None: ...

            def extend(self, _: object) -> None: ...

        return StandIn

    def _check_numbers(self, numbers: object) -> None:
        """Refuse the sizes of a tensor with more values than the file has bytes."""
        if not isinstance(numbers, tuple | list):
            return
        sizes = [number for number in numbers if isinstance(number, int)]
        if sizes and math.prod(sizes) > self._size:
            raise TooLarge(f"a tensor of size {sizes!r:.80}, in a file of {self._size:,} bytes")

    def _rebuild(self, *arguments: Any) -> Inert:
        """Stand for each of torch's functions that make a tensor: storage, offset, size; or a function and those."""
        if arguments and callable(arguments[0]) and isinstance(arguments[-2], tuple):
            inner: Callable[..., Any] = arguments[0]
            inner(*arguments[-2])
        if len(arguments) > 2:
            self._check_numbers(arguments[2])
        return Inert()

    def _count(self, count: int) -> None:
        self._made += count
        if self._made > 4 * self._size + _SLACK:
            raise TooLarge(f"more than {self._made:,} bytes made from a file of {self._size:,}")

    def _encode(self, text: object, encoding: object = "utf-8", *_: object) -> bytes:
        if not isinstance(text, str) or encoding not in _ENCODINGS:
            raise TooLarge(f"a text that is encoded as {encoding!r:.40}")
        self._count(2 * len(text))
        return text.encode(str(encoding))

    def _make_bytes(self, *arguments: Any) -> bytes:
        if not arguments or not isinstance(arguments[0], bytes | str):
            count = arguments[0] if arguments and isinstance(arguments[0], int) else 0
            self._count(count)
            return b""
        self._count(len(arguments[0]))
        return arguments[0] if isinstance(arguments[0], bytes) else arguments[0].encode("latin1", "replace")
