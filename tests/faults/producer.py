"""Entries made without a net: features are a function of the content alone, so each row can be checked."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from probeline.cache import reading, writing
from probeline.cache.check import check_entry
from probeline.cache.entry import Entry, locate_entry
from probeline.cache.locks import POLL_SECONDS, ShardLocks
from probeline.cache.samples import FILE_NAME
from probeline.environment import environment
from probeline.identity import digest
from probeline.images import Preprocess
from probeline.types import Backbone, FloatArray, Part

DIM = 8
ROWS = 8
"""Rows a shard."""

FACTS = {**environment(), "seconds": 1.0}
"""A provenance that is the same each time, so that records are too."""

BACKBONE = Backbone(
    name="made",
    weights="none",
    weights_sha256="0" * 64,
    tap="penultimate",
    pooling="none",
    dim=DIM,
    parameters=1,
    head_parameters=1,
    preprocess=Preprocess(36, 32, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
)


@contextmanager
def workplace() -> Iterator[Path]:
    """Yield a new folder, in memory where there is such a file system: disks sync slowly and are not under test."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(
        prefix="probeline-faults-", dir=memory if os.access(memory, os.W_OK) else None
    ) as folder:
        yield Path(folder)


def make_part(contents: Sequence[str], *, names: Sequence[str] | None = None, dataset: str = "made") -> Part:
    """Return a part whose samples have these contents, sha256 each, and names that are given or follow from them."""
    ids = tuple(f"sample/{content[:12]}" for content in contents) if names is None else tuple(names)
    labels = np.arange(len(ids), dtype=np.int64) % 2
    return Part(dataset, "all", ids, tuple(contents), labels, ("a", "b"))


def make_entry(cache: Path, shards: int) -> Entry:
    """Return an entry of so many shards, the last one short; nothing is written."""
    part = make_part([digest(row) for row in range(shards * ROWS - 3)])
    return dataclasses.replace(locate_entry(cache, part, BACKBONE, "fp32"), rows_per_shard=ROWS)


def embed(contents: Sequence[str]) -> FloatArray:
    """Return the features float32 [n, D] of contents."""
    values = np.array([list(bytes.fromhex(content)[:DIM]) for content in contents])
    return ((values - 128) / 7).astype(np.float32)


def truth(entry: Entry) -> FloatArray:
    """Return what every row of an entry must be, float32 [N, D]."""
    return embed(entry.content)


def extract(
    entry: Entry,
    *,
    started: Callable[[int], object] = lambda number: None,
    done: Callable[[int], object] = lambda number: None,
    change: Callable[[FloatArray], FloatArray] = lambda values: values,
    poll_seconds: float = POLL_SECONDS,
) -> None:
    """Write the shards that are missing, as the engine does: claimed, computed, written, given up.

    Parameters
    ----------
    entry : Entry
    started, done : callable
        Told the number of a shard before its features are computed, and once it is written.
    change : callable
        Makes other features of the right ones.
    poll_seconds : float
        Between two tries of shards that other processes have locked.
    """
    values = change(truth(entry))
    shards = reading.missing_shards(entry)
    writing.write_entry(entry)
    with ShardLocks(entry, shards) as locks:
        while locks.are_pending:
            for number in locks.lock_all():
                started(number)
                rows = entry.shards[number]
                writing.write_shard(entry, number, values[rows.start : rows.stop], FACTS)
                done(number)
                locks.release(number)
            locks.wait(poll_seconds)


def files(entry: Entry) -> dict[str, bytes]:
    """Return the files of an entry that its format names."""
    suffixes = (".h5", ".json", ".bin")
    return {path.name: path.read_bytes() for path in sorted(entry.folder.glob("*")) if path.suffix in suffixes}


def clean(shards: int) -> dict[str, bytes]:
    """Return the files of an entry that one writer made without a fault."""
    with workplace() as place:
        entry = make_entry(place, shards)
        extract(entry)
        return files(entry)


def complaint(entry: Entry) -> str:
    """Say what is wrong with an entry that may be incomplete, or nothing: each record must be kept by its shard."""
    if not (entry.folder / "entry.json").exists():
        # The samples come before the record, and are nothing without it.
        left = [name for name in files(entry) if name != FILE_NAME] if entry.folder.is_dir() else []
        return f"shards without entry.json: {left}" if left else ""
    checked = check_entry(entry.folder, entry)
    if checked.problems:
        return checked.problems[0].message
    values = truth(entry)
    for number in checked.verified:
        rows = entry.shards[number]
        if not np.array_equal(reading.read_shard(entry, number)[0], values[rows.start : rows.stop]):
            return f"corrupt rows accepted: shard {number}"
    return ""


def proven(entry: Entry) -> set[int]:
    """Return the shards that an audit proves."""
    return set(check_entry(entry.folder, entry).verified) if entry.folder.is_dir() else set()


def resumed(entry: Entry, expected: dict[str, bytes]) -> str:
    """Run the extraction once more, and say where its files are not the expected ones."""
    try:
        extract(entry)
    except Exception as error:
        return f"the next run fails: {error!r}"
    found = files(entry)
    differing = [name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)]
    return f"the next run leaves other bytes: {sorted(differing)}" if differing else complaint(entry)
