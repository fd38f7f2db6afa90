"""Files are whole or absent, and a name once taken stays with its first holder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from probeline import disk
from probeline.errors import CannotWrite


def test_the_first_writer_keeps_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert disk.publish(path, b"first")
    assert not disk.publish(path, b"second")
    assert path.read_bytes() == b"first"
    assert disk.publish(path, b"third", replace=True)
    assert path.read_bytes() == b"third"
    assert os.listdir(tmp_path) == ["a"]  # noqa: PTH208


def test_what_can_be_written_is_known_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    disk.check_writable(tmp_path)
    disk.check_writable(tmp_path / "not" / "yet")
    for inside in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CannotWrite, match=os.strerror(errno.ENOTDIR)):
            disk.check_writable(inside)
    monkeypatch.setattr(os, "access", lambda *arguments: False)  # root may write anywhere
    with pytest.raises(CannotWrite, match=f"{tmp_path}/not/yet .*{os.strerror(errno.EACCES)}"):
        disk.check_writable(tmp_path / "not" / "yet")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["write", "fsync", "link", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_refused_call_leaves_nothing_behind(
    call: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, refuse)
    if call == "link":
        monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(CannotWrite, match=os.strerror(code)):
        disk.publish(tmp_path / "a", b"data")
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    disk.publish(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_a_file_system_without_links_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert disk.publish(tmp_path / "a", b"first")
    assert not disk.publish(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="cannot write"):
        disk.make_folder(tmp_path / "file" / "folder")
