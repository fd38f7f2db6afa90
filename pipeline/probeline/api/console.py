"""Where and how the functions say what they do: the logger ``probeline``, warnings, errors, and progress bars."""

from __future__ import annotations

import functools
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from probeline.console import Bar, print_text
from probeline.errors import ProbelineError
from probeline.text import printable

LOG = logging.getLogger("probeline")

_PACKAGE = Path(__file__).parents[1]

_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
_COMMAND = re.compile(r"\b(probeline [a-z]+|make [a-z]+|curl) ")

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def in_keywords(text: str) -> str:
    """Return a text with ``--image-size`` as ``image_size``, what a function calls it.

    A command that the text names stays, to the next comma or semicolon.
    """
    pieces = re.split(r"(?<=[,;]) ", text)
    return " ".join(piece if _COMMAND.search(piece) else _FLAG.sub(_keyword, piece) for piece in pieces)


def _keyword(flag: re.Match[str]) -> str:
    return flag[1].replace("-", "_")


def raises_in_keywords(function: Callable[Arguments, Returned]) -> Callable[Arguments, Returned]:
    """Return a function whose errors name options as keywords, not as the command line does."""

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
        try:
            return function(*args, **kwargs)
        except ProbelineError as error:
            error.args = (in_keywords(str(error)),)
            raise

    return call


class DataWarning(UserWarning):
    """What to know about the data or a network: what was assumed, what was left out, what makes a score too high.

    Each is issued once per call, as one line ``source: fact``. To hide them:
    ``warnings.simplefilter("ignore", probeline.DataWarning)``; to stop at the first one: ``"error"``.
    """


class LogConsole:
    """A console of the logger ``probeline``: lines are of level INFO, details of level DEBUG; notes are warnings.

    Every line is printable. With `verbose` lines are printed as well. Bars are shown where somebody watches: in a
    terminal or a notebook.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose

    def say(self, line: str) -> None:
        """Log one line of progress."""
        LOG.info(printable(line))
        if self._verbose:
            print_text(printable(line), sys.stdout)

    def detail(self, line: str) -> None:
        """Log one line for those who want details."""
        LOG.debug(printable(line))

    def result(self, line: str) -> None:
        """Log one line of a result."""
        self.say(line)

    def data(self, line: str) -> None:
        """Log one line for programs."""
        self.say(line)

    def note(self, line: str) -> None:
        """Warn of what a user should know about the data or a net."""
        self.warn(line)

    def warn(self, line: str) -> None:
        """Warn, at the user's line that called a function of this package."""
        files = [frame.f_code.co_filename for frame, _ in traceback.walk_stack(sys._getframe())]
        own = [level for level, file in enumerate(files) if Path(file).is_relative_to(_PACKAGE)]
        warnings.warn(printable(in_keywords(line)), DataWarning, stacklevel=max(own, default=0) + 2)

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

        with tqdm(desc=printable(title), total=total, unit=unit, disable=None, leave=False) as bar:
            yield bar
