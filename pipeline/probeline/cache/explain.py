"""Why an entry is not in the cache: the cached entry that is nearest to it, and the fields of the key that differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from probeline.cache.entry import Entry


def nearest_entry(entry: Entry, cached: Iterable[Entry]) -> Entry | None:
    """Return the cached entry that differs least: its backbone counts first, then fields of the key, then rows."""
    return min(cached, key=lambda other: _distance(entry, other), default=None)


def key_differences(entry: Entry, other: Entry) -> dict[str, str]:
    """Return in words what differs between an entry and one of the cache, by field of the key."""
    wanted, cached = _flatten(entry.inputs), _flatten(other.inputs)
    differences = {
        name: f"{_shorten(wanted.get(name))} is needed, {_shorten(cached.get(name))} is cached"
        for name in sorted(wanted.keys() | cached.keys())
        if wanted.get(name) != cached.get(name)
    }
    if "samples_sha256" in differences:
        differences["samples_sha256"] = _compare_samples(entry, other)
    return differences


def _distance(entry: Entry, other: Entry) -> tuple[int, int, int, str]:
    wanted, cached = _flatten(entry.inputs), _flatten(other.inputs)
    fields = sum(wanted.get(name) != cached.get(name) for name in wanted.keys() | cached.keys())
    other_net = entry.inputs["backbone"] != other.inputs.get("backbone")
    return int(other_net), fields, len(set(entry.content) - set(other.content)), str(other.folder)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _shorten(value: object) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(value)


def _compare_samples(entry: Entry, other: Entry) -> str:
    wanted = dict(zip(entry.sample_ids, entry.content, strict=True))
    cached = dict(zip(other.sample_ids, other.content, strict=True))
    added, removed = wanted.keys() - cached.keys(), cached.keys() - wanted.keys()
    changed = [name for name in wanted.keys() & cached.keys() if wanted[name] != cached[name]]
    counts = [(len(added), "added"), (len(removed), "removed"), (len(changed), "changed")]
    summary = ", ".join(f"{count:,} {what}" for count, what in counts if count) or "only the order differs"
    example = min([*added, *removed, *changed], default=None)
    such = f", such as {example}" if example else ""
    contents = set(other.content)
    reusable = sum(content in contents for content in entry.content)
    return f"{summary}{such}; {reusable:,} of {len(entry):,} rows can be reused from there"
