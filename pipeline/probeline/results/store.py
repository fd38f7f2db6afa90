"""The one store of records: each a sealed JSON file, written whole or not at all, read back only if proven."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, cast

from probeline import disk
from probeline.errors import UnknownName
from probeline.files.decode import BadRecord, decode, encode
from probeline.files.reading import RECORD, read_bytes
from probeline.identity import digest_bytes, seal, unseal

Record = TypeVar("Record")
Names = ParamSpec("Names")


_MOST_VERSION = 9999
"""A number that a message shows."""


@dataclass(frozen=True)
class SkippedFile:
    """A file that is not used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class RecordKind(Generic[Record, Names]):
    """One kind of record and its files; their folder is always that of a report."""

    name: str
    """The record's member in its file, and what messages call it."""
    version: int
    record_class: type[Record]
    """A frozen dataclass, see :func:`probeline.files.decode.decode`."""
    file_name: Callable[Names, str]
    """Returns the path of a record's file below the folder, or raises `UnknownName` for values that this program does
    not know. Its parameters are the attributes that tell one record of the kind from another."""
    patterns: tuple[str, ...]
    """What ``glob`` finds all files of the kind by, below the folder."""
    newest_last: bool = False
    """Whether `load` returns them by the time they were written instead of by name."""
    attachment: str | None = None
    """Suffix of a file next to each record, in place of ``.json``; the record has its `sha256`."""

    def path(self, folder: Path, *names: Names.args, **more: Names.kwargs) -> Path:
        """Return the path of the record of these names."""
        return folder / self.file_name(*names, **more)

    def path_of(self, folder: Path, record: Record) -> Path:
        """Return the path of a record."""
        names = {name: getattr(record, name) for name in inspect.signature(self.file_name).parameters}
        return folder / cast(Callable[..., str], self.file_name)(**names)

    def save(self, folder: Path, record: Record, attachment: bytes | None = None) -> Path:
        """Write a record, replacing an earlier file of the same name, and return its path.

        Raises
        ------
        CannotWrite
            The file system refuses.
        BadOption
            A link has the name of one of the files, or leads there.
        ValueError
            A number is NaN or infinite, which JSON cannot hold.
        """
        path = self.path_of(folder, record)
        data = seal({"version": self.version, self.name: encode(record)})
        self._refuse_links(folder, path)
        disk.make_folder(path.parent)
        if self.attachment and attachment is not None:
            disk.publish(path.with_suffix(self.attachment), attachment, replace=True)
        disk.publish(path, data, replace=True)  # last, since it vouches for the attachment
        return path

    def find(self, folder: Path, *names: Names.args, **more: Names.kwargs) -> Record | SkippedFile | None:
        """Return the record of these names, None if its file is missing, or why the file is not used."""
        path = self.path(folder, *names, **more)
        record = self._read(folder, path) if path.exists() else None
        if record is None or isinstance(record, SkippedFile):
            return record
        for name, value in inspect.signature(self.file_name).bind(*names, **more).arguments.items():
            if (own := getattr(record, name)) != value:
                return SkippedFile(path, f"its {name} is {own}, not {value}")
        return record

    def load(self, folder: Path) -> tuple[list[Record], list[SkippedFile]]:
        """Return all records, and the files that are not used."""
        paths = [path for pattern in self.patterns for path in sorted(folder.glob(pattern))]
        if self.newest_last:
            paths.sort(key=_written)
        contents = [self._read(folder, path) for path in paths]
        skipped = [content for content in contents if isinstance(content, SkippedFile)]
        return [content for content in contents if not isinstance(content, SkippedFile)], skipped

    def remove(self, folder: Path, *names: Names.args, **more: Names.kwargs) -> None:
        """Remove the record of these names and its attachment, if it is intact: what else has its name is kept."""
        path = self.path(folder, *names, **more)
        self._refuse_links(folder, path)
        if path.exists() and not isinstance(self._read(folder, path), SkippedFile):
            for file in (path, path.with_suffix(self.attachment)) if self.attachment else (path,):
                disk.remove(file)

    def _refuse_links(self, folder: Path, path: Path) -> None:
        for file in (path, path.with_suffix(self.attachment)) if self.attachment else (path,):
            disk.check_no_links(file, folder.parent)

    def _read(self, folder: Path, path: Path) -> Record | SkippedFile:
        try:
            content = unseal(read_bytes(path, RECORD))
        except OSError as error:
            return SkippedFile(path, f"cannot be read: {error.strerror}")
        if content is None:
            return SkippedFile(path, "is damaged: its bytes are not those its sha256 was taken of")
        version = content.get("version")
        if type(version) is not int or version != self.version:
            is_known = type(version) is int and 0 <= version <= _MOST_VERSION
            other = f"{self.name} version {version}" if is_known else f"no {self.name} version"
            return SkippedFile(path, f"has {other}; this program reads {self.version}: run its stage again")
        try:
            record = decode(self.record_class, content.get(self.name))
            own = self.path_of(folder, record)
        except UnknownName as error:
            return SkippedFile(path, str(error))
        except BadRecord as error:
            return SkippedFile(path, f"has other fields than a {self.name}: {error}")
        if path != own:
            return SkippedFile(path, f"holds the {self.name} that belongs at {own.relative_to(folder)}")
        return self._check_attachment(record, path) or record

    def _check_attachment(self, record: Record, record_path: Path) -> SkippedFile | None:
        if self.attachment is None:
            return None
        path = record_path.with_suffix(self.attachment)
        try:
            if digest_bytes(read_bytes(path, RECORD)) == cast(Any, record).sha256:
                return None
        except OSError as error:
            return SkippedFile(path, f"cannot be read: {error.strerror}")
        return SkippedFile(path, "is damaged: its bytes are not those its record tells")


def _written(path: Path) -> int:
    """Return when a file was written, in ns; 0 for a link that leads nowhere, which reading names."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
