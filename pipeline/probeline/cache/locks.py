"""Locks on shards, so that processes on one cache share the work instead of doing it twice.

A lock is the operating system's, on a file next to the shard: it ends with its process, however that dies. If locks do
not work, as on some network file systems, every process writes every shard, which is slower and harmless.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from probeline.cache.entry import Entry
from probeline.cache.reading import is_done

SUFFIX = ".lock"
"""Of lock files; they are empty and may be deleted at any time."""

POLL_SECONDS = 0.2
LONGEST_POLL_SECONDS = 5.0
"""A wait doubles up to it, so that many processes do not keep a shared disk busy by asking."""

_DAY = 86_400
_BUSY = (errno.EWOULDBLOCK, errno.EACCES)
"""What ``flock`` raises where another process has the lock."""


def seconds_since(status: os.stat_result) -> float:
    """Return how long ago a file was written, whatever date it was given later.

    A date up to a day in the future counts as now, since clocks differ; one further ahead is no date, and counts as so
    far in the past.
    """
    seconds = time.time() - min(status.st_mtime, status.st_ctime)
    return -seconds if seconds < -_DAY else max(seconds, 0.0)


def is_unlocked(path: Path) -> bool:
    """Return whether no process has locked this file; if that cannot be found out, whether it is older than a day."""
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        return True
    except OSError:
        return _is_old(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _BUSY and _is_old(path)
    finally:
        os.close(descriptor)
    return True


def _is_old(path: Path) -> bool:
    try:
        return seconds_since(path.lstat()) > _DAY
    except OSError:
        return False


def _open(path: Path) -> int:
    """Return a descriptor of an existing lock file, for reading alone if another user made it.

    That suffices for a lock, except on network file systems.
    """
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    try:
        return os.open(path, os.O_RDWR | flags)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return os.open(path, os.O_RDONLY | flags)


def _open_or_make(path: Path) -> int:
    """Return a descriptor of a lock file, made if it is missing."""
    while True:
        # In two steps: a system may refuse to open another user's file with O_CREAT where everybody may write.
        with contextlib.suppress(FileNotFoundError):
            return _open(path)
        with contextlib.suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)  # less the user's umask


class ShardLocks:
    """The locks of this process on the shards of an entry that are to be written; leaving the context releases them."""

    def __init__(self, entry: Entry, shards: list[int]) -> None:
        self._entry = entry
        self._pending = dict.fromkeys(shards)
        self._locked: dict[int, int | None] = {}

    def __enter__(self) -> ShardLocks:
        return self

    def __exit__(self, *error: object) -> None:
        for number in list(self._locked):
            self.release(number)

    def lock_all(self) -> Iterator[int]:
        """Yield the shards that are free and not written yet, each locked just before it is yielded."""
        for number in list(self._pending):
            if self.lock(number):
                yield number

    def lock(self, number: int) -> bool:
        """Lock one shard; False if it is written, locked by another process, or not to be written at all."""
        if number not in self._pending or not self._try_lock(number):
            return False
        del self._pending[number]
        if is_done(self._entry, number):
            self.release(number)
            return False
        return True

    def release(self, number: int) -> None:
        """Release the lock of one shard, written or not."""
        descriptor = self._locked.pop(number)
        if descriptor is not None:
            with contextlib.suppress(OSError):
                self._path(number).unlink()
            os.close(descriptor)

    def wait(self, poll_seconds: float = POLL_SECONDS) -> list[int]:
        """Wait for the other processes: return shards that they finished, or none if a shard became free instead.

        Must not be called while a shard is locked here, or two processes could wait for each other.
        """
        while self._pending:
            done = [number for number in self._pending if is_done(self._entry, number)]
            if done:
                for number in done:
                    del self._pending[number]
                return done
            number = next(iter(self._pending))
            if self._try_lock(number):
                self.release(number)
                return []
            time.sleep(poll_seconds)
            poll_seconds = min(2 * poll_seconds, LONGEST_POLL_SECONDS)
        return []

    @property
    def are_pending(self) -> bool:
        """Whether other processes had shards locked at the last try."""
        return bool(self._pending)

    def _path(self, number: int) -> Path:
        return self._entry.shard_path(number).with_suffix(SUFFIX)

    def _try_lock(self, number: int) -> bool:
        """Return whether the lock was free, and take it."""
        path = self._path(number)
        while True:
            try:
                descriptor = _open_or_make(path)
            except OSError:  # no locks here: work as if alone
                self._locked[number] = None
                return True
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its last holder may have unlinked the file between our open and our lock.
                current = path.lstat().st_ino == os.fstat(descriptor).st_ino
            except FileNotFoundError:
                current = False
            except OSError as error:
                if error.errno in _BUSY:
                    os.close(descriptor)
                    return False
                current = True
            if current:
                self._locked[number] = descriptor
                return True
            os.close(descriptor)
