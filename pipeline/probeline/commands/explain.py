"""Explain: which fields of the key differ from the nearest entry of the cache; nothing is computed, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probeline.cache.entry import Entry
from probeline.cache.reading import entry_folders, missing_shards, open_entry
from probeline.errors import ProbelineError
from probeline.extract.engine import title
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Say of every entry of the configuration whether it is in the cache, and if not, what differs from the nearest.

    Raises
    ------
    ProbelineError
    """
    say = session.console.say
    cached = _cached(session)
    told = []
    for name in session.settings.nets.backbones:
        for entry in (entry for tap in session.every_tap(name) for entry in session.entries(tap)):
            absent = len(missing_shards(entry))
            differences: dict[str, str] = {}
            nearest = None
            if absent < len(entry.shards):
                line = f"{len(entry.shards) - absent} of {len(entry.shards)} shards are in {entry.folder}"
            elif not cached:
                line = "the cache is empty"
            else:
                nearest = min(cached, key=lambda other: _distance(entry, other))
                differences = _differences(entry, nearest)
                count = len(differences)
                if nearest.folder == entry.folder:
                    line = f"begun, but none of its {absent} shards is in {entry.folder}"
                elif not count:
                    line = f"not in the cache under this name; {nearest.folder} has its key: extract copies the rows"
                else:
                    fields = "1 field of its key differs" if count == 1 else f"{count} fields of its key differ"
                    line = f"not in the cache; {fields} from {nearest.folder}"
            say(f"explain: {title(entry)}: {line}")
            for field, difference in differences.items():
                say(f"explain:   {field}: {difference}")
            told.append(
                {
                    "backbone": entry.inputs["backbone"],
                    "tap": entry.tap,
                    "part": entry.part,
                    "key": entry.key,
                    "missing_shards": absent,
                    "nearest": str(nearest.folder) if nearest else None,
                    "differences": differences,
                }
            )
    return told


def _cached(session: Session) -> list[Entry]:
    found = []
    for folder in entry_folders(session.settings.folders.cache):
        try:
            found.append(open_entry(folder))
        except ProbelineError as error:
            session.console.say(f"explain: left out: {error}")
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _distance(entry: Entry, other: Entry) -> tuple[int, int, int, str]:
    """Return what sorts entries by nearness: fields that differ, the net's before all else, then rows not shared."""
    mine, theirs = _flat(entry.inputs), _flat(other.inputs)
    differing = sum(mine.get(name) != theirs.get(name) for name in mine.keys() | theirs.keys())
    other_net = entry.inputs["backbone"] != other.inputs.get("backbone")
    strangers = len(set(entry.content) - set(other.content))
    return int(other_net), differing, strangers, str(other.folder)


def _differences(entry: Entry, other: Entry) -> dict[str, str]:
    """Return in words what differs, by field of the key."""
    mine, theirs = _flat(entry.inputs), _flat(other.inputs)
    found = {
        name: f"{_short(mine.get(name))} is asked for, {_short(theirs.get(name))} is cached"
        for name in sorted(mine.keys() | theirs.keys())
        if mine.get(name) != theirs.get(name)
    }
    if "samples_sha256" in found:
        found["samples_sha256"] = _samples(entry, other)
    return found


def _short(value: object) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(value)


def _samples(entry: Entry, other: Entry) -> str:
    mine = dict(zip(entry.sample_ids, entry.content, strict=True))
    theirs = dict(zip(other.sample_ids, other.content, strict=True))
    added, removed = mine.keys() - theirs.keys(), theirs.keys() - mine.keys()
    changed = [name for name in mine.keys() & theirs.keys() if mine[name] != theirs[name]]
    counts = [(len(added), "added"), (len(removed), "removed"), (len(changed), "of other content")]
    told = ", ".join(f"{count:,} {what}" for count, what in counts if count) or "the order alone"
    example = min([*added, *removed, *changed], default=None)
    shared = set(other.content)
    copied = sum(content in shared for content in entry.content)
    such = f", such as {example}" if example else ""
    return f"{told}{such}; {copied:,} of {len(entry):,} rows have their content there"
