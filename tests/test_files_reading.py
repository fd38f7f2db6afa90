"""The guarded reader: plain files within their size, and nothing else is opened or waited for."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from probeline.files.reading import (
    RECORD,
    TEXT,
    FileKind,
    check,
    check_folder,
    memory_bytes,
    open_file,
    read_beginning,
    read_bytes,
    read_head,
    read_text,
)

SMALL = FileKind("a small file", 10)

READERS: dict[str, Callable[[Path], object]] = {
    "check": lambda path: check(path, SMALL),
    "open_file": lambda path: open_file(path, SMALL),
    "read_bytes": lambda path: read_bytes(path, SMALL),
    "read_beginning": lambda path: read_beginning(path, SMALL, 4),
    "read_text": lambda path: read_text(path, SMALL),
}


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, tempfile.TemporaryDirectory(dir="/tmp") as short:
        server.bind(f"{short}/s")  # the name of a socket has a limit of some 100 bytes
        Path(short, "s").rename(path)


def make_link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_pipe, "a pipe, not a plain file"),
        (make_socket, "a socket, not a plain file"),
        (make_link_to_zeros, "a device, not a plain file"),
        (Path.mkdir, "a folder, not a file"),
        (lambda path: path.write_bytes(b"x" * 11), "11 bytes, where a small file has at most 10"),
    ],
)
def test_what_is_no_plain_file_is_refused(
    tmp_path: Path, make: Callable[[Path], object], reason: str, reader: str
) -> None:
    make(tmp_path / "x")
    with pytest.raises(OSError) as error:  # noqa: PT011 - of any number; the reason is compared
        READERS[reader](tmp_path / "x")
    assert error.value.strerror == reason


@pytest.mark.parametrize("make", [make_pipe, make_socket, make_link_to_zeros, Path.mkdir])
def test_no_head_is_read_of_what_is_no_plain_file(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "x")
    with pytest.raises(OSError):  # noqa: PT011 - a socket cannot even be opened
        read_head(str(tmp_path / "x"), 4)


def test_a_sparse_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(60 << 30)
    with pytest.raises(OSError, match="64,424,509,440 bytes, where a record has at most 1,073,741,824"):
        read_bytes(tmp_path / "x", RECORD)


def test_plain_files_are_read_whole_or_from_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to("x")
    for path in (tmp_path / "x", tmp_path / "link"):
        assert check(path, SMALL) == 10
        assert read_bytes(path, SMALL) == b"0123456789"
        assert read_beginning(path, SMALL, 4) == read_head(str(path), 4) == b"0123"
        with open_file(path, SMALL) as file:
            assert file.read(3) == b"012"
            assert not os.get_inheritable(file.fileno())


def test_a_file_swapped_for_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    opened = os.open

    def swap(path: Path, flags: int) -> int:
        return opened(tmp_path / "pipe" if path == tmp_path / "x" else path, flags)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(OSError, match="a pipe, not a plain file"):
        read_bytes(tmp_path / "x", SMALL)


def test_files_without_a_size_are_read_up_to_their_limit() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc here")
    assert "Name:" in read_text(Path("/proc/self/status"), TEXT)
    with pytest.raises(OSError, match="more than 10 bytes, where a small file has at most 10"):
        read_bytes(Path("/proc/self/status"), SMALL)


def test_a_byte_order_mark_is_taken_off(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("\ufeffé".encode())
    assert read_text(tmp_path / "x", SMALL) == "é"


def test_memory_is_that_of_the_machine_or_less() -> None:
    assert 1 << 28 < memory_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_folder_for_a_library_has_plain_files_alone(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "x").write_bytes(b"x")
    check_folder(tmp_path, SMALL)
    make_pipe(tmp_path / "inner.json")
    with pytest.raises(OSError, match="a pipe, not a plain file"):
        check_folder(tmp_path, SMALL)
