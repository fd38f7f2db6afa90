"""The names in a table, and the images that they mean: as written, without an extension, or below another folder."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from probeline.text import shown_names


@dataclass(frozen=True)
class Matching:
    """Which image each name means."""

    images: tuple[str | None, ...]
    """For each name the image; None if none has that name, or several do."""
    how: str | None
    """In words how they were matched; None if as written."""
    ambiguous: int = 0
    """How many names several images have."""


def match_names(names: Sequence[str], known: Collection[str]) -> Matching:
    """Return the images that names mean, in one way for all of them: the first that matches any.

    The ways are: as written, or as our tables show a name that is not printable; with backslashes for slashes, without
    extension, by the end of the path, and by the end of the path without extension. Paths are POSIX.
    """
    present = set(known)
    shown = shown_names(present)
    exact = tuple(name if name in present else shown.get(name) for name in names)
    if any(exact):
        return Matching(exact, None)
    ambiguous = 0
    for how, fold in _WAYS:
        by_key: dict[str, str | None] = {}
        for image in known:
            key = fold(image)
            by_key[key] = None if key in by_key else image
        keys = [fold_given(name, fold, present=by_key) for name in names]
        matched = tuple(by_key.get(key) for key in keys)
        several = sum(key in by_key and by_key[key] is None for key in keys)
        ambiguous = ambiguous or several
        if any(matched):
            return Matching(matched, how, several)
    return Matching(exact, None, ambiguous)


def fold_given(name: str, fold: Callable[[str], str], present: Collection[str]) -> str:
    """Return the key of a name as it stands, if that is the key of an image, else folded as images are."""
    plain = clean_path(name)
    return plain if plain in present else fold(plain)


def clean_path(name: str) -> str:
    """Return a path with slashes alone, and without ``.``, doubled slashes and white space around it."""
    stripped = name.strip().replace("\\", "/")
    return posixpath.normpath(stripped) if stripped else stripped


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]


_WAYS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("with other slashes", clean_path),
    ("without their extensions", _stem),
    ("by their file names, whatever the folder", posixpath.basename),
    ("by their file names without extensions, whatever the folder", lambda path: _stem(posixpath.basename(path))),
)
