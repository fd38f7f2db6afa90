"""Names of files and folders: many at once, and those a user gives, of which an empty one names nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

from probeline.errors import BadOption


class Paths(Sequence[Path]):
    """Paths that are kept as texts, since a million `Path` objects take a gigabyte."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(texts)

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Paths:
        """Return some paths as these."""
        return paths if isinstance(paths, cls) else cls(map(str, paths))

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Paths: ...
    def __getitem__(self, index: int | slice) -> Path | Paths:
        return Paths(self.texts[index]) if isinstance(index, slice) else Path(self.texts[index])

    def take(self, rows: Iterable[int]) -> Paths:
        """Return the paths with some numbers."""
        return Paths(self.texts[row] for row in rows)


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
