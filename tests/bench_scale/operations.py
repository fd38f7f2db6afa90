"""What a cache does with an entry of many rows, each operation in a process of its own: CPU seconds and memory.

    python tests/bench_scale/operations.py OPERATION ROWS FOLDER

The part is made of numbers, and the features are not there: what is measured is all but reading and computing them.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from probeline.cache.entry import Entry, locate_entry
from probeline.cache.format.records import ShardRecord
from probeline.cache.locks import ShardLocks
from probeline.cache.reading import gather_rows, missing_shards, open_entry
from probeline.cache.reuse import KnownRows
from probeline.cache.writing import write_entry
from probeline.extraction.requests import ShardRequest, rows_to_run
from probeline.files.decode import encode
from probeline.identity import SHARD_FORMAT_VERSION, seal
from probeline.images import Preprocess
from probeline.types import Backbone, Part

DIM = 8
"""Values per row: few, since rows are counted here and not values."""

MOST_ROWS = 1_280_000
"""Of those that are gathered in random order."""


def make_entry(rows: int, cache: Path) -> Entry:
    ids = tuple(f"train/n{row // 1300:08d}/n{row // 1300:08d}_{row}.jpg" for row in range(rows))
    content = tuple(hashlib.sha256(b"%d" % row).hexdigest() for row in range(rows))
    part = Part("made", "train", ids, content, np.zeros(rows, np.int64), ("one",))
    preprocess = Preprocess(232, 224, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    net = Backbone("net", "none", "0" * 64, "penultimate", "avg", DIM, 1, 0, preprocess)
    return locate_entry(cache, part, net, "fp32")


def begin(rows: int, cache: Path) -> Callable[[], object]:
    """Write the record of an entry, and read it."""
    entry = make_entry(rows, cache)
    assert entry.key
    return lambda: write_entry(entry)


def opened(cache: Path) -> Entry:
    return open_entry(next(cache.glob("*/*/*/entry.json")).parent)


def open_again(rows: int, cache: Path) -> Callable[[], object]:
    """Open an entry from its own record."""
    del rows
    return lambda: opened(cache)


def nothing_to_do(rows: int, cache: Path) -> Callable[[], object]:
    """Find that every shard has its record."""
    entry = make_entry(rows, cache)
    shards = entry.shards
    for number, shard in enumerate(shards):
        record = ShardRecord(
            format=SHARD_FORMAT_VERSION,
            key=entry.key,
            shard=number,
            rows=(shard.start, shard.stop),
            bytes=1,
            file_sha256="0" * 64,
            provenance={"seconds": 1.0},
        )
        entry.record_path(number).write_bytes(seal(encode(record)))

    def run() -> None:
        assert missing_shards(entry) == []

    return run


def order(rows: int, cache: Path) -> Callable[[], object]:
    """Find the rows of each shard that must be computed, where half of all are known, and lock one after another."""
    entry = make_entry(rows, cache / "locks")
    shards = list(range(len(entry.shards)))
    half = np.arange(0, rows, 2, dtype=np.int64)
    unknown = np.zeros((len(half), 0), np.float32)
    known = KnownRows(half, unknown, np.zeros(len(half)), np.zeros(len(half), np.int64), (), ())
    request = ShardRequest(entry, shards, known)
    entry.folder.mkdir(parents=True)

    def run() -> None:
        assert sum(len(rows_to_run([request], shard)) for shard in shards) == rows // 2
        with ShardLocks(entry, shards) as locks:
            for number in locks.lock_all():
                locks.release(number)

    return run


def random_rows(rows: int, cache: Path) -> Callable[[], object]:
    """Gather rows in random order from blocks that are in memory."""
    entry = make_entry(rows, cache)
    block = np.zeros((entry.rows_per_shard, DIM), np.float32)
    wanted = np.random.default_rng(0).integers(rows, size=min(rows, MOST_ROWS))
    return lambda: gather_rows(entry, wanted, lambda number: block)


OPERATIONS = {each.__name__: each for each in (begin, open_again, nothing_to_do, order, random_rows)}


def _peak_bytes() -> int:
    """Return the most memory that this process had since the last call of `_forget_peak`."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _forget_peak() -> None:
    with suppress(OSError):  # Linux alone can: elsewhere what was made before counts
        Path("/proc/self/clear_refs").write_text("5")


def measure(operation: str, rows: int, cache: Path) -> dict[str, Any]:
    run = OPERATIONS[operation](rows, cache)
    _forget_peak()
    before, began, wall = _peak_bytes(), time.process_time(), time.perf_counter()
    run()
    return {
        "cpu_seconds": time.process_time() - began,
        "wall_seconds": time.perf_counter() - wall,
        "bytes": _peak_bytes() - before,
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
