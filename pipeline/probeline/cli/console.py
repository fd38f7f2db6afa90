"""The terminal: lines, progress bars and questions."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TextIO, cast

from probeline.console import Bar

_CHUNK = 65536
"""Bytes that are read at a time, at most, of what is piped in: as many as a pipe holds."""


def print_line(line: str, stream: TextIO | None) -> None:
    if stream is None:  # closed by whoever started us
        return
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        # Nobody reads any longer, as after `| head`: no reason to lose the work.
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def _at_hand(stream: io.BufferedIOBase) -> bool:
    """Say whether a stream has more to read, or its end, without waiting for it."""
    try:
        return bool(select.select([stream], [], [], 0)[0])
    except (OSError, ValueError):  # no file of the system's, so that nobody writes to it meanwhile
        return True


class Terminal:
    """A console on standard output and standard error.

    Parameters
    ----------
    json : bool
        Lines go to standard error, so that standard output holds one JSON object alone.
    quiet : bool
        Results and warnings are shown, and nothing else.
    verbose : bool
        Details are shown too.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self._stream = sys.stderr if json else sys.stdout
        self._quiet, self._verbose = quiet, verbose
        self._clear_bar: Callable[[TextIO | None], AbstractContextManager[object]] = contextlib.nullcontext

    def say(self, line: str) -> None:
        """Print one line of progress; drop it if only results are wanted, or if nobody reads any longer."""
        if not self._quiet:
            self.result(line)

    def detail(self, line: str) -> None:
        """Print one line that only ``-v`` asks for."""
        if self._verbose:
            self.result(line)

    def result(self, line: str) -> None:
        """Print one line of a result."""
        with self._clear_bar(self._stream):
            print_line(line, self._stream)

    def warn(self, line: str) -> None:
        """Print one line on standard error."""
        with self._clear_bar(sys.stderr):
            print_line(f"probeline: {line}", sys.stderr)

    def piped(self) -> Iterator[str | None]:
        """Yield the lines of standard input, as file names are decoded; None where no more are at hand yet."""
        begun = b""
        stream = None if sys.stdin is None else cast(io.BufferedIOBase, sys.stdin.buffer)
        while stream is not None and (read := stream.read1(_CHUNK)):
            *lines, begun = (begun + read).split(b"\n")
            yield from (os.fsdecode(line.removesuffix(b"\r")) for line in lines)
            if not _at_hand(stream):
                yield None
        if begun:
            yield os.fsdecode(begun.removesuffix(b"\r"))

    def confirm(self, question: str) -> bool | None:
        """Ask on standard error and read the answer from standard input; None where that is no terminal."""
        if sys.stdin is None or not sys.stdin.isatty():
            return None
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @contextlib.contextmanager
    def bar(self, title: str, total: int | None, unit: str) -> Iterator[Bar]:
        """Show a progress bar on standard error; nothing where that is no terminal."""
        from tqdm import tqdm

        with tqdm(desc=title, total=total, unit=unit, disable=None, dynamic_ncols=True, leave=False) as bar:
            # Lines that are printed meanwhile move the bar out of their way.
            self._clear_bar = tqdm.external_write_mode
            try:
                yield bar
            finally:
                self._clear_bar = contextlib.nullcontext
