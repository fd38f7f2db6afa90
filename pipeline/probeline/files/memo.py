"""A memo of what was read from files: by path, size, times and inode, for source images and weights only.

It saves time and never decides what is in a cache: shards are hashed for real in every process, weights are held
against the file before their features are used, and images by a random sample. Whatever is odd counts as missing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from probeline import disk
from probeline.errors import CannotWrite
from probeline.files.decode import BadRecord, decode, encode
from probeline.files.fingerprint import fingerprint, is_own
from probeline.files.reading import MEMO, open_file
from probeline.identity import seal, unseal

Value = TypeVar("Value")

_FORMAT = 2
"""Format 1 was neither sealed nor bound to the time of a file's last change: it is not read."""

_SETTLED_NS = 2_000_000_000
"""A file younger than this may change again within one tick of its file system's clock: not remembered."""


def _fingerprints(files: Sequence[Path]) -> list[list[Any]]:
    return [[str(file.absolute()), *fingerprint(file)] for file in files]


class Memo:
    """Values remembered for files, kept as one sealed file that may be deleted at any time; without a path, nothing is.

    Only a file that belongs to this user, and that no other user may write to, is read: a seal proves that nothing
    broke, not who wrote it. If another user's file has the name, as in a cache that several share, this user's is
    beside it with the user's number in its name. Its folder may be writable by others: they could only remove the file.

    A memo that cannot be read is an empty one; one that cannot be written is not an error.
    """

    def __init__(
        self, path: Path | None, *, read_only: bool = False, warn: Callable[[str], None] = lambda _: None
    ) -> None:
        self._path, self._read_only, self._warn = path, read_only, warn
        self._changed = False
        self._entries: dict[str, Any] = {} if path is None else self._load(path)

    def get(self, name: str, files: Sequence[Path], hint: type[Value]) -> Value | None:
        """Return the value of a type that was put under `name`, or None if nothing was or a file changed since."""
        entry = self._entries.get(name)
        try:
            if isinstance(entry, dict) and entry.get("files") == _fingerprints(files):
                return decode(hint, entry.get("value"))
        except (OSError, ValueError, BadRecord):  # ValueError for paths that no file can have
            pass
        return None

    def put(self, name: str, files: Sequence[Path], value: Any) -> None:
        """Remember a record or a JSON value for `name` for as long as `files` stay as they are."""
        if self._path is None:
            return
        newest = time.time_ns() - _SETTLED_NS
        fingerprints = _fingerprints(files)
        if all(mtime_ns <= newest for _, _, mtime_ns, *_ in fingerprints):
            self._entries[name] = {"files": fingerprints, "value": encode(value) if is_dataclass(value) else value}
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
            data = seal({"format": _FORMAT, "entries": self._entries})
            disk.publish(self._path, data, replace=True, mode=0o600)
            self._changed = False

    def _load(self, path: Path) -> dict[str, Any]:
        """Return what is remembered; the file that has it, or will, becomes the memo's own."""
        with contextlib.suppress(OSError):
            if path.stat().st_uid != os.geteuid():
                self._path = path.with_name(f"{path.stem}-{os.geteuid()}{path.suffix}")
                if not self._path.exists():
                    self._warn(f"memo: {path} belongs to another user and is not used; yours is {self._path.name}")
        try:
            with open_file(self._path or path, MEMO) as file:
                if is_own(os.fstat(file.fileno())):
                    return _entries_of(file.read())
            self._warn(f"memo: {self._path} can be changed by other users: it is not used, and files are hashed anew")
        except OSError:  # missing, most of the time
            pass
        return {}


def _entries_of(data: bytes) -> dict[str, Any]:
    record = unseal(data) or {}
    entries = record.get("entries")
    return entries if record.get("format") == _FORMAT and isinstance(entries, dict) else {}
