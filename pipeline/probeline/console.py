"""Where a stage says what it does: the command line prints it, a test collects it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TextIO


class Bar(Protocol):
    """A progress bar under way."""

    def update(self, n: int) -> object:
        """Count `n` more items done."""


class Console(Protocol):
    """What a stage prints to."""

    def say(self, line: str) -> None:
        """Show one line of progress."""

    def detail(self, line: str) -> None:
        """Show one line for those who want details."""

    def result(self, line: str) -> None:
        """Show one line of a result."""

    def data(self, line: str) -> None:
        """Write one line for other programs, in UTF-8 whatever the encoding of the terminal."""

    def note(self, line: str) -> None:
        """Show one line that a user should know about the data or a net, such as what was assumed or left out."""

    def warn(self, line: str) -> None:
        """Show one line of what went wrong while the rest goes on."""

    def piped(self) -> Iterator[str | None]:
        """Yield the lines that are piped in; None if the next may be long in coming."""

    def has_reader(self) -> bool:
        """Return whether somebody reads the results."""

    def bar(self, title: str, total: int | None, unit: str) -> AbstractContextManager[Bar]:
        """Show a progress bar; `total` is None if it is unknown."""

    def confirm(self, question: str) -> bool | None:
        """Ask a yes-or-no question; None if nobody can answer it."""


class Silence:
    """A console that shows nothing; details, results, data and notes are treated like progress."""

    def say(self, line: str) -> None:
        """Drop the line."""

    def detail(self, line: str) -> None:
        self.say(line)

    def result(self, line: str) -> None:
        self.say(line)

    def data(self, line: str) -> None:
        self.say(line)

    def note(self, line: str) -> None:
        self.say(line)

    def warn(self, line: str) -> None:
        """Drop the line."""

    def has_reader(self) -> bool:
        """Return that nobody has gone."""
        return True

    def confirm(self, question: str) -> bool | None:
        """Return no answer."""

    def piped(self) -> Iterator[str | None]:
        yield from ()

    @contextmanager
    def bar(self, title: str, total: int | None, unit: str) -> Iterator[Bar]:  # noqa: ARG002
        class Nothing:
            def update(self, n: int) -> object:
                return n

        yield Nothing()


def print_text(text: str, stream: TextIO | None, end: str = "\n") -> bool:
    r"""Print lines for people and an end, unless the stream is closed; return False if its reader has just gone.

    A letter that the stream's encoding lacks is written out, as in ``\u8702``.

    Raises
    ------
    OSError
        The stream takes no more, as on a full disk; from then on nothing is written to it.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return _write(text.encode(encoding, "backslashreplace").decode(encoding) + end, stream)


def print_data(text: str, stream: TextIO | None) -> bool:
    """Print lines for programs as :func:`print_text` does, but in UTF-8 and with the same line ends everywhere."""
    return _write(f"{text}\n".encode() if hasattr(stream, "buffer") else f"{text}\n", stream)


def _write(text: str | bytes, stream: TextIO | None) -> bool:
    if stream is None:  # closed by the parent process
        return True
    try:
        if isinstance(text, bytes):
            stream.flush()
            stream.buffer.write(text)
        else:
            stream.write(text)
        stream.flush()
    except OSError as error:
        # What is left in the buffer must not fail once more at the end of the process. After `| head` the work goes on.
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
        if isinstance(error, BrokenPipeError):
            return False
        error.filename = stream.name
        raise
    return True
