"""Readers of one open entry: threads at work while the process is forked, and threads in the forks."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from faults import producer
from faults.children import Say, start
from faults.figures import Figures, summed
from probeline.cache.features import EntryFeatures, open_features
from probeline.types import FloatArray

SHARDS = 8
THREADS = 4
READINGS = 6
"""Of some random rows each, by every thread."""

LIMIT = 20.0
"""Seconds after which a fork counts as hung; its readings take a fraction of one."""

FRESH = """
import sys
sys.path.insert(0, sys.argv[1])
from faults import readers
figures = readers.run(2, int(sys.argv[2]))
sys.exit(figures.note if figures.lost else 0)
"""
"""A process that has read nothing yet, so that threads import what they use while it is forked."""


def run(count: int, seed: int) -> Figures:
    """Fork `count` times while threads read; every row that anyone reads must be the one that was written."""
    with producer.workplace() as place:
        entry = producer.make_entry(place, SHARDS)
        producer.extract(entry)
        values = producer.truth(entry)
        # Half of the shards stay in memory: the others are read from disk again and again.
        features = open_features(entry.folder, keep_bytes=values.nbytes // 2)
        stop = threading.Event()
        complaints: list[str] = []
        with ThreadPoolExecutor(THREADS) as pool:
            at_work = [pool.submit(_until, stop, features, values, seed + number) for number in range(THREADS)]
            try:
                for number in range(count):

                    def work(say: Say, number: int = number) -> None:
                        with ThreadPoolExecutor(THREADS) as readers:
                            seeds = [(seed, number, thread) for thread in range(THREADS)]
                            found = readers.map(lambda one: _read(features, values, hash(one)), seeds)
                            say("; ".join(filter(None, found)).encode())

                    ended = start(work, LIMIT).finish()
                    complaints.append(ended.complaint or ended.output.decode())
            finally:
                stop.set()
            readings = [future.result() for future in at_work]
    complaints += [complaint for _, complaint in readings if complaint]
    note = (
        f"{THREADS} threads each, half of the {SHARDS} shards in memory; meanwhile {THREADS} threads of the parent "
        f"read {sum(number for number, _ in readings):,} times"
    )
    return summed("Forks of a process whose threads read", complaints, note)


def run_fresh(count: int, seed: int) -> Figures:
    """Do so in `count` processes that are new, two forks each."""
    complaints = []
    for number in range(count):
        command = [sys.executable, "-c", FRESH, str(Path(__file__).parents[1]), str(seed + number)]
        complaints.append(subprocess.run(command, capture_output=True, text=True, timeout=300).stderr.strip())
    note = "two forks of each, while the first reading of its threads is under way"
    return summed("Forks of a process that has just begun to read", complaints, note)


def _until(stop: threading.Event, features: EntryFeatures, values: FloatArray, seed: int) -> tuple[int, str]:
    """Read until stopped; return how often, and what was wrong."""
    number = 0
    while not stop.is_set():
        number += READINGS
        if complaint := _read(features, values, seed + number):
            return number, complaint
    return number, ""


def _read(features: EntryFeatures, values: FloatArray, seed: int) -> str:
    chance = random.Random(seed)
    for _ in range(READINGS):
        rows = [chance.randrange(len(values)) for _ in range(chance.randrange(1, 20))]
        if not np.array_equal(features[rows], values[rows]):
            return f"other rows than were written: {rows}"
    return "" if np.array_equal(features.numpy(), values) else "other rows than were written"
