"""How a file is told from others without reading it, its sha256, and whether other users may change it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from probeline.files.reading import FileKind, open_file

_SETTLED_NS = 2_000_000_000
"""A file younger than this may change again within one tick of its file system's clock."""


def fingerprint(path: Path | str) -> list[int]:
    """Return [size in bytes, mtime in ns, ctime in ns, inode] of the file that `path` leads to.

    Programs can set the time of a modification, but not that of the last change of the file's state (ctime).
    """
    status = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes seconds
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def is_settled(facts: list[int]) -> bool:
    """Return whether a file with this fingerprint is old enough for any later change to give it another one."""
    return facts[1] <= time.time_ns() - _SETTLED_NS


@dataclass
class Ownership:
    """The file of this user among those of all who share a folder.

    Attributes
    ----------
    path : Path
        Where it is, or will be.
    is_trusted : bool
        Whether it may be read: no other user can have written it. True if it is missing.
    """

    path: Path
    is_trusted: bool

    @classmethod
    def of(cls, path: Path, warn: Callable[[str], None]) -> Ownership:
        """Return the file of a name, or one named by the user's number, with a warning, if that is another user's."""
        with contextlib.suppress(OSError):
            if path.stat().st_uid != os.geteuid():
                own = path.with_name(f"{path.stem}-{os.geteuid()}{path.suffix}")
                if not own.exists():
                    warn(f"memo: {path} belongs to another user and is not used; yours is {own.name}")
                path = own
        with contextlib.suppress(OSError):
            if not is_own(path.stat()):
                warn(f"memo: {path} can be changed by other users: it is not used, and files are hashed anew")
                return cls(path, is_trusted=False)
        return cls(path, is_trusted=True)


def file_sha256(path: Path, kind: FileKind) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits; each state of a file is read once per process."""
    return _sha256(path.absolute(), kind, tuple(fingerprint(path)))


@functools.lru_cache(maxsize=1024)
def _sha256(path: Path, kind: FileKind, _: tuple[int, ...]) -> str:
    with open_file(path, kind) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_own(status: os.stat_result) -> bool:
    """Return whether a file belongs to this user and no other may write to it."""
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def anybody_may_replace(path: Path) -> bool:
    """Return whether every user of the machine may write to the file that `path` leads to, or put another there."""
    places = {path.absolute(), path.resolve()}
    return bool(path.stat().st_mode & stat.S_IWOTH) or any(
        _anybody_may_rename(place) for file in places for place in (file, *file.parents)
    )


def _anybody_may_rename(path: Path) -> bool:
    folder = path.parent.stat()
    if not folder.st_mode & stat.S_IWOTH:
        return False
    # Where the sticky bit is set, as on /tmp, only the owner of a file may rename it.
    return not (folder.st_mode & stat.S_ISVTX and path.lstat().st_uid in (0, os.geteuid()))
