"""SIGKILL at random moments of the real command line, which goes on where it was killed."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from faults import producer
from faults.figures import Figures, summed
from probeline.cache import reading
from probeline.cache.check import check_entry
from probeline.cache.entry import ROWS_PER_SHARD

IMAGES = 2_500
"""Photos of 8 x 8 pixels, in shards of 1,024: extracting them takes a second or two."""


def run(count: int, seed: int, images: int = IMAGES) -> Figures:
    """Kill `count` commands while they write; the last one ends by itself, and leaves what one alone leaves."""
    moments = random.Random(seed)
    complaints: list[str] = []
    claimed = kept = 0
    with producer.workplace() as place:
        photos = _make_photos(place / "photos", images, seed)
        took = _extract(place / "whole", photos, None)[1]
        whole = _results(place / "whole")
        shards = math.ceil(images / ROWS_PER_SHARD)
        if len(whole) != shards + 1:
            raise RuntimeError(f"the uninterrupted command left {sorted(whole)}")
        number, cache = 0, place / "0"
        while len(complaints) < count or cache.exists():
            before = _proven(cache)
            killing = len(complaints) < count
            ended, lasted, error = _extract(cache, photos, moments.uniform(0, took) if killing else None)
            complaint = _complaint(cache, before)
            if ended:
                found = _results(cache)
                complaint = complaint or ("" if found == whole else f"other files: {sorted(found)} {error}")
                number, cache = number + 1, place / str(number + 1)
                took = min(took, lasted) if killing else took
                if complaint:
                    complaints.append(complaint)
            else:
                claimed = max(claimed, len(list(cache.rglob("*.lock"))))
                kept += len(_proven(cache))
                complaints.append(complaint)
    note = (
        f"probeline extract, squeezenet1_1, {images:,} images, {shards} shards, killed at work and started again until "
        f"it ended, {number} times over; at most {claimed} shards begun and not finished at a kill, {kept} kept"
    )
    return summed("SIGKILL of the real command line", complaints, note)


def _make_photos(root: Path, images: int, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (images, 8, 8, 3), np.uint8)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(root / "ab"[number % 2] / f"{number}.png")
    return root


def _extract(cache: Path, photos: Path, moment: float | None) -> tuple[bool, float, str]:
    """Run the command, and kill it so many seconds after its first claim on a shard appears.

    Returns whether it ended by itself, how long it took from there, and what it said.
    """
    for claim in cache.rglob("*.lock") if moment is not None else ():
        claim.unlink()  # of the one before, whose locks would be taken for this one's; the last command finds them
    command = [sys.executable, "-m", "probeline", "extract", "--dataset", f"folder:{photos}", "--cache", str(cache)]
    options = "--backbone squeezenet1_1 --weights none --image-size 32 --batch-size 16 --workers 1 --device cpu"
    child = subprocess.Popen(
        [*command, *options.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        while child.poll() is None and not list(cache.rglob("*.lock")):
            time.sleep(0.005)
        began = time.perf_counter()
        if moment is not None:
            try:
                child.wait(moment)
            except subprocess.TimeoutExpired:
                child.kill()
        _, error = child.communicate(timeout=300)
    finally:
        child.kill()
    return child.returncode >= 0, time.perf_counter() - began, f"{child.returncode} {error}"


def _entries(cache: Path) -> list[Path]:
    return list(reading.entry_folders(cache))


def _proven(cache: Path) -> set[int]:
    return {number for folder in _entries(cache) for number in check_entry(folder).verified}


def _complaint(cache: Path, before: set[int]) -> str:
    """Say what is bad in a cache, or no longer there."""
    for folder in _entries(cache):
        if findings := check_entry(folder).problems:
            return findings[0].message
    return f"gone: shards {before - _proven(cache)}" if before - _proven(cache) else ""


def _results(cache: Path) -> dict[str, bytes]:
    """Return the files that do not depend on when and where they were made."""
    files = [path for folder in _entries(cache) for path in folder.iterdir()]
    return {path.name: path.read_bytes() for path in files if path.suffix == ".h5" or path.name == "entry.json"}
