"""Real runs small enough for tests: digits or a few photos, a random net, shards of a few rows."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from probeline.backbones.sources.torchvision import names as torchvision_names
from probeline.commands import extract
from probeline.console import Bar, Silence
from probeline.images import ImageArray, ImageFiles
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


class WatchedPixels(np.ndarray[Any, Any]):
    """Images in memory that call `watch` with the row of each before it is read."""

    watch: Callable[[int], object]

    def __getitem__(self, row: Any) -> Any:
        for one in np.atleast_1d(row):
            self.watch(int(one))
        return np.asarray(self)[row]


class WatchedPaths(tuple[Path, ...]):
    """Paths of images that call `watch` with the row of each before it is read."""

    watch: Callable[[int], object]

    def __getitem__(self, row: Any) -> Any:
        self.watch(row)
        return super().__getitem__(row)


def watched(images: ImageArray | ImageFiles, watch: Callable[[int], object]) -> ImageArray | ImageFiles:
    """Return images of which `watch` is told the row of each before it is read."""
    if isinstance(images, ImageArray):
        pixels = images.pixels.view(WatchedPixels)
        pixels.watch = watch
        return ImageArray(pixels)
    paths = WatchedPaths(images.paths)
    paths.watch = watch
    return replace(images, paths=paths)


def watch_images(session: Session, watch: Callable[[int], object]) -> Session:
    """Return the session, whose data set calls `watch` with the row of each image before it is read."""
    images = {part: watched(images, watch) for part, images in session.dataset.images.items()}
    session.__dict__["dataset"] = replace(session.dataset, images=images)
    return session


def unreadable(row: int) -> None:
    """A watch that lets no image be read."""
    raise AssertionError(f"image {row} was read")


class Stopping(Silence):
    """A console whose bars interrupt a training once `images` of it are done."""

    def __init__(self, images: int) -> None:
        self.left = images

    @contextmanager
    def bar(self, title: str, total: int | None, unit: str) -> Iterator[Bar]:
        with super().bar(title, total, unit) as silent:
            yield self if title.startswith("finetune") else silent

    def update(self, n: int) -> None:
        self.left -= n
        if self.left < 0:
            raise KeyboardInterrupt


@contextmanager
def small_shards() -> Iterator[None]:
    """Have entries whose shards hold a few rows."""
    with pytest.MonkeyPatch.context() as patch:
        # First the importer: it must not be imported while the other has few rows, and keep them.
        patch.setattr("probeline.cache.exchange.ROWS_PER_SHARD", ROWS)
        patch.setattr("probeline.cache.entry.ROWS_PER_SHARD", ROWS)
        yield


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


def extracted(cache: Path, *, watch: Callable[[int], object] | None = None, **options: Any) -> Session:
    """Extract, with `watch` told the row of each image before it is read; return a new session on the cache."""
    session = Session(configuration(cache, **options))
    extract.run(watch_images(session, watch) if watch else session)
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


def torchvision_nets(quick: Collection[str], families: Collection[str]) -> list[Any]:
    """Return the names of all nets as parameters: `quick` ones, slow others of `families`, and the rest of `nets`."""
    return [
        pytest.param(name, marks=() if name in quick else pytest.mark.slow if name in families else pytest.mark.nets)
        for name in torchvision_names()
    ]


def smallest_size(name: str) -> int:
    """Return a size that the net takes, so that 80 nets are proven in a minute or two."""
    if name.startswith(("vit", "maxvit")):
        return 224
    return 75 if name == "inception_v3" else 64


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few hundred bytes that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
