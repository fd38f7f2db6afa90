"""A memo of what was read from files: by path, size, mtime and inode, for source images and weights only.

It saves time and never decides what is in a cache: shards are hashed for real in every process.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from probeline import disk
from probeline.errors import CannotWrite
from probeline.files.reading import RECORD, read_bytes

_SETTLED_NS = 2_000_000_000
"""A file younger than this may change again within one tick of its file system's clock: not remembered."""


def fingerprint(path: Path) -> list[int]:
    """Return [size in bytes, mtime in ns, inode] of the file that `path` leads to."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _fingerprints(files: list[Path]) -> list[list[Any]]:
    return [[str(file.absolute()), *fingerprint(file)] for file in files]


class Memo:
    """Values remembered for files, kept as one JSON file that may be deleted at any time; without a path, nothing is.

    A memo that cannot be read is an empty one; one that cannot be written is not an error.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self._path, self._read_only = path, read_only
        self._changed = False
        self._entries: dict[str, Any] = {}
        if path is None:
            return
        with contextlib.suppress(OSError, ValueError, RecursionError):
            entries = json.loads(read_bytes(path, RECORD))
            if isinstance(entries, dict):
                self._entries = entries

    def get(self, name: str, files: list[Path]) -> Any | None:
        """Return what was put under `name`, or None if nothing was or a file changed since."""
        entry = self._entries.get(name)
        if not isinstance(entry, dict):
            return None
        try:
            return entry.get("value") if entry.get("files") == _fingerprints(files) else None
        except OSError:
            return None

    def put(self, name: str, files: list[Path], value: Any) -> None:
        """Remember a JSON value for `name` for as long as `files` stay as they are."""
        if self._path is None:
            return
        newest = time.time_ns() - _SETTLED_NS
        fingerprints = _fingerprints(files)
        if all(mtime_ns <= newest for _, _, mtime_ns, _ in fingerprints):
            self._entries[name] = {"files": fingerprints, "value": value}
            self._changed = True

    def drop(self) -> None:
        """Forget everything, on the disk too."""
        self._entries, self._changed = {}, False
        if self._path is not None and self._path.exists():
            disk.remove(self._path)

    def save(self) -> None:
        """Write the memo, atomically, if anything changed; nothing happens if that fails."""
        if self._path is None or self._read_only or not self._changed:
            return
        with contextlib.suppress(CannotWrite):
            disk.make_folder(self._path.parent)
            disk.publish(self._path, json.dumps(self._entries, separators=(",", ":")).encode(), replace=True)
            self._changed = False
