"""Which entry is meant: by its folder, or by the first digits of its key."""

from __future__ import annotations

import os
import re
from pathlib import Path

from probeline.cache.entry import Entry
from probeline.cache.reading import entry_folders, open_entry
from probeline.errors import BadOption, MissingData, UnknownName

LEAST_DIGITS = 6
"""Of a key; fewer soon mean several entries."""


def find_entry(folder_or_key: str | os.PathLike[str], cache: Path) -> Entry:
    """Return an entry of a cache, complete or not.

    Parameters
    ----------
    folder_or_key : str or path
        The entry's folder, or the first 6 or more digits of its key.
    cache : Path
        Where a key is looked for.

    Raises
    ------
    MissingData, BadCache
        There is no such entry, or its record is not what it must be.
    UnknownName
        No key of the cache begins like this; lists the entries.
    BadOption
        Several keys do, which are listed; or the digits are too few.
    """
    return open_entry(find_folder(folder_or_key, cache))


def find_folder(folder_or_key: str | os.PathLike[str], cache: Path) -> Path:
    """Return the folder of an entry, as :func:`find_entry` finds it; its record may be damaged."""
    if not isinstance(folder_or_key, str | os.PathLike):
        raise BadOption("no entry", expected="a folder, or digits of a key", got=repr(folder_or_key))
    digits = None if isinstance(folder_or_key, os.PathLike) else _digits_of_key(folder_or_key)
    return Path(folder_or_key).resolve() if digits is None else _find(digits, cache.resolve())


def _digits_of_key(text: str) -> str | None:
    """Return the digits, or None where `text` is the path of a folder."""
    digits = text.lower()
    if not re.fullmatch("[0-9a-f]{1,64}", digits) or Path(text).is_dir():
        return None
    if len(digits) < LEAST_DIGITS:
        raise BadOption("too few digits of a key", expected=f"{LEAST_DIGITS} or more", got=text)
    return digits


def _find(digits: str, cache: Path) -> Path:
    names = {folder: folder.relative_to(cache).as_posix() for folder in entry_folders(cache)}
    if not names:
        raise MissingData("no entry in this cache", where=cache, remedy="run extract, or name another cache")
    # A folder's name ends with the first 12 digits of the key; only further ones need the record.
    found = [folder for folder in names if folder.name[-12:].startswith(digits[:12])]
    if len(found) > 1:
        raise BadOption(
            "the keys of several entries begin like this",
            where=digits,
            expected="one of: " + ", ".join(names[folder] for folder in found),
            remedy="give more digits, or the folder",
        )
    if not found or (len(digits) > 12 and not open_entry(found[0]).key.startswith(digits)):
        raise UnknownName("key", digits, names.values(), remedy=f"look in {cache}, or name another cache")
    return found[0]
