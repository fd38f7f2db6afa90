"""Rows that other entries of the same net, preprocessing and precision hold: what was run there is copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probeline.cache.entry import Entry
from probeline.cache.reading import entry_folders, is_done, open_entry, read_shard, shard_rows
from probeline.environment import origins
from probeline.errors import ProbelineError
from probeline.types import FloatArray, IntArray


@dataclass(frozen=True)
class KnownRows:
    """Rows of an entry whose features are known from elsewhere.

    Attributes
    ----------
    rows : int64 [m]
        Ascending.
    features : float32 [m, D]
    seconds : float64 [m]
        What computing each row took where it was computed.
    origin : int64 [m]
        Which of `origins`.
    origins : tuple of lists
        The conditions under which rows were computed.
    sources : tuple of str
        Keys of the entries they come from.
    """

    rows: IntArray
    features: FloatArray
    seconds: np.ndarray[tuple[int], np.dtype[np.float64]]
    origin: IntArray
    origins: tuple[list[dict[str, Any]], ...]
    sources: tuple[str, ...]

    def cover(self, rows: range) -> bool:
        """Say whether every row of a range is known."""
        start, stop = np.searchsorted(self.rows, [rows.start, rows.stop]).tolist()
        return bool(stop - start == len(rows))

    def copy_into(self, features: FloatArray, rows: range, provenance: Mapping[str, Any]) -> dict[str, Any]:
        """Put what is known of a row range into its features [rows, D], and return the provenance that says so."""
        here = slice(*np.searchsorted(self.rows, [rows.start, rows.stop]).tolist())
        features[self.rows[here] - rows.start] = self.features[here]
        copied = len(self.rows[here])
        if not copied:
            return dict(provenance)
        seconds = float(provenance.get("seconds", 0.0)) + float(self.seconds[here].sum())
        made = [one for place in np.unique(self.origin[here]).tolist() for one in self.origins[place]]
        return {
            **provenance,
            "seconds": seconds,
            "copied_rows": copied,
            "copied_from": list(self.sources),
            "origins": [one for place, one in enumerate(made) if one not in made[:place]],
        }

    def from_elsewhere(self, now: Mapping[str, Any]) -> list[IntArray]:
        """Return the places in `rows` that were computed under other conditions than today's, by origin."""
        elsewhere = [place for place, made in enumerate(self.origins) if made != [now]]
        return [found for place in elsewhere if len(found := np.flatnonzero(self.origin == place))]


def find_known_rows(entry: Entry, shards: list[int], cache: Path, *, say: Callable[[str], None]) -> KnownRows:
    """Return the rows of some shards of an entry whose content other entries of a cache hold.

    An entry serves where all that its key is made of is the same but the samples. Those that hold more of the rows
    are asked first. Each shard that is read is hashed first; one that is corrupt is skipped with a message.

    Parameters
    ----------
    entry : Entry
    shards : list of int
    cache : Path
    say : callable
        Takes a line for the user.
    """
    open_rows: dict[str, list[int]] = {}
    for row in shard_rows(entry, shards).tolist():
        open_rows.setdefault(entry.content[row], []).append(row)
    features = np.empty((len(entry), entry.dim), np.float32) if open_rows else np.empty((0, entry.dim), np.float32)
    seconds = np.zeros(len(entry))
    found, origin = np.zeros(len(entry), bool), np.zeros(len(entry), np.int64)
    sources: list[str] = []
    made: list[list[dict[str, Any]]] = []
    for donor in _donors(entry, cache, open_rows, say):
        before = int(found.sum())
        for number, rows in enumerate(donor.shards):
            places = {row: open_rows[donor.content[row]] for row in rows if donor.content[row] in open_rows}
            if not places:
                continue
            try:
                if not is_done(donor, number):
                    continue
                block, record = read_shard(donor, number)
            except ProbelineError as error:
                say(f"extract: not reused: {error}")
                continue
            if (here := origins(record["provenance"])) not in made:
                made.append(here)
            share = float(record["provenance"].get("seconds", 0.0)) / len(rows)
            for row, targets in places.items():
                features[targets] = block[row - rows.start]
                seconds[targets] = share
                found[targets] = True
                origin[targets] = made.index(here)
                open_rows.pop(donor.content[row], None)
        if int(found.sum()) > before:
            sources.append(donor.key)
    known = np.flatnonzero(found).astype(np.int64)
    return KnownRows(known, features[known], seconds[known], origin[known], tuple(made), tuple(sources))


def _donors(entry: Entry, cache: Path, wanted: dict[str, list[int]], say: Callable[[str], None]) -> list[Entry]:
    """Return the entries that may serve, those that hold most of the wanted content first."""

    def frozen(one: Entry) -> dict[str, object]:
        return {name: value for name, value in one.inputs.items() if name != "samples_sha256"}

    shares: list[tuple[int, Entry]] = []
    for folder in entry_folders(cache):
        if folder.parent.name != entry.folder.parent.name or folder == entry.folder:
            continue
        try:
            other = open_entry(folder)
        except ProbelineError as error:
            say(f"extract: not reused: {error}")
            continue
        if frozen(other) == frozen(entry) and (share := len(wanted.keys() & set(other.content))):
            shares.append((share, other))
    return [other for _, other in sorted(shares, key=lambda pair: (-pair[0], str(pair[1].folder)))]
