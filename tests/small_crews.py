"""A small data set in six shards, and a net that can do harm to the process that runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from probeline.cache.entry import ROWS_PER_SHARD, Entry
from probeline.cache.reading import entry_folders, open_entry, read_features, verify_entry

SHARDS = 6

NET = """
import glob, os, pathlib, signal, sys, time, torch

share = sys.argv[sys.argv.index("--share") + 1] if "--share" in sys.argv else ""

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(12, 2)

    def forward(self, x):
        time.sleep(float(os.environ.get("SECONDS", 0)) if share else 0)
        victim = os.environ.get("VICTIM")
        flag = pathlib.Path("killed-" + (share if victim == "all" else victim or "").replace("/", "-"))
        if share and victim in (share, "all"):
            if not flag.exists() and glob.glob("shared/*/*/*/shard-*.json"):
                flag.touch()
                os.kill(os.getppid() if "PARENT" in os.environ else os.getpid(), signal.SIGKILL)
                time.sleep(60)
        elif share and victim:
            deadline = time.monotonic() + 60
            while not flag.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
        return self.fc(torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))

def make():
    if share and "BROKEN" in os.environ:
        raise ValueError("out of order")
    torch.manual_seed(0)
    return Net()

preprocess = {"resize": 8, "crop": 8, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.25] * 3}
"""
"""A victim among the workers kills itself, or its parent, once a shard is written; the others wait for that."""

COMMAND = ["extract", "--dataset", "arrays:images.npz", "--backbone", "python:net.py:make"]
COMMAND += ["--workers", "1", "--batch-size", str(ROWS_PER_SHARD)]


def make_place(folder: Path) -> Path:
    """Write the images and the net into a folder, and return it."""
    images = np.random.default_rng(0).integers(0, 256, (SHARDS * ROWS_PER_SHARD - 5, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "images.npz", x=images, y=np.arange(len(images)) % 3)
    (folder / "net.py").write_text(NET)
    return folder


def entry_in(cache: Path) -> Entry:
    """Return the only entry of a cache."""
    (folder,) = entry_folders(cache)
    return open_entry(folder)


def assert_same(shared: Path, alone: Path) -> None:
    """Two caches have one entry, which is complete and the same."""
    entries = entry_in(shared), entry_in(alone)
    assert entries[0].key == entries[1].key
    assert verify_entry(entries[0]) > 0
    np.testing.assert_array_equal(*(read_features(entry).features for entry in entries))
