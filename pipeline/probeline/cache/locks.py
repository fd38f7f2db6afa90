"""Who is at work on which shard, so that processes on one cache share the work instead of doing it twice.

A claim is a lock of the operating system on a file beside the shard, so that it ends with the process that holds it,
however that dies. Nothing depends on it but time: where locks do not work, as on some network file systems, every
process does every shard, and writing a shard twice is harmless.
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
"""Of the files that hold claims; they are empty and may be deleted at any time."""

_POLL_SECONDS = 0.2


def is_free(path: Path) -> bool:
    """Say whether nobody holds the claim of a lock file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


class Claims:
    """The claims of this process on the shards of one entry. A context manager: leaving it gives up what is held.

    Parameters
    ----------
    entry : Entry
    shards : list of int
        Numbers of the shards that are to be made.
    """

    def __init__(self, entry: Entry, shards: list[int]) -> None:
        self._entry = entry
        self._open = list(shards)
        self._held: dict[int, int | None] = {}

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *error: object) -> None:
        for number in list(self._held):
            self.release(number)

    def take(self) -> Iterator[int]:
        """Yield shards as fast as they are asked for, each claimed and not done yet, until no other is free."""
        for number in list(self._open):
            if self.claim(number):
                yield number

    def claim(self, number: int) -> bool:
        """Claim one shard; False where it is done, held by another process, or none of those that are to be made."""
        if number not in self._open or not self._lock(number):
            return False
        self._open.remove(number)
        if is_done(self._entry, number):
            self.release(number)
            return False
        return True

    def release(self, number: int) -> None:
        """Give up the claim on a shard, done or not."""
        descriptor = self._held.pop(number)
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path(number))  # noqa: PTH108
            os.close(descriptor)

    def wait(self) -> list[int]:
        """Wait for the other processes: return shards that they finished, or none where one became free instead.

        Must not be called with a claim held, or two processes could wait for each other.
        """
        while self._open:
            done = [number for number in self._open if is_done(self._entry, number)]
            if done:
                self._open = [number for number in self._open if number not in done]
                return done
            number = self._open[0]
            if self._lock(number):
                self.release(number)
                return []
            time.sleep(_POLL_SECONDS)
        return []

    @property
    def left(self) -> bool:
        """Whether there are shards that others were at work on when last seen."""
        return bool(self._open)

    def _path(self, number: int) -> str:
        return str(self._entry.shard_path(number).with_suffix(SUFFIX))

    def _lock(self, number: int) -> bool:
        """Claim a shard; False where another process holds it."""
        path = self._path(number)
        while True:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError:  # no locks here: work as if alone
                self._held[number] = None
                return True
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its last holder may have unlinked the file between our open and our lock.
                current = os.stat(path).st_ino == os.fstat(descriptor).st_ino  # noqa: PTH116
            except FileNotFoundError:
                current = False
            except OSError as error:
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    os.close(descriptor)
                    return False
                current = True
            if current:
                self._held[number] = descriptor
                return True
            os.close(descriptor)
