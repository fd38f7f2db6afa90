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
"""Most bytes per read of piped input: as many as a pipe holds."""


def print_line(line: str, stream: TextIO | None) -> None:
    """Print one line, unless the stream is closed or its reader has gone."""
    if stream is None:  # closed by the parent process
        return
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        # As after `| head`: the work goes on without its reader.
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def _is_ready(stream: io.BufferedIOBase) -> bool:
    """Return whether a stream can be read without waiting: more input, or its end."""
    try:
        return bool(select.select([stream], [], [], 0)[0])
    except (OSError, ValueError):  # not a file of the system, so that no process writes to it meanwhile
        return True


class Terminal:
    """A console on standard output and standard error.

    With `json` all lines go to standard error; `quiet` shows results and warnings only, `verbose` details too.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self._stream = sys.stderr if json else sys.stdout
        self._quiet, self._verbose = quiet, verbose
        self._clear_bar: Callable[[TextIO | None], AbstractContextManager[object]] = contextlib.nullcontext

    def say(self, line: str) -> None:
        """Print one line of progress, unless quiet."""
        if not self._quiet:
            self.result(line)

    def detail(self, line: str) -> None:
        """Print one line if verbose."""
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
        """Yield the lines of standard input, decoded as file names; None before a read that may have to wait."""
        partial = b""
        stream = None if sys.stdin is None else cast(io.BufferedIOBase, sys.stdin.buffer)
        while stream is not None and (read := stream.read1(_CHUNK)):
            *lines, partial = (partial + read).split(b"\n")
            yield from (os.fsdecode(line.removesuffix(b"\r")) for line in lines)
            if not _is_ready(stream):
                yield None
        if partial:
            yield os.fsdecode(partial.removesuffix(b"\r"))

    def confirm(self, question: str) -> bool | None:
        """Ask on standard error and read the answer from standard input; None if that is no terminal."""
        if sys.stdin is None or not sys.stdin.isatty():
            return None
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @contextlib.contextmanager
    def bar(self, title: str, total: int | None, unit: str) -> Iterator[Bar]:
        """Show a progress bar on standard error, if that is a terminal."""
        from tqdm import tqdm

        with tqdm(desc=title, total=total, unit=unit, disable=None, dynamic_ncols=True, leave=False) as bar:
            # Lines that are printed meanwhile clear the bar first.
            self._clear_bar = tqdm.external_write_mode
            try:
                yield bar
            finally:
                self._clear_bar = contextlib.nullcontext
