"""Where the program says what it does: the command line prints it, a test collects it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """A progress bar under way."""

    def update(self, n: int) -> object:
        """Count `n` more items done."""


class Console(Protocol):
    """Where a stage says what it does: the command line prints it, a test collects it."""

    def say(self, line: str) -> None:
        """Show one line of progress."""

    def detail(self, line: str) -> None:
        """Show one line that only those want who ask for details."""

    def result(self, line: str) -> None:
        """Show one line of a result."""

    def warn(self, line: str) -> None:
        """Show one line of what went wrong while the rest goes on."""

    def piped(self) -> Iterator[str | None]:
        """Yield the lines that are piped in; None where the next may be long in coming."""

    def bar(self, title: str, total: int | None, unit: str) -> AbstractContextManager[Bar]:
        """Show a progress bar over `total` items, or over as many as there come to be."""

    def confirm(self, question: str) -> bool | None:
        """Ask a question that is answered by yes or no; None where nobody is there to answer."""


class Silence:
    """A console that shows nothing."""

    def confirm(self, question: str) -> bool | None:
        """Answer for nobody."""

    def say(self, line: str) -> None:
        """Drop the line."""

    def detail(self, line: str) -> None:
        """Take the line as any other."""
        self.say(line)

    def result(self, line: str) -> None:
        """Take the line as any other."""
        self.say(line)

    def warn(self, line: str) -> None:
        """Drop the line."""

    def piped(self) -> Iterator[str | None]:
        """Yield nothing."""
        yield from ()

    @contextmanager
    def bar(self, title: str, total: int | None, unit: str) -> Iterator[Bar]:  # noqa: ARG002
        """Yield a bar that counts for nobody."""

        class Nothing:
            def update(self, n: int) -> object:
                return n

        yield Nothing()
