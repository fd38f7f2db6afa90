"""Where a stage says what it does: the command line prints it, a test collects it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


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
    """A console that shows nothing; details, results and notes are treated like progress."""

    def say(self, line: str) -> None:
        """Drop the line."""

    def detail(self, line: str) -> None:
        self.say(line)

    def result(self, line: str) -> None:
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
