"""Lists of paths that other programs pipe in."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterator

_UTF8_BOM = codecs.BOM_UTF8
_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def piped_paths(read: Callable[[], bytes], is_ready: Callable[[], bool]) -> Iterator[str | None]:
    r"""Yield the lines of a list, decoded as file names; None before a read that may have to wait.

    Lines end with ``\n`` or ``\r\n``; or with a NUL, as ``find -print0`` writes them, if the list begins with such a
    line. A byte order mark is dropped, and UTF-16 decoded, as Windows PowerShell writes it.

    Parameters
    ----------
    read : callable
        Returns the next bytes, at least one; none at the end.
    is_ready : callable
        Returns whether reading would not wait.
    """
    data = read()
    while 0 < len(data) < len(_UTF8_BOM) and data[:1] in (b"\xef", b"\xff", b"\xfe") and (more := read()):
        data += more
    decode: Callable[[bytes], bytes] = bytes
    if data.startswith(_UTF16_BOMS):
        decoder = codecs.getincrementaldecoder("utf-16")(errors="replace")
        decode = lambda chunk: decoder.decode(chunk).encode("utf-8")  # noqa: E731
    partial = decode(data.removeprefix(_UTF8_BOM))
    end = None
    while data:
        if end is None and (b"\n" in partial or b"\0" in partial):
            end = b"\0" if b"\0" in partial.partition(b"\n")[0] else b"\n"
        if end is not None:
            *lines, partial = partial.split(end)
            yield from map(_path, lines)
        if not is_ready():
            yield None
        data = read()
        partial += decode(data)
    if partial:
        yield _path(partial)


def _path(line: bytes) -> str:
    return os.fsdecode(line.removesuffix(b"\r"))
