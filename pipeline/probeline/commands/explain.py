"""Explain: which fields of the key differ from the nearest entry of the cache; nothing is computed, no torch."""

from __future__ import annotations

from typing import Any

from probeline.cache.entry import Entry
from probeline.cache.lookup import key_differences, nearest_entry
from probeline.cache.reading import entry_folders, missing_shards, open_entries
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Return for every entry of the settings whether it is in the cache, and if not, what differs from the nearest."""
    folders = entry_folders(session.settings.folders.cache)
    cached = list(open_entries(folders, lambda error: session.console.say(f"explain: skipped: {error}")))
    entries = [
        entry
        for name in session.settings.nets.backbones
        for tap in session.every_tap(name)
        for entry in session.entries(tap)
    ]
    return [_explain(session, entry, cached) for entry in entries]


def _explain(session: Session, entry: Entry, cached: list[Entry]) -> dict[str, Any]:
    say = session.console.result
    missing, total = len(missing_shards(entry)), len(entry.shards)
    nearest = nearest_entry(entry, cached) if missing == total else None
    differences = key_differences(entry, nearest) if nearest else {}
    if missing < total:
        state = f"{total - missing} of {total} shards are in {entry.folder}"
    elif nearest is None:
        state = "the cache is empty"
    elif nearest.folder == entry.folder:
        state = f"none of its {total} shards is in {entry.folder} yet"
    elif not differences:
        state = f"not in the cache under this name; {nearest.folder} has the same key: extract reuses its rows"
    else:
        count = len(differences)
        fields = "1 field of the key differs" if count == 1 else f"{count} fields of the key differ"
        state = f"not in the cache; {fields} from {nearest.folder}"
    say(f"explain: {entry.title}: {state}")
    for field, difference in differences.items():
        say(f"explain:   {field}: {difference}")
    return {
        "backbone": entry.inputs["backbone"],
        "tap": entry.tap,
        "part": entry.part,
        "key": entry.key,
        "missing_shards": missing,
        "nearest": str(nearest.folder) if nearest else None,
        "differences": differences,
    }
