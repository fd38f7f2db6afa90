"""Unpacking archives without trusting them: one folder of plain files, all of it or none."""

from __future__ import annotations

import gzip
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO

from probeline import disk
from probeline.errors import BadData, CannotWrite

_File = tuple[str, int, IO[bytes]]
"""Name in the archive, declared size in bytes, content."""


def extract_tar(archive: Path, folder: Path, *, entries: int, size: int) -> None:
    """Unpack a .tar.gz that contains one folder, under the rules of :func:`extract_zip`."""

    def files() -> Generator[_File, None, None]:
        most = size + 4096 * entries + tarfile.RECORDSIZE
        with _Bounded(archive, most) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
            for number, member in enumerate(tar, start=1):
                _check_entry(member.name, number, entries, plain=member.isreg() or member.isdir())
                content = tar.extractfile(member)
                if content is not None:
                    yield member.name, member.size, content
            while plain.read(1 << 20):  # the rest is padding, and then the checksum of all
                pass

    _extract(archive, folder, files, size)


def extract_zip(archive: Path, folder: Path, *, entries: int, size: int) -> None:
    """Unpack a .zip that contains one folder, as `folder`, which has the same name.

    Only plain files and folders are accepted, without their owners, permissions and times. They are written to a
    temporary folder, which is renamed once it is complete; a `folder` that exists by then stays as it is.

    Raises
    ------
    BadData
        A damaged archive, a path outside the folder, a link, a device, more than `entries` files and folders, or more
        than `size` bytes, unpacked.
    CannotWrite
    """

    def files() -> Generator[_File, None, None]:
        with zipfile.ZipFile(archive) as pack:
            for number, member in enumerate(pack.infolist(), start=1):
                kind = stat.S_IFMT(member.external_attr >> 16)
                _check_entry(member.filename, number, entries, plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise _Refused(f"{member.filename!r} is compressed in an unusual way")
                if not member.filename.endswith("/"):
                    with pack.open(member) as content:
                        yield member.filename, member.file_size, content

    _extract(archive, folder, files, size)


class _Refused(Exception):
    """The archive contains something that is not accepted."""


class _Bounded(gzip.GzipFile):
    """A gzip stream that raises an error if it unpacks to more than `most` bytes."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path, "rb")
        self._most = most

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > self._most:
            raise _Refused("more bytes than expected")
        return super().read(size)


_BROKEN = (
    _Refused,
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
)
"""What tarfile and zipfile raise for damaged archives."""


def _check_entry(name: str, number: int, entries: int, *, plain: bool) -> None:
    if number > entries:
        raise _Refused(f"more than {entries} entries")
    if not plain:
        raise _Refused(f"{name!r} is a link or a device")


def _extract(archive: Path, folder: Path, files: Callable[[], Generator[_File, None, None]], size: int) -> None:
    disk.make_folder(folder.parent)
    try:
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}.", suffix=disk.TEMPORARY))
        try:
            bytes_left = size
            with closing(files()) as members:
                for name, length, content in members:
                    bytes_left -= length
                    if bytes_left < 0:
                        raise _Refused(f"more than {size} bytes")
                    _write(scratch / _check_path(name, folder.name), length, content)
            if not (scratch / folder.name).is_dir():
                raise _Refused(f"no folder {folder.name!r}")
            if not folder.exists():
                (scratch / folder.name).rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except _BROKEN as error:
        raise BadData(
            "archive cannot be unpacked", where=archive, got=error, remedy="remove it and run the command again"
        ) from error
    except OSError as error:
        raise CannotWrite("archive cannot be unpacked", where=folder, got=error.strerror or error) from error


def _check_path(name: str, top: str) -> PurePosixPath:
    """Return the path of a file in an archive, which starts with the archive's one folder."""
    path = PurePosixPath(name)
    if "\\" in name or ".." in path.parts or path.parts[:1] != (top,) or len(path.parts) < 2:
        raise _Refused(f"{name!r} leads out of {top!r}")
    return path


def _write(path: Path, length: int, content: IO[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise _Refused(f"{path.name!r} comes twice")
    with path.open("xb") as file:
        while chunk := content.read(1 << 20):
            length -= len(chunk)
            if length < 0:
                break
            file.write(chunk)
    if length:
        raise _Refused(f"{path.name!r} is not as long as declared")
