"""Small pictures that belong together, with their words: what galleries and the doctor's findings are shown as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from probeline.results.thumbnail import Thumbnail


@dataclass(frozen=True)
class Small:
    """A small picture: its source, what it shows, its size, and the words below it."""

    source: str
    alt: str
    width: int
    height: int
    words: str = ""


@dataclass(frozen=True)
class Tile:
    """Pictures that belong together: the first large, others beside it, and lines of words."""

    images: tuple[Small, ...]
    beside: tuple[Small, ...]
    lines: tuple[str, ...]
    details: tuple[str, ...] = ()


def small(thumbnails: Mapping[str, Thumbnail], name: str, alt: str, words: str = "") -> Small:
    """Return a thumbnail by its name."""
    one = thumbnails[name]
    return Small(one.uri, alt, one.width, one.height, words)
