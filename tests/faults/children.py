"""Forked children that may be killed, crash or hang without harm to the one who watches."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Trial = TypeVar("Trial")
Say = Callable[[bytes], object]

FAILED = 70
"""Exit code of a child whose task raised."""

LIMIT = 60.0
"""Seconds after which a child counts as hung."""

_PAGES = Path("/proc/self/statm")


@dataclass(frozen=True)
class Ended:
    """How a child came to its end.

    Attributes
    ----------
    output : bytes
    error : str
        What its task raised.
    code : int
        Its exit code, or a signal's number, negative.
    """

    output: bytes
    error: str
    code: int

    @property
    def complaint(self) -> str:
        """What went wrong by itself; nothing where it ended well or was killed."""
        if self.code in (0, -signal.SIGKILL):
            return ""
        return "hung" if self.code == -signal.SIGALRM else self.error or f"ended with {self.code}"


@dataclass(frozen=True)
class Child:
    """A child at work.

    Attributes
    ----------
    process : int
    pipe : int
        Where it says what it does.
    """

    process: int
    pipe: int

    def hear(self) -> bytes:
        """Wait for one byte; none where the child has ended."""
        return os.read(self.pipe, 1)

    def kill(self) -> None:
        """Send SIGKILL; nothing happens where the child has ended already."""
        os.kill(self.process, signal.SIGKILL)

    def finish(self, heard: bytes = b"") -> Ended:
        """Wait for the end."""
        pieces = [heard]
        while piece := os.read(self.pipe, 1 << 16):
            pieces.append(piece)
        os.close(self.pipe)
        _, status = os.waitpid(self.process, 0)
        output, _, error = b"".join(pieces).partition(b"\0")
        return Ended(output, error.decode("utf-8", "replace"), os.waitstatus_to_exitcode(status))


def start(task: Callable[[Say], object], limit: float = LIMIT) -> Child:
    """Run a task in a forked child.

    Parameters
    ----------
    task : callable
        Takes a function that says bytes, without zeros, to the parent.
    limit : float
        Seconds until it counts as hung and dies of SIGALRM. A task may set the timer anew.
    """
    heard, output = os.pipe()
    with warnings.catch_warnings():
        # A test runner has threads; the child calls nothing that they may have locked.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process:
        os.close(output)
        return Child(process, heard)
    code = FAILED
    try:
        os.close(heard)
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, limit)
        write = os.write
        try:
            task(lambda data: write(output, data))
            code = 0
        except BaseException as error:
            write(output, b"\0" + repr(error).encode("utf-8", "replace"))
    finally:
        os._exit(code)


def sweep(
    trials: Sequence[Trial], task: Callable[[Trial], str], *, limit: float, memory: int | None = None
) -> list[str]:
    """Run a task on each trial in children, and return what it says of each, in order.

    Parameters
    ----------
    trials : sequence
    task : callable
        Returns one line.
    limit : float
        Seconds for one trial.
    memory : int, optional
        Bytes of address space that a child may take beyond its parent's.

    Returns
    -------
    list of str
        ``hung`` or ``crashed: ...`` stands for a trial that ended its child; the next one begins in a new child.
    """
    found: list[str] = []
    while len(found) < len(trials):
        rest = trials[len(found) :]

        def work(say: Say, rest: Sequence[Trial] = rest) -> None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what a broken C library says last
            if memory is not None and _PAGES.exists():
                most = int(_PAGES.read_text().split()[0]) * resource.getpagesize() + memory
                resource.setrlimit(resource.RLIMIT_AS, (most, most))
            for trial in rest:
                signal.setitimer(signal.ITIMER_REAL, limit)
                say(task(trial).encode("utf-8", "replace").replace(b"\0", b"?").replace(b"\n", b" ") + b"\n")

        ended = start(work, limit).finish()
        lines = ended.output.decode("utf-8", "replace").split("\n")[:-1]
        found += lines
        if len(lines) < len(rest):
            found.append("hung" if ended.code == -signal.SIGALRM else f"crashed: {ended.error or ended.code}")
    return found
