"""The folders of a layout of fixed depth, such as a cache's, which others may have filled with links."""

from __future__ import annotations

import contextlib
from pathlib import Path


def folders_at(top: Path, levels: int) -> list[Path]:
    """Return the folders so many levels below a folder, sorted, each once, whatever links lead to it.

    A folder above others is looked into once too, by its own name if that is no link. What cannot be read is passed
    over.
    """
    seen: set[tuple[int, int]] = set()
    found = _new([top], seen)
    for _ in range(levels):
        below: list[Path] = []
        for folder in found:
            with contextlib.suppress(OSError):
                below += [path for path in folder.iterdir() if path.is_dir()]
        found = _new(below, seen)
    return sorted(found)


def _new(folders: list[Path], seen: set[tuple[int, int]]) -> list[Path]:
    """Return those of some folders that have not been seen, and note that they have."""
    found = []
    for path in sorted(folders, key=lambda path: (path.is_symlink(), path)):
        with contextlib.suppress(OSError):
            status = path.stat()
            if (identity := (status.st_dev, status.st_ino)) not in seen:
                seen.add(identity)
                found.append(path)
    return found
