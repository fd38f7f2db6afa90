"""The sha256 of files by path, size, times and inode: lines that are only ever added, so that nothing done is lost.

Like all that is remembered, a digest saves time and decides nothing; whatever is odd counts as missing.
"""

from __future__ import annotations

import base64
import errno
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from probeline import disk
from probeline.errors import CannotWrite
from probeline.files.decode import LONGEST_TEXT, BadRecord, decode, encode
from probeline.files.fingerprint import Ownership, fingerprint, is_own, is_settled
from probeline.files.limits import Base64, Length
from probeline.files.reading import MEMO, open_file
from probeline.identity import seal, unseal

FORMAT = 1

_FACTS = struct.Struct("<QqqQ")
"""Of a file: size, mtime and ctime in nanoseconds, inode."""

_FILES_PER_LINE = LONGEST_TEXT // 64
"""Their digests are one text of a record, which has so many characters at most."""

_SECONDS = 5
"""Between two additions to the file while digests are computed."""

_SPARE = 1000
"""Files on lines that are out of date and do not matter."""

Facts = bytes


@dataclass(frozen=True)
class _Line:
    """Files of one folder, as a line has them."""

    format: int
    folder: str
    names: Annotated[tuple[str, ...], Length(1, 1 << 20)]
    facts: Base64
    digests: str

    def __post_init__(self) -> None:
        count = len(self.names)
        if self.format != FORMAT or len(self.digests) != 64 * count or len(self._facts) != _FACTS.size * count:
            raise ValueError("columns of other lengths, or another format")
        if bytes.fromhex(self.digests).hex() != self.digests:
            raise ValueError("digests: expected hexadecimal digits")

    @property
    def _facts(self) -> bytes:
        return base64.b64decode(self.facts, validate=True)

    def files(self) -> Iterator[tuple[str, tuple[Facts, str]]]:
        """Yield name, facts and digest of each file."""
        facts, step = self._facts, _FACTS.size
        for number, name in enumerate(self.names):
            sha256 = self.digests[64 * number : 64 * (number + 1)]
            yield name, (facts[step * number : step * (number + 1)], sha256)


@dataclass
class _Known:
    """Digests by folder and name."""

    folders: dict[str, dict[str, tuple[Facts, str]]] = field(default_factory=dict)
    count: int = 0
    """Files on all lines that were read; more than are known if some are there several times."""
    is_sound: bool = True
    """Whether every line could be read."""

    def add(self, folder: str, name: str, entry: tuple[Facts, str]) -> None:
        self.folders.setdefault(folder, {})[name] = entry
        self.count += 1

    @property
    def is_wasteful(self) -> bool:
        return not self.is_sound or self.count > 2 * sum(map(len, self.folders.values())) + _SPARE


class FileDigests:
    """Digests of files, kept in a file to which lines are added; without a path, nothing is kept.

    It is read if it belongs to this user and no other may write to it; another user's is left alone, and this user's
    has the user's number in its name, as that of :class:`probeline.files.memo.Memo`. Threads may call every method.
    """

    def __init__(
        self, path: Path | None, *, read_only: bool = False, warn: Callable[[str], None] = lambda _: None
    ) -> None:
        self._read_only, self._lock = read_only, threading.Lock()
        self._owned = None if path is None else Ownership.of(path, warn)
        self._known = _Known() if self._owned is None or not self._owned.is_trusted else _read(self._owned.path)
        self._new: dict[str, dict[str, tuple[Facts, str]]] = {}
        self._saved = time.monotonic()

    def get(self, path: str) -> str | None:
        """Return the sha256 of a file, by its absolute path; None if it is not known, or the file changed since."""
        folder, _, name = path.rpartition("/")
        entry = self._known.folders.get(folder, {}).get(name)
        if entry is None:
            return None
        try:
            return entry[1] if entry[0] == _facts_of(fingerprint(path)) else None
        except (OSError, ValueError, struct.error):
            return None

    def put(self, path: str, facts: list[int], sha256: str) -> None:
        """Remember the sha256 that a file, by its absolute path, had while its fingerprint was `facts`."""
        if self._owned is None or not is_settled(facts):
            return
        folder, _, name = path.rpartition("/")
        with suppress(struct.error), self._lock:
            entry = (_facts_of(facts), sha256)
            self._known.add(folder, name, entry)
            self._new.setdefault(folder, {})[name] = entry

    def drop(self) -> None:
        """Forget everything, on the disk too."""
        with self._lock:
            self._known, self._new = _Known(), {}
            if self._owned is not None and self._owned.path.exists():
                disk.remove(self._owned.path)

    def save_now_and_then(self) -> None:
        """Add what is new to the file if the last time was some seconds ago."""
        if time.monotonic() - self._saved > _SECONDS:
            self.save()

    def save(self) -> None:
        """Add what is new to the file, or rewrite it if much is out of date; nothing happens if that fails."""
        self._saved = time.monotonic()
        if self._owned is None or self._read_only:
            return
        with self._lock:
            new, self._new = self._new, {}
            if not new:
                return
            must_replace = not self._owned.is_trusted or self._known.is_wasteful
            lines = list(_lines(self._known.folders if must_replace else new))
        with suppress(CannotWrite):
            disk.make_folder(self._owned.path.parent)
            if must_replace:
                disk.publish(self._owned.path, lines, replace=True, mode=0o600)
                self._owned.is_trusted = True
                self._known.is_sound, self._known.count = True, 0
            else:
                # A line that a dying process cut short has no end: the next one begins on its own.
                disk.append(self._owned.path, b"\n" + b"".join(lines), mode=0o600)


def _facts_of(facts: list[int]) -> Facts:
    return _FACTS.pack(*facts)


def _lines(folders: dict[str, dict[str, tuple[Facts, str]]]) -> Iterator[bytes]:
    for folder, files in folders.items():
        items = list(files.items())
        for start in range(0, len(items), _FILES_PER_LINE):
            some = items[start : start + _FILES_PER_LINE]
            facts = base64.b64encode(b"".join(entry[0] for _, entry in some)).decode("ascii")
            names = tuple(name for name, _ in some)
            with suppress(ValueError):  # a name that is no text
                yield seal(encode(_Line(FORMAT, folder, names, facts, "".join(entry[1] for _, entry in some))))


def _read(path: Path) -> _Known:
    """Return what a file holds; lines that are not as they were written are passed over."""
    known = _Known()
    try:
        with open_file(path, MEMO) as file:
            if not is_own(os.fstat(file.fileno())):
                raise PermissionError(errno.EPERM, "another user's file", str(path))
            for data in file:
                if data != b"\n":
                    _add_line(known, data)
    except FileNotFoundError:
        pass
    except OSError:
        known.is_sound = False
    return known


def _add_line(known: _Known, data: bytes) -> None:
    try:
        line = decode(_Line, unseal(data))
    except (BadRecord, ValueError):
        known.is_sound = False
        return
    for name, entry in line.files():
        known.add(line.folder, name, entry)
