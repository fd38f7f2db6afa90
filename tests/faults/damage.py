"""Every byte of an entry changed in turn, and every file cut at every length; plain h5py is the control."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from faults import producer
from faults.children import sweep
from faults.figures import Figures, summed
from probeline.cache import reading
from probeline.cache.check import check_entry
from probeline.cache.entry import Entry, locate_entry
from probeline.cache.samples import FILE_NAME
from probeline.errors import ProbelineError
from probeline.identity import digest

ROWS, ROWS_PER_SHARD = 100, 96
LIMIT = 10.0
"""Seconds after which a reading counts as hung; it takes some thousandths of one."""

Change = tuple[str, int, int]
"""File, place, and the bits to flip there; none to cut the file there."""


def flips(files: dict[str, bytes], seed: int) -> list[Change]:
    """Return two changes for every byte: all its bits flipped, and a seeded one of them."""
    bits = random.Random(seed)
    places = [(name, place) for name, data in files.items() for place in range(len(data))]
    return [(*place, change) for place in places for change in (0xFF, 1 << bits.randrange(8))]


def cuts(files: dict[str, bytes], seed: int) -> list[Change]:
    """Return the cut of every file at every length."""
    return [(name, place, 0) for name, data in files.items() for place in range(len(data))]


def damaged(data: bytes, change: Change) -> bytes:
    """Return a file's bytes after a change."""
    _, place, bits = change
    return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :] if bits else data[:place]


def run(count: int | None, seed: int) -> Figures:
    """Change every byte, or `count` seeded ones; reading must refuse and an audit name the very file."""
    return _run("An entry's bytes flipped, each in turn", flips, count, seed)


def run_cuts(count: int | None, seed: int) -> Figures:
    """Cut at every length, or at `count` seeded ones."""
    return _run("An entry's files cut at every length", cuts, count, seed)


def _entry(cache: Path) -> Entry:
    part = producer.make_part([digest(row) for row in range(ROWS)])
    entry = dataclasses.replace(locate_entry(cache, part, producer.BACKBONE, "fp32"), rows_per_shard=ROWS_PER_SHARD)
    producer.extract(entry)
    return entry


def _sample(trials: list[Change], count: int | None, seed: int) -> list[Change]:
    return trials if count is None else random.Random(seed).sample(trials, count)


def _run(name: str, changes: Callable[[dict[str, bytes], int], list[Change]], count: int | None, seed: int) -> Figures:
    with producer.workplace() as place:
        entry = _entry(place)
        files = producer.files(entry)
        trials = _sample(changes(files, seed), count, seed)

        def attempt(change: Change) -> str:
            path = entry.folder / change[0]
            path.write_bytes(damaged(files[change[0]], change))
            try:
                return _missed(entry, change[0])
            finally:
                path.write_bytes(files[change[0]])

        results = sweep(trials, attempt, limit=LIMIT)
    complaints = [line and f"{change}: {line}" for line, change in zip(results, trials, strict=True)]
    size = sum(map(len, files.values()))
    note = (
        f"2 shards, their records, samples.bin and entry.json: {size:,} bytes; reading refuses, an audit names the file"
    )
    return summed(name, complaints, note)


def _missed(entry: Entry, name: str) -> str:
    """Say what of a damage in a file goes unnoticed."""
    try:
        # An entry that was located, not opened, knows its samples, and needs no file of them.
        reading.read_features(reading.open_entry(entry.folder) if name == FILE_NAME else entry)
        return "read without a word"
    except ProbelineError as error:
        if name not in str(error):
            return f"reading names another file: {error}"
    except Exception as error:
        return f"reading fails without a name: {error!r}"
    for expected in (entry, None) if name in ("entry.json", FILE_NAME) else (entry,):
        findings = check_entry(entry.folder, expected).problems
        if len(findings) != 1 or name not in findings[0].message:
            return f"an audit finds {findings}"
    return ""


def run_plain(count: int | None, seed: int, *, checksums: bool = False) -> Figures:
    """Flip bytes of the larger shard and read it with plain h5py, as a control; with fletcher32, or as it is."""
    with producer.workplace() as place:
        entry = _entry(place / "entry")
        rows = entry.shards[0]
        values = producer.truth(entry)[: rows.stop]
        names = [name.encode() for name in entry.sample_ids[: rows.stop]]
        path = place / "plain.h5"
        if checksums:
            text = np.array(names, h5py.string_dtype("utf-8", len(names[0])))
            with h5py.File(path, "w", libver=("earliest", "v110")) as file:
                file.create_dataset("features/penultimate", data=values, chunks=values.shape, fletcher32=True)
                file.create_dataset("sample_ids", data=text, chunks=text.shape, fletcher32=True)
        else:
            path.write_bytes(entry.shard_path(0).read_bytes())
        data = path.read_bytes()
        trials = _sample(flips({path.name: data}, seed), count, seed)

        def attempt(change: Change) -> str:
            path.write_bytes(damaged(data, change))
            try:
                with h5py.File(path) as file:
                    found, ids = file["features/penultimate"][()], file["sample_ids"][()].tolist()
            except Exception:
                return "refused"
            return "unharmed" if np.array_equal(found, values) and ids == names else "wrong"

        results = sweep(trials, attempt, limit=3.0, memory=1 << 30)
    tally = {word: sum(line.startswith(word) for line in results) for word in ("wrong", "crashed", "hung", "unharmed")}
    lost = tally["wrong"] + tally["crashed"] + tally["hung"]
    note = (
        f"the larger shard, {len(data):,} bytes: {tally['wrong']:,} silent wrong reads, {tally['crashed']} crashes, "
        f"{tally['hung']} hangs; {tally['unharmed']:,} flips meant nothing"
    )
    name = "Plain h5py with fletcher32" if checksums else "Plain h5py"
    return Figures(
        f"For comparison: {name}, bytes flipped", len(results), len(results) - lost, lost, note, control=True
    )
