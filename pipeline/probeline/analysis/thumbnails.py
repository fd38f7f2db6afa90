"""Small copies of images for a record, as good as its room allows."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import asdict

from PIL import Image

from probeline.data.pixels.loading import open_image
from probeline.data.pixels.tiles import scaled, shrunk, webp
from probeline.identity import canonical
from probeline.results.thumbnail import Thumbnail
from probeline.types import DataSet

SIDE = 96
"""Pixels of a thumbnail's longer side, at most."""

_QUALITIES = (80, 60, 40, 20, 5)
"""The first is taken at which all of them are small enough, as noise hardly gets smaller by coding."""


def thumbnails(dataset: DataSet, names: Iterable[str], most: int) -> dict[str, Thumbnail]:
    """Return thumbnails of images, all of the best quality at which they take no more than `most` bytes as JSON.

    Parameters
    ----------
    dataset : DataSet
    names : iterable of str
        ``PART:ROW``; each image has one thumbnail.
    most : int
        Where not even the lowest quality is small enough, that one is returned.

    Raises
    ------
    BadData
        An image that cannot be read.
    """
    images = {name: _opened(dataset, name) for name in sorted(set(names))}
    tiny = {name for name, image in images.items() if 2 * max(image.size) <= SIDE}
    large = {name: scaled(image, SIDE) for name, image in images.items()}
    found: dict[str, Thumbnail] = {}
    for quality in _QUALITIES:
        # What is enlarged is made of squares: it keeps their edges, and costs no more for it.
        whole = tiny if quality == _QUALITIES[0] else set()
        found = {name: _thumbnail(image, None if name in whole else quality) for name, image in large.items()}
        if len(canonical({name: asdict(one) for name, one in found.items()})) <= most:
            break
    return found


def _opened(dataset: DataSet, name: str) -> Image.Image:
    part, _, row = name.rpartition(":")
    return shrunk(open_image(dataset.images[part], int(row)), SIDE)


def _thumbnail(image: Image.Image, quality: int | None) -> Thumbnail:
    return Thumbnail(image.width, image.height, base64.b64encode(webp(image, quality)).decode("ascii"))
