"""Names of files and folders as a user gives them: an empty one would be the current folder, which nobody named."""

from __future__ import annotations

import os
from pathlib import Path

from probeline.errors import BadOption


def is_blank(name: object) -> bool:
    """Return whether a name is empty, or of spaces alone."""
    return not str(name).strip()


def path_of(name: str | os.PathLike[str]) -> Path:
    """Return a name as a path.

    Raises
    ------
    BadOption
        The name is empty or blank.
    """
    if is_blank(os.fspath(name)):
        raise BadOption("an empty name of a file or folder", expected="a path; . is the current folder")
    return Path(name)
