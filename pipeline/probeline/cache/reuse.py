"""Rows that are cached in other entries of the same net, preprocessing and precision: they are copied, not run.

The same net may have another name there, such as ``timm:NAME`` for a net that a function builds by timm: its tensors
have equal names and values. Rows of another name's entry are compared with a few that this net computes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from probeline.cache.entry import Entry
from probeline.cache.reading import (
    entry_folders,
    is_done,
    new_rows,
    open_entries,
    read_shard,
    shard_rows,
    split_by_shard,
)
from probeline.disk import path_name
from probeline.environment import origins
from probeline.errors import ProbelineError
from probeline.files.reading import ENTRY, read_beginning
from probeline.types import AnyFloatArray, FloatArray, IntArray

ROW_FACTS = "row_facts"
"""Member of a shard's provenance: what the pass that computed a row saw of its image, by the row's number in the shard.
Copied rows keep theirs."""


def facts_of_rows(provenance: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """Return the facts about single rows in a shard's provenance, by the row's number in the shard."""
    return {int(i): facts for i, facts in (provenance.get(ROW_FACTS) or {}).items()}


@dataclass(frozen=True)
class KnownRows:
    """Rows of an entry whose features are known from other entries, of which `sources` has the keys.

    Attributes
    ----------
    rows, origin : int64 [m]
        Ascending; index into `origins`, the conditions under which rows were computed.
    features : [m, dim], of the type in which entries store them
    seconds : float64 [m]
        Time that each row took where it was computed.
    facts : mapping of int to mapping
        What was seen of the images of single rows.
    """

    rows: IntArray
    features: AnyFloatArray
    seconds: np.ndarray[tuple[int], np.dtype[np.float64]]
    origin: IntArray
    origins: tuple[list[dict[str, Any]], ...]
    sources: tuple[str, ...]
    facts: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def cover(self, rows: range) -> bool:
        """Return whether every row of a range is known."""
        return len(self.rows_in(rows)) == len(rows)

    def rows_in(self, rows: range) -> IntArray:
        """Return the known rows of a range."""
        return self.rows[self._slice(rows)]

    def _slice(self, rows: range) -> slice:
        return slice(*np.searchsorted(self.rows, [rows.start, rows.stop]).tolist())

    def copy_into(self, features: FloatArray, rows: range, provenance: Mapping[str, Any]) -> dict[str, Any]:
        """Copy the known rows of a range into its features [rows, D]; return the provenance with their origins."""
        here = self._slice(rows)
        features[self.rows[here] - rows.start] = self.features[here]
        copied = len(self.rows[here])
        if not copied:
            return dict(provenance)
        seconds = float(provenance.get("seconds", 0.0)) + float(self.seconds[here].sum())
        facts = {str(row - rows.start): self.facts[row] for row in self.rows[here].tolist() if row in self.facts}
        if facts:
            provenance = {**provenance, ROW_FACTS: {**(provenance.get(ROW_FACTS) or {}), **facts}}
        conditions = [item for index in np.unique(self.origin[here]).tolist() for item in self.origins[index]]
        return {
            **provenance,
            "seconds": seconds,
            "copied_rows": copied,
            "copied_from": list(self.sources),
            "origins": [item for index, item in enumerate(conditions) if item not in conditions[:index]],
        }

    def from_elsewhere(self, now: Mapping[str, Any]) -> list[IntArray]:
        """Return the indices into `rows` that were computed under other conditions than today's, by origin."""
        elsewhere = [index for index, conditions in enumerate(self.origins) if conditions != [now]]
        return [indices for index in elsewhere if len(indices := np.flatnonzero(self.origin == index))]


