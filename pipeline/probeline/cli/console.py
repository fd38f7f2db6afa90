"""The terminal: lines, progress bars and questions."""

from __future__ import annotations

import contextlib
import io
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TextIO, cast

from probeline.cli.piped import piped_paths
from probeline.console import Bar, print_data, print_text
from probeline.text import printable

_CHUNK = 65536
"""Most bytes per read of piped input: as many as a pipe holds."""


def _is_ready(stream: io.BufferedIOBase) -> bool:
    """Return whether a stream can be read without waiting: more input, or its end."""
    try:
        return bool(select.select([stream], [], [], 0)[0])
    except (OSError, ValueError):  # not a file of the system, so that no process writes to it meanwhile
        return True


class Terminal:
    """A console on standard output and standard error; every line is printable.

    With `json` all lines go to standard error, and with `data_lines` all but those for programs, which a verb prints
    instead of those for people; `quiet` shows results and warnings only, `verbose` details too.
    """

    def __init__(
        self, *, json: bool = False, quiet: bool = False, verbose: bool = False, data_lines: bool = False
    ) -> None:
        self._stream = sys.stderr if json or data_lines else sys.stdout
        self._data_stream = sys.stderr if json else sys.stdout
        self._quiet, self._verbose = quiet, verbose
        self._has_reader = True
        self._clear_bar: Callable[[TextIO | None], AbstractContextManager[object]] = contextlib.nullcontext

    def say(self, line: str) -> None:
        """Print one line of progress, unless quiet."""
        if not self._quiet:
            self.result(line)

    def note(self, line: str) -> None:
        """Print one line about the data or a net, unless quiet."""
        self.say(line)

    def detail(self, line: str) -> None:
        """Print one line if verbose."""
        if self._verbose:
            self.result(line)

    def result(self, line: str) -> None:
        """Print one line of a result."""
        with self._clear_bar(self._stream):
            self._has_reader = print_text(printable(line), self._stream) and self._has_reader

    def data(self, line: str) -> None:
        """Print one line for programs."""
        with self._clear_bar(self._data_stream):
            self._has_reader = print_data(printable(line), self._data_stream) and self._has_reader

    def warn(self, line: str) -> None:
        """Print one line on standard error."""
        with self._clear_bar(sys.stderr):
            print_text(f"probeline: {printable(line)}", sys.stderr)

    def piped(self) -> Iterator[str | None]:
        """Yield the lines of standard input, decoded as file names; None before a read that may have to wait."""
        if sys.stdin is not None:
            stream = cast(io.BufferedIOBase, sys.stdin.buffer)
            yield from piped_paths(lambda: stream.read1(_CHUNK), lambda: _is_ready(stream))

    def has_reader(self) -> bool:
        """Return whether somebody reads the results: not after ``| head`` has seen enough."""
        return self._has_reader

    def confirm(self, question: str) -> bool | None:
        """Ask on standard error and read the answer from standard input; None if that is no terminal."""
        if sys.stdin is None or not sys.stdin.isatty():
            return None
        print_text(f"{printable(question)} [y/N] ", sys.stderr, end="")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @contextlib.contextmanager
    def bar(self, title: str, total: int | None, unit: str) -> Iterator[Bar]:
        """Show a progress bar on standard error, if that is a terminal."""
        from tqdm import tqdm

        with tqdm(desc=printable(title), total=total, unit=unit, disable=None, dynamic_ncols=True, leave=False) as bar:
            # Lines that are printed meanwhile clear the bar first.
            self._clear_bar = tqdm.external_write_mode
            try:
                yield bar
            finally:
                self._clear_bar = contextlib.nullcontext
