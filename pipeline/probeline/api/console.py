"""Where the functions say what they do: the logger ``probeline``, warnings, and progress bars."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from probeline.console import Bar

LOG = logging.getLogger("probeline")


class DataWarning(UserWarning):
    """Something about the data that may make its numbers worth less."""


class LogConsole:
    """A console of the logger ``probeline``: lines are of level INFO, details of level DEBUG.

    With `verbose` they are printed as well. Bars are shown where somebody watches: in a terminal or a notebook.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose

    def say(self, line: str) -> None:
        """Log one line of progress."""
        LOG.info(line)
        if self._verbose:
            print(line, flush=True)

    def detail(self, line: str) -> None:
        """Log one line for those who want details."""
        LOG.debug(line)

    def result(self, line: str) -> None:
        """Log one line of a result."""
        self.say(line)

    def warn(self, line: str) -> None:
        """Warn of what went wrong while the rest goes on."""
        warnings.warn(line, DataWarning, stacklevel=2)

    def has_reader(self) -> bool:
        """Return True: a program reads what its functions return."""
        return True

    def confirm(self, question: str) -> bool | None:  # noqa: ARG002
        """Return no answer: a function does not ask."""
        return None

    def piped(self) -> Iterator[str | None]:
        """Yield nothing."""
        yield from ()

    @contextmanager
    def bar(self, title: str, total: int | None, unit: str) -> Iterator[Bar]:
        """Show a progress bar in a notebook or a terminal."""
        from tqdm.auto import tqdm

        with tqdm(desc=title, total=total, unit=unit, disable=None, leave=False) as bar:
            yield bar
