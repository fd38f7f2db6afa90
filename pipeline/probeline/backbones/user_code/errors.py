"""Errors of the user's own code, each as one line that names the file and the line."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from probeline.errors import BadOption, ProbelineError


class CodeFailed(BadOption):
    """The user's own code raised an error."""


@contextlib.contextmanager
def reported(doing: str) -> Iterator[None]:
    """Raise any error of a block as `CodeFailed`, with the file and the line in which the user's code failed."""
    try:
        yield
    except ProbelineError:
        raise
    except Exception as error:  # whatever the user's code may raise
        raise CodeFailed(
            f"{doing} failed", where=_place(error), got=_describe(error), remedy="mend that code"
        ) from error


def _place(error: Exception) -> str | None:
    """Return file and line of the innermost frame that is no library's, or the line of a syntax error."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not is_library(frame.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


def is_library(filename: str) -> bool:
    """Return whether a file is Python's, this package's or an installed one, and none of the user's."""
    path = Path(filename)
    ours = Path(__file__).parents[2] in path.parents
    return ours or filename.startswith("<") or "site-packages" in path.parts or Path(sys.base_prefix) in path.parents


def _describe(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
