"""A memo of what was read from files: by path, size, times and inode, for source images and weights only.

It saves time and never decides what is in a cache: shards are hashed for real in every process, weights are held
against the file before their features are used, and images by a random sample. Whatever is odd counts as missing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from probeline import disk
from probeline.errors import CannotWrite
from probeline.files.decode import BadRecord, decode, encode
from probeline.files.digests import FileDigests
from probeline.files.fingerprint import Ownership, fingerprint, is_own, is_settled
from probeline.files.reading import MEMO, open_file
from probeline.identity import seal, unseal

Value = TypeVar("Value")

_FORMAT = 2
"""Format 1 was neither sealed nor bound to the time of a file's last change: it is not read."""


_OF_FILES = "image:"
"""Begins the names that digests of single files had before these got a file of their own."""


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
        self._path, self._read_only = path, read_only
        self._changed = False
        self._entries: dict[str, Any] = {}
        if path is not None:
            owned = Ownership.of(path, warn)
            self._path, entries = owned.path, _load(owned.path) if owned.is_trusted else {}
            self._entries = {name: entry for name, entry in entries.items() if not name.startswith(_OF_FILES)}
            self._changed = len(self._entries) < len(entries)
        self.digests = FileDigests(path and path.with_name(f"{path.stem}-hashes.jsonl"), read_only=read_only, warn=warn)
        """The sha256 of single files."""

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
        fingerprints = _fingerprints(files)
        if all(is_settled(facts) for _, *facts in fingerprints):
            self._entries[name] = {"files": fingerprints, "value": encode(value) if is_dataclass(value) else value}
            self._changed = True

    def drop(self) -> None:
        """Forget everything, on the disk too."""
        self._entries, self._changed = {}, False
        self.digests.drop()
        if self._path is not None and self._path.exists():
            disk.remove(self._path)

    def save(self) -> None:
        """Write the memo, atomically, if anything changed; nothing happens if that fails."""
        self.digests.save()
        if self._path is None or self._read_only or not self._changed:
            return
        with contextlib.suppress(CannotWrite):
            disk.make_folder(self._path.parent)
            data = seal({"format": _FORMAT, "entries": self._entries})
            disk.publish(self._path, data, replace=True, mode=0o600)
            self._changed = False


def _load(path: Path) -> dict[str, Any]:
    try:
        with open_file(path, MEMO) as file:
            return _entries_of(file.read()) if is_own(os.fstat(file.fileno())) else {}
    except OSError:  # missing, most of the time
        return {}


def _entries_of(data: bytes) -> dict[str, Any]:
    record = unseal(data) or {}
    entries = record.get("entries")
    return entries if record.get("format") == _FORMAT and isinstance(entries, dict) else {}
