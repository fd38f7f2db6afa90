"""A small data set in many small shards, a net that counts its passes, and processes on a file system without locks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

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


def make_place(folder: Path) -> Path:
    """Write the images and the net into a folder, and return it."""
    images = np.random.default_rng(0).integers(0, 256, (SHARDS * ROWS - 7, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "images.npz", x=images, y=np.arange(len(images)) % 3)
    (folder / "net.py").write_text(NET)
    return folder


def start(
    place: Path, cache: str, share: str | None, seconds: float = 0.02, *words: str, **environ: str
) -> subprocess.Popen[str]:
    """Start an extraction in a process of its own, whose net takes so many seconds for a shard."""
    command = [sys.executable, "-c", PROGRAM.format(rows=ROWS), "extract", "--dataset", "arrays:images.npz"]
    command += ["--backbone", "python:net.py:make", "--cache", cache, "--workers", "1", "--batch-size", str(ROWS)]
    environment = {**os.environ, "LOG": str(place / f"{cache}.log"), "SECONDS": str(seconds), **environ}
    return subprocess.Popen(
        [*command, *(("--share", share) if share else ()), *words],
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
