"""The only calls that change a disk: whole files, made durable, never seen half-written.

Each of them raises `CannotWrite` if the file system refuses.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import BinaryIO

from probeline.errors import BadOption, CannotWrite

TEMPORARY = ".tmp"
"""Suffix of files under way; whatever carries it belongs to nobody once its writer is gone."""

_LONGEST = 120
"""Bytes of the longest name that stands in paths as it is."""

ASIDE = ".bad"
"""Suffix of damaged files that a repair put aside."""

_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What ``fsync`` raises on file systems that cannot make anything durable."""

_NO_FOLDER_SYNC = _NO_SYNC | {errno.EBADF, errno.EACCES, errno.EPERM}
"""The same for folders; some network file systems and FUSE refuse them alone."""


def path_name(name: str, *, portable: bool = False) -> str:
    """Return the name of a backbone, weights or tap as it stands in paths: no ``/`` and no ``:`` in it.

    Entries of the cache and artifacts are named without `portable`, records with it: all but ASCII letters, digits and
    ``._+-`` become ``-`` too. Weights have such characters, as they are called as their file is, and nets of a file or
    folder. Of a longer name the end is a digest of the whole, as file systems have a limit.
    """
    plain = name.replace("/", "--").replace(":", "--")
    plain = re.sub(r"[^A-Za-z0-9._+-]", "-", plain) if portable else plain
    if len(plain.encode()) <= _LONGEST:
        return plain
    beginning = plain.encode()[: _LONGEST - 14].decode(errors="ignore")
    return f"{beginning}--{hashlib.sha256(name.encode()).hexdigest()[:12]}"


@contextmanager
def _refusals_named(path: Path) -> Iterator[None]:
    """Raise the errors of the file system as `CannotWrite`."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(
            "cannot write",
            where=path,
            got=error.strerror or type(error).__name__,
            remedy="free space or fix permissions, or choose another folder, then run again: what is finished is kept",
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably."""
    with _refusals_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        device = folder.stat().st_dev
        for above in folder.absolute().parents:
            if above.stat().st_dev != device or not os.access(above, os.R_OK):
                break
            sync_folder(above)  # also if it existed: its maker may have died before its name was durable


def check_writable(folder: Path, below: Path | None = None) -> None:
    """Refuse a folder that cannot be written to, cannot be made, or is a link below another; nothing is changed."""
    if below is not None:
        check_no_links(folder, below)
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    reason = (
        errno.ENOTDIR if not existing.is_dir() else errno.EACCES if not os.access(existing, os.W_OK | os.X_OK) else 0
    )
    if reason:
        with _refusals_named(folder):
            raise OSError(reason, os.strerror(reason))


def check_no_links(path: Path, below: Path) -> None:
    """Refuse a path that is a link, or is reached through one, below a folder; the folder itself may be one.

    What is written there would land elsewhere, maybe in place of somebody's file.

    Raises
    ------
    BadOption
    """
    part = below
    for name in path.relative_to(below).parts:
        part /= name
        if part.is_symlink():
            raise BadOption(
                "this is a link: nothing is written through it or in its place",
                where=part,
                expected="a plain file or folder",
                remedy="remove the link, or choose another folder",
            )


def publish(path: Path, data: bytes | Iterable[bytes], *, replace: bool = False, mode: int = 0o666) -> bool:
    """Write `data`, or pieces of it as they come, to `path` durably and whole, or not at all.

    The bytes go to a temporary name in the same folder, are synced, and get their name by a link that fails if the
    name is taken. With `replace` they take it from whatever holds it. `mode` are the most permissions the file gets.

    Returns
    -------
    bool
        False if another writer was first; nothing was changed then.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    with _refusals_named(path):
        try:
            _write_synced(temporary, [data] if isinstance(data, bytes) else data, mode)
            published = _take_name(temporary, path, replace=replace)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    return published


def open_log(path: Path) -> BinaryIO:
    """Open a file at its end, for what another process prints; it is not made durable."""
    with _refusals_named(path):
        return path.open("ab")


def append(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Add `data` to the end of a plain file, which is made if it is missing: whole, or cut short if the machine dies.

    Neither is it made durable; two processes may add to one file.
    """
    with _refusals_named(path):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(path, flags, mode)  # less the user's umask
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a plain file")
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)


