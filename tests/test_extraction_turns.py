"""Processes that share an extraction without locks: the entry is the same, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from probeline.cache.entry import Entry
from probeline.cache.reading import entry_folders, open_entry, read_features, verify_entry

ROWS, SHARDS, PROCESSES = 40, 24, 4
"""Rows of a shard; all shards but the last are whole."""

NET = """
import os, time, torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(12, 2)
    def forward(self, x):
        time.sleep(float(os.environ["SECONDS"]))
        with open(os.environ["LOG"], "ab", buffering=0) as log:
            log.write(b"%d\\n" % len(x))
        return self.fc(torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))

def make():
    torch.manual_seed(0)
    return Net()

preprocess = {"resize": 8, "crop": 8, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.25] * 3}
"""

PROGRAM = """
import errno, fcntl, os, sys
from probeline.cache import entry
from probeline.cli import main

entry.ROWS_PER_SHARD = {rows}

def refuse(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

fcntl.flock = refuse
sys.exit(main(sys.argv[1:]))
"""
"""The command line with small shards, on a file system without locks."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (SHARDS * ROWS - 7, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=images, y=np.arange(len(images)) % 3)
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def start(place: Path, cache: str, share: str | None, seconds: float = 0.02, **environ: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM.format(rows=ROWS), "extract", "--dataset", "arrays:images.npz"]
    command += ["--backbone", "python:net.py:make", "--cache", cache, "--workers", "1", "--batch-size", str(ROWS)]
    environment = {**os.environ, "LOG": str(place / f"{cache}.log"), "SECONDS": str(seconds), **environ}
    return subprocess.Popen(
        [*command, *(("--share", share) if share else ())],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def passes(place: Path, cache: str) -> int:
    """Return how many batches of a shard went through the net; the canary and tests of the net have fewer rows."""
    sizes = [int(line) for line in (place / f"{cache}.log").read_text().split()]
    return sum(size in (ROWS, ROWS - 7) for size in sizes)


def entry_in(cache: Path) -> Entry:
    (folder,) = entry_folders(cache)
    return open_entry(folder)


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
