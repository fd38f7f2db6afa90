"""Tiles of thumbnails with text, as the galleries and the data doctor show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from probeline.results.thumbnail import Thumbnail


@dataclass(frozen=True)
class SmallImage:
    """A thumbnail: its source, alternative text, size, and the text below it."""

    source: str
    alt: str
    width: int
    height: int
    text: str = ""


@dataclass(frozen=True)
class Tile:
    """Large images, the smaller nearest ones, lines of text, and details that are folded."""

    images: tuple[SmallImage, ...]
    nearest: tuple[SmallImage, ...]
    lines: tuple[str, ...]
    details: tuple[str, ...] = ()


def small_image(thumbnails: Mapping[str, Thumbnail], name: str, alt: str, text: str = "") -> SmallImage:
    """Return a thumbnail by its name."""
    thumbnail = thumbnails[name]
    return SmallImage(thumbnail.uri, alt, thumbnail.width, thumbnail.height, text)
