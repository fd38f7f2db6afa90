"""Tiles of thumbnails with text, as the galleries and the data doctor show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from probeline.results.picture import Thumbnail


@dataclass(frozen=True)
class SmallImage:
    """A thumbnail: its source, alternative text, size, and the text below it."""

    source: str
    alt: str
    width: int
    height: int
    words: str = ""


@dataclass(frozen=True)
class Tile:
    """Large images, lines of text, smaller images, and details that are folded."""

    images: tuple[SmallImage, ...]
    beside: tuple[SmallImage, ...]
    lines: tuple[str, ...]
    details: tuple[str, ...] = ()


def small_image(thumbnails: Mapping[str, Thumbnail], name: str, alt: str, words: str = "") -> SmallImage:
    """Return a thumbnail by its name."""
    thumbnail = thumbnails[name]
    return SmallImage(thumbnail.uri, alt, thumbnail.width, thumbnail.height, words)
