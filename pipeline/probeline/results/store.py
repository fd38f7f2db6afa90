"""Records in files of their own: each sealed JSON, written whole or not at all, read back only if proven."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from probeline.disk import make_folder, publish
from probeline.errors import UnknownName
from probeline.identity import seal, unseal


class _Sealable(Protocol):
    def to_json(self) -> dict[str, Any]: ...


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


Record = TypeVar("Record", bound=_Sealable)
WithKey = TypeVar("WithKey", bound=_Keyed)


@dataclass(frozen=True)
class Ignored:
    """A file that is not used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Kind(Generic[Record]):
    """One kind of record.

    Attributes
    ----------
    name : str
        As its files and what is said of them call it.
    version : int
        Of its fields.
    from_json : callable
        Makes a record of what its ``to_json`` gave; raises KeyError, TypeError or the like for other fields.
    place : callable
        Returns where a record stands below a folder; raises `UnknownName` for one that nobody knows.
    """

    name: str
    version: int
    from_json: Callable[[Mapping[str, Any]], Record]
    place: Callable[[Path, Record], Path]

    def save(self, folder: Path, record: Record) -> Path:
        """Write a record below `folder`, in place of an earlier file of the same name, and return its path.

        Raises
        ------
        CannotWrite
            Where the file system refuses.
        ValueError
            For a number that JSON cannot hold (NaN or infinity): a record is made of finite numbers and None.
        """
        path = self.place(folder, record)
        data = seal({"version": self.version, self.name: record.to_json()})
        make_folder(path.parent)
        publish(path, data, replace=True)
        return path

    def load(self, folder: Path, paths: Iterable[Path]) -> tuple[list[Record], list[Ignored]]:
        """Return the records of these files below `folder`, in their order, and those files that hold none."""
        records: list[Record] = []
        ignored: list[Ignored] = []
        for path in paths:
            found = self.read(folder, path)
            if isinstance(found, Ignored):
                ignored.append(found)
            else:
                records.append(found)
        return records, ignored

    def find(self, folder: Path, path: Path) -> Record | Ignored | None:
        """Return the record in a file, or why the file is not used, or None where there is none."""
        return self.read(folder, path) if path.exists() else None

    def read(self, folder: Path, path: Path) -> Record | Ignored:
        """Return the record in a file, or why it is not used: damaged, of another version, or elsewhere at home."""
        try:
            content = unseal(path.read_bytes())
        except OSError as error:
            return Ignored(path, f"cannot be read: {error.strerror}")
        if content is None:
            return Ignored(path, "is damaged: its bytes are not those its sha256 was taken of")
        if content.get("version") != self.version:
            found = f"has {self.name} version {content.get('version')}"
            return Ignored(path, f"{found}; this program reads {self.version}: run its stage again")
        try:
            record = self.from_json(content[self.name])
            place = self.place(folder, record)
        except UnknownName as error:
            return Ignored(path, str(error))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return Ignored(path, f"has other fields than a {self.name}: {error}")
        if path != place:
            return Ignored(path, f"holds the {self.name} that belongs at {place.relative_to(folder)}")
        return record


def of_key(found: WithKey | Ignored | None, path: Path, key: str) -> WithKey | Ignored | None:
    """Return what was found at `path`, unless it is a record of another key than this."""
    if found is None or isinstance(found, Ignored) or found.key == key:
        return found
    return Ignored(path, f"its key is {found.key}, not {key}")


def newest_last(folder: Path, pattern: str = "*.json") -> list[Path]:
    """Return the files of a folder whose names are of a pattern, that which was written last at the end."""
    return sorted(folder.glob(pattern), key=lambda path: (path.stat().st_mtime_ns, path))
