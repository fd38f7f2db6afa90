"""Lists of paths as other programs pipe them in."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from probeline.cli.piped import piped_paths


def paths(*chunks: bytes) -> list[str | None]:
    """Return what comes of chunks, as a program writes them that is always ahead of its reader."""
    left: Iterator[bytes] = iter((*chunks, b""))
    return list(piped_paths(lambda: next(left), lambda: True))


@pytest.mark.parametrize(
    "data",
    [
        b"a.jpg\nb c.jpg\n",
        b"a.jpg\nb c.jpg",
        b"a.jpg\r\nb c.jpg\r\n",
        b"\xef\xbb\xbfa.jpg\r\nb c.jpg",
        b"a.jpg\0b c.jpg\0",
        "a.jpg\r\nb c.jpg\r\n".encode("utf-16"),
        b"\xfe\xff" + "a.jpg\nb c.jpg\n".encode("utf-16-be"),
    ],
)
def test_a_list_is_read_however_its_lines_end(data: bytes) -> None:
    assert paths(data) == ["a.jpg", "b c.jpg"]
    assert paths(*(data[i : i + 1] for i in range(len(data)))) == ["a.jpg", "b c.jpg"], "in pieces"


def test_a_name_with_a_line_break_is_one_path_where_lines_end_with_nul() -> None:
    assert paths(b"a.jpg\0b\nc.jpg\0") == ["a.jpg", "b\nc.jpg"]


def test_names_that_are_no_unicode_come_through() -> None:
    assert paths(b"\xffa.jpg\n", b"b") == [os.fsdecode(b"\xffa.jpg"), "b"]
    assert paths() == []


def test_waiting_is_said_before_it_begins() -> None:
    left = iter((b"a\nb", b"\n", b""))
    assert list(piped_paths(lambda: next(left), lambda: False)) == ["a", None, "b", None]
