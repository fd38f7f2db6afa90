"""Finding an entry by its folder or the first digits of its key, and the nearest one with what differs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from probeline.cache.entry import Entry
from probeline.cache.reading import entry_folders, open_entry
from probeline.errors import BadOption, MissingData, UnknownName
from probeline.files.reading import is_folder

LEAST_DIGITS = 6
"""Of a key; fewer soon mean several entries."""


def find_entry(folder_or_key: str | os.PathLike[str], cache: Path) -> Entry:
    """Return an entry of a cache, complete or not, by its folder or the first 6 or more digits of its key."""
    return open_entry(find_folder(folder_or_key, cache))


def find_folder(folder_or_key: str | os.PathLike[str], cache: Path) -> Path:
    """Return the folder of an entry as :func:`find_entry` does; its record may be corrupt."""
    if not isinstance(folder_or_key, str | os.PathLike):
        raise BadOption("no entry", expected="a folder, or digits of a key", got=repr(folder_or_key))
    digits = folder_or_key.lower() if isinstance(folder_or_key, str) else ""
    if not re.fullmatch("[0-9a-f]{1,64}", digits) or is_folder(Path(folder_or_key)):
        return Path(folder_or_key).resolve()
    if len(digits) < LEAST_DIGITS:
        raise BadOption("too few digits of a key", expected=f"{LEAST_DIGITS} or more", got=folder_or_key)
    return _find_by_key(digits, cache.resolve())


def _find_by_key(digits: str, cache: Path) -> Path:
    names = {folder: folder.relative_to(cache).as_posix() for folder in entry_folders(cache)}
    if not names:
        raise MissingData("no entry in this cache", where=cache, remedy="run extract, or name another cache")
    # A folder's name ends with the first 12 digits of the key; only further ones need the record.
    matches = [folder for folder in names if folder.name[-12:].startswith(digits[:12])]
    if len(matches) > 1:
        raise BadOption(
            "the keys of several entries begin like this",
            where=digits,
            expected="one of: " + ", ".join(names[folder] for folder in matches),
            remedy="give more digits, or the folder",
        )
    if not matches or (len(digits) > 12 and not open_entry(matches[0]).key.startswith(digits)):
        raise UnknownName("key", digits, names.values(), remedy=f"look in {cache}, or name another cache")
    return matches[0]


def nearest_entry(entry: Entry, cached: Iterable[Entry]) -> Entry | None:
    """Return the cached entry that differs least: its backbone counts first, then fields of the key, then rows."""
    return min(cached, key=lambda other: _distance(entry, other), default=None)


def key_differences(entry: Entry, other: Entry) -> dict[str, str]:
    """Return in words what differs between an entry and one of the cache, by field of the key."""
    differences = {
        name: f"{_shorten(needed)} is needed, {_shorten(cached)} is cached"
        for name, (needed, cached) in _differing(entry, other).items()
    }
    if "samples_sha256" in differences:
        differences["samples_sha256"] = _compare_samples(entry, other)
    return differences


def _distance(entry: Entry, other: Entry) -> tuple[int, int, int, str]:
    other_net = entry.inputs["backbone"] != other.inputs.get("backbone")
    missing = len(set(entry.content) - set(other.content))
    return int(other_net), len(_differing(entry, other)), missing, str(other.folder)


def _differing(entry: Entry, other: Entry) -> dict[str, tuple[Any, Any]]:
    """Return both values of each field of the key that differs."""
    own, others = _flatten(entry.inputs), _flatten(other.inputs)
    pairs = {name: (own.get(name), others.get(name)) for name in sorted(own.keys() | others.keys())}
    return {name: (value, another) for name, (value, another) in pairs.items() if value != another}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _shorten(value: object) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(value)


def _compare_samples(entry: Entry, other: Entry) -> str:
    needed = dict(zip(entry.sample_ids, entry.content, strict=True))
    cached = dict(zip(other.sample_ids, other.content, strict=True))
    added, removed = needed.keys() - cached.keys(), cached.keys() - needed.keys()
    changed = [name for name in needed.keys() & cached.keys() if needed[name] != cached[name]]
    counts = [(len(added), "added"), (len(removed), "removed"), (len(changed), "changed")]
    summary = ", ".join(f"{count:,} {what}" for count, what in counts if count) or "only the order differs"
    example = min([*added, *removed, *changed], default=None)
    such = f", such as {example}" if example else ""
    contents = set(other.content)
    reusable = sum(content in contents for content in entry.content)
    return f"{summary}{such}; {reusable:,} of {len(entry):,} rows can be reused from there"
