"""Processes that share an extraction without locks: the entry is the same, whoever is killed."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest

from probeline.cache.reading import read_features, verify_entry
from small_crews import entry_in
from small_shares import PROCESSES, SHARDS, make_place, passes, start


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return make_place(tmp_path)


@pytest.mark.slow
def test_four_processes_write_what_one_writes(place: Path) -> None:
    one = start(place, "alone", None)
    line, _ = one.communicate()
    assert one.returncode == 0, line
    processes = [start(place, "shared", f"{number + 1}/{PROCESSES}") for number in range(PROCESSES)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES, said
    assert "extract: process 2 of 4: its shards first, then the rest" in said[1]
    alone, shared = entry_in(place / "alone"), entry_in(place / "shared")
    verify_entry(shared)
    np.testing.assert_array_equal(read_features(shared).features, read_features(alone).features)
    assert shared.key == alone.key
    assert passes(place, "alone") == SHARDS
    assert SHARDS <= passes(place, "shared") <= SHARDS + PROCESSES**2
    assert not list(shared.folder.glob("*.lock"))


@pytest.mark.slow
def test_those_that_live_do_the_work_of_those_that_are_killed(place: Path) -> None:
    processes = [
        start(place, "shared", None, 0.3 if number == 0 else 0.1, RANK=str(number), WORLD_SIZE=str(PROCESSES))
        for number in range(PROCESSES)
    ]
    folders = place / "shared"
    deadline = time.monotonic() + 60
    while sum(1 for _ in folders.glob("*/*/*/shard-*.json")) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in processes[2:]:
        process.send_signal(signal.SIGKILL)
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, -signal.SIGKILL, -signal.SIGKILL], said
    assert "process 1 of 4, as torchrun says" in said[0]
    shared = entry_in(folders)
    assert verify_entry(shared) > 0
    assert passes(place, "shared") <= SHARDS + PROCESSES**2
