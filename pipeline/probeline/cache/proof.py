"""The proof that a folder is a cache and nothing else, which removing and repairing ask for."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from probeline.cache.format.layout import MARKER, MOST_OTHERS, Contents, is_marked, look_into
from probeline.cache.reading import open_entries
from probeline.errors import BadOption
from probeline.format import few


def prove_cache(cache: Path, expected: Collection[Path] = ()) -> Contents:
    """Return what a cache holds; `expected` are folders whose keys follow from images and nets.

    Raises
    ------
    BadOption
        The folder holds anything that has no place in a cache; or it has no marker, no expected folder, and not even
        one entry whose record can be read, as the caches of earlier versions have.
    """
    contents = look_into(cache)
    if others := contents.others:
        count = f"{len(others):,} other item{'s' * (len(others) > 1)}"
        if len(others) == MOST_OTHERS:
            count = f"{MOST_OTHERS:,} or more other items"
        raise BadOption(
            "not a cache of Probeline: nothing was changed",
            where=cache,
            expected="a folder that holds a cache and nothing else",
            got=f"{count}: {few([path.relative_to(cache).as_posix() for path in others], 3)}",
            remedy="move what is yours elsewhere" if is_marked(cache) else "name the cache with --cache FOLDER",
        )
    is_proven = is_marked(cache) or not set(expected).isdisjoint(contents.folders)
    if not is_proven and next(open_entries(contents.folders, lambda _: None), None) is None:
        raise BadOption(
            "not a cache of Probeline: nothing was changed",
            where=cache,
            expected=f"its {MARKER}, or an entry whose record can be read",
            remedy="name the cache with --cache FOLDER",
        )
    return contents