def rename(path: Path, to: Path) -> None:
    """Give a file the name `to`, durably, in place of whatever holds it."""
    with _refusals_named(to):
        path.replace(to)
        sync_folder(to.parent)


def remove(path: Path) -> None:
    """Remove a file, durably, if it exists."""
    with _refusals_named(path):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


@contextmanager
def _folder_below(top: Path, names: Sequence[str]) -> Iterator[int]:
    """Yield a descriptor of the folder that some names lead to below `top`, none of them a link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(top, flags)
    try:
        for name in names:
            inner = os.open(name, flags | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def remove_below(top: Path, path: Path) -> None:
    """Remove a file or a link, durably, if it exists; no link leads there from `top`, even if one appears meanwhile."""
    *folders, name = path.relative_to(top).parts
    with _refusals_named(path), _folder_below(top, folders) as descriptor:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=descriptor)
        _sync(descriptor, _NO_FOLDER_SYNC)


def remove_empty_folders(top: Path, folder: Path) -> None:
    """Remove a folder and the folders above it, up to `top`, as long as they are empty and no link leads there."""
    *folders, name = folder.relative_to(top).parts
    try:
        with _folder_below(top, folders) as descriptor:
            os.rmdir(name, dir_fd=descriptor)
    except OSError:
        return
    if folders:
        remove_empty_folders(top, folder.parent)


def put_aside(path: Path) -> None:
    """Give a file, if it exists, a suffix that ends in `ASIDE` and that no other has."""
    with _refusals_named(path):
        with suppress(FileNotFoundError):
            numbers = chain([""], map(".{}".format, count(2)))
            names = (path.with_name(f"{path.name}{number}{ASIDE}") for number in numbers)
            os.replace(path, next(name for name in names if not os.path.lexists(name)))  # noqa: PTH105
        sync_folder(path.parent)


def _write_synced(path: Path, pieces: Iterable[bytes], mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)  # less the user's umask
    try:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        _sync(descriptor, _NO_SYNC)
    finally:
        os.close(descriptor)


def _take_name(temporary: Path, path: Path, *, replace: bool) -> bool:
    if replace:
        temporary.replace(path)
        return True
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links says so in many ways; what else is wrong, a rename meets too
        return _rename_to_free_name(temporary, path)
    return True


def _rename_to_free_name(temporary: Path, path: Path) -> bool:
    """Rename a file where there are no hard links; False if the name is taken.

    Linux and macOS do it in one step. Where they cannot, two writers may both believe to be first: writing one content
    twice is harmless, and records vouch for the content.
    """
    import ctypes  # needed on few file systems

    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(temporary), os.fsencode(path)
    failed = True
    if hasattr(library, "renameat2"):
        failed = library.renameat2(_HERE, names[0], _HERE, names[1], _LINUX_NO_REPLACE) != 0
    elif hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, _MACOS_NO_REPLACE) != 0
    if failed and os.path.lexists(path):
        return False
    if failed:  # this system or file system cannot do it in one step
        temporary.rename(path)
    return True


_HERE = -100
"""AT_FDCWD: paths are relative to the working folder."""

_LINUX_NO_REPLACE, _MACOS_NO_REPLACE = 1, 4
"""RENAME_NOREPLACE and RENAME_EXCL."""


def _sync(descriptor: int, unsupported: Collection[int]) -> None:
    """Make a file or folder durable, as far as its file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in unsupported:
            raise


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, as far as its file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # names may be added to it, but not listed
        return
    try:
        _sync(descriptor, _NO_FOLDER_SYNC)
    finally:
        os.close(descriptor)
