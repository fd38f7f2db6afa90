"""The one way to read a file: plain files only, none larger than its kind may be, nothing that is waited for.

A pipe, a device or a socket is refused before it is opened, and again after, since another process may have swapped it
for a file. The size is checked before anything is allocated. `OSError` is raised for whatever cannot be read, with the
reason as its ``strerror``.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

_GIB = 1 << 30


@dataclass(frozen=True)
class FileKind:
    """What messages call the files of a kind, and how many bytes such a file has at most."""

    name: str
    most_bytes: int


IMAGE = FileKind("an image", _GIB)
"""The largest image that is decoded, 178,956,970 pixels, has 512 MiB at 8 bits and 1 GiB at 16 bits of RGB."""

RECORD = FileKind("a record", _GIB)
"""Scores and other results; the predictions of 10 million images are some 100 MB of JSON."""

ENTRY = FileKind("the record of a cache entry", 16 * _GIB)
"""In format 1 it has the sample ids and digests: some 160 bytes for each image, so 100 million of them."""

SAMPLES = FileKind("the samples of a cache entry", 1024 * _GIB)
"""Read block by block: some 65 bytes for each image."""

SHARD = FileKind("a shard", 16 * _GIB)
"""1,024 rows of 4 million values; a shard's record says how many bytes it has."""

MANIFEST = FileKind("a manifest", 256 * _GIB)
"""Some 150 bytes for each image."""

MEMO = FileKind("a memo of hashes", 4 * _GIB)
"""Some 250 bytes for each image, so more than 10 million of them."""

WEIGHTS = FileKind("a weights file", 256 * _GIB)
TABLE = FileKind("a table", 16 * _GIB)
ARRAYS = FileKind("a file of arrays", 1024 * _GIB)
"""Embeddings or pixels; what is read of it at once is checked against the memory of the machine."""

ARCHIVE = FileKind("an archive", 16 * 1024 * _GIB)
"""Read as a stream, never whole."""

SETTINGS = FileKind("a file of settings", 16 << 20)
"""Recipes and the configurations of nets."""

TEXT = FileKind("a text file", 64 << 20)
"""Templates, sources of packages, and what the system says about itself."""


_STEP = 1 << 16
"""Bytes that are read at once beyond the size that a file is said to have."""

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""A pipe is opened without waiting for its writer."""


def check(path: Path, kind: FileKind) -> int:
    """Return the size in bytes of a plain file, through links, before a library opens it by its name."""
    try:
        return _checked(path.stat(), path, kind)
    except ValueError as error:
        raise OSError(errno.EINVAL, "a name that no file can have", str(path)) from error


def check_folder(folder: Path, kind: FileKind) -> None:
    """Refuse a folder, before a library opens the files in it, if one of them is neither a plain file nor a folder."""
    for path in folder.iterdir():
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            _checked(status, path, kind)


def open_file(path: Path, kind: FileKind) -> BufferedReader:
    """Return a plain file, opened for reading in binary and not inherited by child processes."""
    check(path, kind)
    descriptor = os.open(path, _FLAGS)
    try:
        _checked(os.fstat(descriptor), path, kind)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, kind: FileKind) -> bytes:
    """Return the bytes of a plain file."""
    pieces: list[bytes] = []
    with open_file(path, kind) as file:
        size = os.fstat(file.fileno()).st_size
        # To the end, since it may have grown, and the system knows no size of files as those below /proc.
        while piece := file.read(max(size - sum(map(len, pieces)), _STEP)):
            pieces.append(piece)
            if sum(map(len, pieces)) > kind.most_bytes:
                raise _too_large(path, kind, f"more than {kind.most_bytes:,}")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read_beginning(path: Path, kind: FileKind, count: int) -> bytes:
    """Return at most `count` bytes from the beginning of a plain file."""
    with open_file(path, kind) as file:
        return file.read(count)


def read_head(path: str, count: int) -> bytes:
    """Return at most `count` bytes from the beginning of a plain file of any size; for listings of many files."""
    descriptor = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", path)
        return os.read(descriptor, count)
    finally:
        os.close(descriptor)


def read_text(path: Path, kind: FileKind) -> str:
    """Return the text of a plain file in UTF-8, without a byte order mark.

    Raises
    ------
    OSError, UnicodeDecodeError
    """
    return read_bytes(path, kind).decode("utf-8-sig")


def is_folder(path: Path) -> bool:
    """Return whether a path is one of a folder; False as well for a name that no file can have."""
    return _has_mode(path, stat.S_ISDIR)


def is_file(path: Path) -> bool:
    """Return whether a path is one of a plain file; False as well for a name that no file can have."""
    return _has_mode(path, stat.S_ISREG)


def why_unreachable(path: Path) -> str | None:
    """Return why a path cannot be looked up, such as a name that is too long; None if it can, or nothing is there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error.strerror
    except ValueError:
        return "a name that no file can have"
    return None


def _has_mode(path: Path, is_kind: Callable[[int], bool]) -> bool:
    try:
        return is_kind(path.stat().st_mode)
    except (OSError, ValueError):  # missing, not for us to see, too long, or with a NUL
        return False


def memory_bytes() -> int:
    """Return how much memory the machine has, or the container that this process runs in."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = int(read_text(Path(path), TEXT))
        except (OSError, ValueError):  # no such file, or "max"
            continue
        return min(physical, limit)
    return physical


def _checked(status: os.stat_result, path: Path, kind: FileKind) -> int:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"{_kind_of(status.st_mode)}, not a plain file", str(path))
    if status.st_size > kind.most_bytes:
        raise _too_large(path, kind, f"{status.st_size:,}")
    return status.st_size


def _too_large(path: Path, kind: FileKind, size: str) -> OSError:
    return OSError(errno.EFBIG, f"{size} bytes, where {kind.name} has at most {kind.most_bytes:,}", str(path))


_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _kind_of(mode: int) -> str:
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
