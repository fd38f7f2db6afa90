"""Files are whole or absent, and a name once taken stays with its first holder."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from probeline import disk
from probeline.errors import BadOption, CannotWrite


def refusing(code: int) -> Callable[..., None]:
    """Return a stand-in for a call that the system refuses."""

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    return refuse


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
    monkeypatch.setattr(os, call, refusing(code))
    if call == "link":
        monkeypatch.setattr(Path, "rename", refusing(code))
        monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **options: object())
    with pytest.raises(CannotWrite, match=os.strerror(code)):
        disk.publish(tmp_path / "a", b"data")
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    disk.publish(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


@pytest.mark.parametrize("is_atomic", [True, False], ids=["in one step", "in two steps"])
@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.ENOSPC])
def test_a_file_system_without_links_is_served(
    code: int, is_atomic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refusing(code))
    if not is_atomic:
        monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **options: object())
    elif sys.platform in ("linux", "darwin"):
        monkeypatch.setattr(Path, "rename", refusing(errno.EIO))
    assert disk.publish(tmp_path / "a", b"first")
    assert not disk.publish(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    (tmp_path / "b").symlink_to(tmp_path / "gone")
    assert not disk.publish(tmp_path / "b", b"second")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("where", ["files", "folders"])
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES])
def test_a_file_system_that_cannot_sync_is_served(
    code: int, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == (where == "folders"):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    if where == "files" and code in (errno.EBADF, errno.EACCES):  # which say that something is wrong with it
        with pytest.raises(CannotWrite):
            disk.publish(tmp_path / "a", b"data")
        return
    disk.make_folder(tmp_path / "folder")
    assert disk.publish(tmp_path / "folder" / "a", b"data")
    disk.put_aside(tmp_path / "folder" / "a")
    disk.remove(tmp_path / "folder" / "a.bad")
    assert not list((tmp_path / "folder").iterdir())


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_sync_of_a_folder_that_fails_is_an_error(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CannotWrite, match=os.strerror(code)):
        disk.publish(tmp_path / "a", b"data")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_are_as_the_umask_says(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        disk.publish(tmp_path / "a", b"data")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_what_was_put_aside_before_is_kept_even_if_it_is_a_broken_link(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    (tmp_path / "a.bad").symlink_to(tmp_path / "gone")
    disk.put_aside(tmp_path / "a")
    assert (tmp_path / "a.bad").is_symlink()
    assert (tmp_path / "a.2.bad").read_bytes() == b"data"


@pytest.mark.parametrize("level", range(3))
def test_nothing_is_removed_through_a_link(level: int, tmp_path: Path) -> None:
    top, outside = tmp_path / "top", tmp_path / "outside"
    inner = top / "one" / "two" / "three"
    inner.mkdir(parents=True)
    (inner / "a").touch()
    link = [top / "one", top / "one" / "two", inner][level]
    link.rename(outside)
    link.symlink_to(outside)
    with pytest.raises(CannotWrite):
        disk.remove_below(top, inner / "a")
    disk.remove_empty_folders(top, inner)
    assert (inner / "a").exists()


def test_a_link_is_removed_and_not_what_it_leads_to_and_only_empty_folders_follow(tmp_path: Path) -> None:
    inner = tmp_path / "one" / "two"
    inner.mkdir(parents=True)
    (tmp_path / "mine").touch()
    (inner / "a").symlink_to(tmp_path / "mine")
    disk.remove_below(tmp_path, inner / "a")
    disk.remove_below(tmp_path, inner / "a")  # gone already
    disk.remove_empty_folders(tmp_path, inner)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_link_below_a_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "gone").symlink_to(tmp_path / "nowhere")
    disk.check_no_links(tmp_path / "real" / "new" / "a", tmp_path)
    disk.check_no_links(tmp_path / "linked" / "a", tmp_path / "linked")
    for path, link in (("linked/a", "linked"), ("linked", "linked"), ("real/gone", "real/gone")):
        with pytest.raises(BadOption, match=f"this is a link.*{tmp_path / link} .*remove the link") as caught:
            disk.check_no_links(tmp_path / path, tmp_path)
        assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="cannot write"):
        disk.make_folder(tmp_path / "file" / "folder")