def find_known_rows(
    entry: Entry, shards: list[int], cache: Path, *, say: Callable[[str], None], other_names: bool = False
) -> KnownRows:
    """Return the rows of some shards of an entry whose content is cached in other entries, with the same key inputs.

    With `other_names`, they may be entries of this data set under another name of the net, whose code may differ: the
    caller checks such rows. Entries that have more of the rows come first. Each shard that is read is hashed; one that
    is corrupt is skipped with a message.
    """
    donors = _find_donors(entry, cache, say, other_names=other_names)
    open_rows: dict[str, list[int]] = {}
    for row in shard_rows(entry, shards).tolist() if donors else ():
        open_rows.setdefault(entry.content[row], []).append(row)
    matches = _match(donors, open_rows, say)
    # Room for what can be copied and no more: the entry may be larger than the memory.
    offered = _offered_rows(entry, matches, open_rows)
    features, seconds = new_rows(entry, offered.shape), np.zeros(len(offered))
    is_known, origin = np.zeros(len(offered), bool), np.zeros(len(offered), np.int64)
    sources: list[str] = []
    facts: dict[int, Mapping[str, Any]] = {}
    conditions: list[list[dict[str, Any]]] = []
    for donor, donor_rows in matches:
        before = int(is_known.sum())
        for number, rows in split_by_shard(donor, donor_rows):
            start, contents = donor.shards[number].start, _contents(donor, rows)
            targets_of = {row: open_rows.pop(content) for row, content in contents.items() if content in open_rows}
            if not targets_of:
                continue
            try:
                block, record = read_shard(donor, number) if is_done(donor, number) else (None, None)
            except ProbelineError as error:
                say(f"extract: not reused: {error}")
                block, record = None, None
            if block is None or record is None:
                open_rows |= {contents[row]: targets for row, targets in targets_of.items()}
                continue
            here = origins(record.provenance)
            if donor.inputs["backbone"] != entry.inputs["backbone"]:
                # Equal tensors do not prove equal code: the canary runs some of these rows again.
                here = [{**item, "backbone": donor.inputs["backbone"]} for item in here]
            if here not in conditions:
                conditions.append(here)
            share = float(record.provenance.get("seconds", 0.0)) / len(donor.shards[number])
            seen = facts_of_rows(record.provenance)
            for row, targets in targets_of.items():
                if row - start in seen:
                    facts.update(dict.fromkeys(targets, seen[row - start]))
                places = np.searchsorted(offered, targets)
                features[places] = block[row - start]
                seconds[places] = share
                is_known[places] = True
                origin[places] = conditions.index(here)
        if int(is_known.sum()) > before:
            sources.append(donor.key)
    if not is_known.all():
        offered, features = offered[is_known], features[is_known]
        seconds, origin = seconds[is_known], origin[is_known]
    return KnownRows(offered, features, seconds, origin, tuple(conditions), tuple(sources), facts)


def _contents(donor: Entry, rows: IntArray) -> dict[int, str]:
    """Return the digests of some rows of one shard."""
    first, last = int(rows[0]), int(rows[-1])
    contents = donor.content[first : last + 1]
    return {row: contents[row - first] for row in rows.tolist()}


def _offered_rows(entry: Entry, matches: list[tuple[Entry, IntArray]], open_rows: Mapping[str, list[int]]) -> IntArray:
    """Return the rows int64 [m] of an entry, ascending, whose content donors have."""
    is_offered = np.zeros(len(entry), bool)
    for donor, donor_rows in matches:
        for _, rows in split_by_shard(donor, donor_rows):
            for content in _contents(donor, rows).values():
                is_offered[open_rows[content]] = True
    return np.flatnonzero(is_offered).astype(np.int64)


_BEGINNING = 4096
"""Bytes of an entry's record that have its key inputs; sample ids follow, and may be a million."""


def _may_be_equal(folder: Path, entry: Entry, *, other_names: bool) -> bool:
    """Return whether a folder may have the same net's features: under its name, or of this data set under another."""
    if folder.parent.name == entry.folder.parent.name:
        return True
    same_tap = folder.parent.name.endswith(f"-{path_name(entry.tap)}")
    if not other_names or not same_tap or folder.parents[1] != entry.folder.parents[1]:
        return False
    with contextlib.suppress(OSError):
        beginning = read_beginning(folder / "entry.json", ENTRY, _BEGINNING)
        return str(entry.inputs["weights_sha256"]).encode() in beginning
    return False


def _net_inputs(entry: Entry) -> dict[str, object]:
    """Return the key inputs without the samples and the net's name: their tensors are compared by name and bytes."""
    return {name: value for name, value in entry.inputs.items() if name not in ("samples_sha256", "backbone")}


def _find_donors(entry: Entry, cache: Path, say: Callable[[str], None], *, other_names: bool) -> list[Entry]:
    """Return the other entries with the same net inputs."""
    own = entry.folder
    folders = (
        path for path in entry_folders(cache) if path != own and _may_be_equal(path, entry, other_names=other_names)
    )
    others = open_entries(folders, lambda error: say(f"extract: not reused: {error}"))
    return [other for other in others if _net_inputs(other) == _net_inputs(entry)]


def _match(donors: list[Entry], content: Collection[str], say: Callable[[str], None]) -> list[tuple[Entry, IntArray]]:
    """Return the entries that have some content, each with its rows int64 [n] of it, those with most of it first."""
    matches = []
    for donor in donors:
        try:
            rows = [row for row, sha256 in enumerate(donor.content) if sha256 in content]
        except ProbelineError as error:
            say(f"extract: not reused: {error}")
            continue
        if rows:
            matches.append((donor, np.array(rows, np.int64)))
    matches.sort(key=lambda match: (-len(match[1]), str(match[0].folder)))
    return matches
