"""Memory that threads share: what is about to take a lot of it waits until others have given back enough."""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from probeline.files.reading import IMAGE, memory_bytes, open_file

SHARE = 4
"""One part in so many of the machine's memory is what decoding takes in all threads together, by default."""


class Budget:
    """Bytes that the threads of a process may hold together, each by a :class:`Lease`.

    Claims are met in the order in which they came, as soon as they fit. When nobody is at work, the thread that holds
    most goes on whatever it claims, so that none waits for ever and at most one has more than the budget has left: what
    is held is at most the budget and one claim. A thread that waits is not at work, be it that it holds some bytes.
    """

    def __init__(self) -> None:
        self._most: int | None = None
        self._lent = 0
        self._is_strict = False
        self._start()

    def _start(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[Lease] = deque()
        self._held = 0
        self._at_work = 0
        """Leases that hold bytes and do not wait."""

    @functools.cached_property
    def machine(self) -> int:
        """The memory of the machine in bytes."""
        return memory_bytes()

    @property
    def most(self) -> int:
        """How many bytes may be held."""
        return (self.machine // SHARE if self._most is None else self._most) - self._lent

    @property
    def held(self) -> int:
        """How many bytes are held."""
        return self._held

    def limit(self, gigabytes: float | None) -> None:
        """Set how many bytes may be held, from now on and by all threads of the process; None for the default."""
        self._most = None if gigabytes is None else int(gigabytes * 1e9)

    def restrict(self, count: int) -> None:
        """Set how many bytes may be held, and refuse a claim of more, which else is met when nobody is at work."""
        self._most, self._is_strict = count, True

    @contextmanager
    def lend(self, count: int) -> Iterator[None]:
        """Leave `count` bytes to other processes during a ``with`` block."""
        with self._changed:
            self._lent += count
        try:
            yield
        finally:
            with self._changed:
                self._lent -= count
                self._changed.notify_all()

    def forget(self) -> None:
        """Start anew, in a child process that has none of the threads that hold bytes."""
        self._start()

    def claim(self, lease: Lease, count: int) -> None:
        """Let a lease hold `count` bytes in all; wait until they fit. See :meth:`Lease.claim`."""
        if self._is_strict and count > self.most:
            raise MemoryError(f"it takes {count:,} bytes of memory, and {self.most:,} may be held")
        with self._changed:
            more = count - lease.held
            if more > 0 and (self._waiting or not self._fits(more, lease)):
                self._wait(lease, more)
            self._at_work += (count > 0) - (lease.held > 0)
            self._held += more
            lease.held = count
            if self._waiting:
                self._changed.notify_all()

    def _fits(self, more: int, lease: Lease) -> bool:
        others = self._at_work - (lease.held > 0)
        return self._held + more <= self.most or not others

    def _may_go_on(self, more: int, lease: Lease) -> bool:
        if self._waiting[0] is lease and self._held + more <= self.most:
            return True
        return not self._at_work and lease is max(self._waiting, key=lambda waiting: waiting.held)

    def _wait(self, lease: Lease, more: int) -> None:
        is_holding = lease.held > 0
        self._waiting.append(lease)
        self._at_work -= is_holding
        self._changed.notify_all()  # if all wait now, one may go on
        try:
            while not self._may_go_on(more, lease):
                self._changed.wait()
        finally:
            self._waiting.remove(lease)
            self._at_work += is_holding
            self._changed.notify_all()


class Lease:
    """Bytes of a budget that one thread holds, given back at the end of a ``with`` block.

    `copies` returns how many bytes are needed to work on an image of some width and height once it is decoded.
    """

    def __init__(self, budget: Budget, copies: Callable[[int, int], int] = lambda *_: 0) -> None:
        self._budget = budget
        self.copies = copies
        self.held = 0

    def claim(self, count: int) -> None:
        """Hold `count` bytes in all, in place of those held so far; wait until they fit.

        Raises
        ------
        MemoryError
            The machine has less memory.
        """
        check_fits(count)
        self._budget.claim(self, count)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.held:
            self._budget.claim(self, 0)


DECODING = Budget()
"""What decoded images take, in all threads of this process together."""


def check_fits(count: int) -> None:
    """Raise MemoryError if something takes more bytes than the machine has, before they are allocated."""
    if count > DECODING.machine:
        raise MemoryError(f"it takes {count:,} bytes of memory, and this machine has {DECODING.machine:,}")


def read_leased(path: Path, lease: Lease) -> bytes:
    """Return the bytes of an image file, which the lease holds from before they are read on."""
    with open_file(path, IMAGE) as file:
        size = os.fstat(file.fileno()).st_size
        lease.claim(size)
        return file.read(size)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=DECODING.forget)
