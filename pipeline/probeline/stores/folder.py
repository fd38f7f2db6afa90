"""A store in a folder, such as one of a network file system."""

from __future__ import annotations

from pathlib import Path

from probeline import disk
from probeline.errors import StoreFailed
from probeline.files.reading import FileKind, is_file, read_bytes


class FolderStore:
    """The files below a folder, which is made when the first is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str, kind: FileKind) -> bytes | None:
        """Return the bytes of a file; None if it does not exist."""
        path = self._folder / name
        try:
            return read_bytes(path, kind)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(path, error) from error

    def publish(self, name: str, data: bytes) -> bool:
        """Write a file whole, or not at all; False if one of this name exists, which is left as it is."""
        path = self._folder / name
        disk.make_folder(path.parent)
        return disk.publish(path, data)

    def exists(self, name: str) -> bool:
        """Return whether a file exists at this moment."""
        return is_file(self._folder / name)

    def names_in(self, folder: str) -> set[str]:
        """Return the names of the files in a folder, without it."""
        path = self._folder / folder
        try:
            return {item.name for item in path.iterdir()}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise _unreadable(path, error) from error

    def address(self, name: str) -> str:
        """Return where a file is, for messages."""
        return str(self._folder / name)


def _unreadable(path: Path, error: OSError) -> StoreFailed:
    return StoreFailed(
        "the store cannot be read",
        where=path,
        got=error.strerror,
        remedy="fix its permissions or the disk, then run again: what is finished is kept",
    )
