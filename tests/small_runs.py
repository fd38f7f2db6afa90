"""Real runs small enough for tests: digits or a few photos, a random net, shards of a few rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from probeline.commands import extract
from probeline.console import Silence
from probeline.options.settings import Settings
from probeline.session import Session

ROWS = 16
"""Rows a shard here, so that 60 images make four shards."""


class Listening(Silence):
    """A console that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def configuration(cache: Path, **options: Any) -> Settings:
    small: dict[str, Any] = {
        "backbones": ("squeezenet1_1",),
        "weights": "none",
        "image_size": 32,
        "limit": 60,
        "batch_size": 6,
        "workers": 2,
        "reports": cache.parent / "reports",
    }
    return Settings.of(cache=cache, **{**small, **options})


def extracted(cache: Path, **options: Any) -> Session:
    extract.run(Session(configuration(cache, **options)))
    return Session(configuration(cache, **options))


def shards(cache: Path) -> dict[str, bytes]:
    """Return the bytes of all that does not depend on when and where it was made: entries and shards."""
    files = (path for path in cache.rglob("*") if path.suffix == ".h5" or path.name == "entry.json")
    return {str(path.relative_to(cache)): path.read_bytes() for path in sorted(files)}


def make_photos(root: Path, classes: tuple[str, ...] = ("ants", "bees"), *, n: int = 10, seed: int = 0) -> Path:
    """Make a folder of classes of `n` small JPEGs each."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(n):
            pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.jpg")
    return root


def make_coloured(root: Path, *, n: int = 14) -> Path:
    """Make a folder of three classes of `n` small PNGs each, whose strongest channel tells the class."""
    rng = np.random.default_rng(0)
    for channel, name in ((2, "blue"), (1, "green"), (0, "red")):
        (root / name).mkdir(parents=True)
        for number in range(n):
            pixels = rng.integers(0, 90, (40, 44, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(root / name / f"{number:02d}.png")
    return root


def smallest_size(name: str) -> int:
    """Return a size that the net takes, so that 80 nets are proven in a minute or two."""
    if name.startswith(("vit", "maxvit")):
        return 224
    return 75 if name == "inception_v3" else 64
