"""Thumbnails for a record, at the best quality that its size limit allows."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import asdict

from PIL import Image

from probeline.data.pixels.loading import open_image
from probeline.data.pixels.tiles import encode_webp, scale, shrink
from probeline.identity import canonical
from probeline.results.illustrations.picture import Thumbnail
from probeline.types import DataSet

SIDE = 96
"""Pixels of a thumbnail's longer side at most."""

_QUALITIES = (80, 60, 40, 20, 5)
"""WebP qualities, tried in turn until all thumbnails together are small enough: noise hardly compresses."""


def make_thumbnails(dataset: DataSet, names: Iterable[str], max_bytes: int) -> dict[str, Thumbnail]:
    """Return thumbnails by name, ``PART:ROW``, all at the best quality at which they take `max_bytes` as JSON.

    The limit is exceeded only if the lowest quality does not reach it.

    Raises
    ------
    BadData
        An image cannot be read.
    """
    images = {name: _open(dataset, name) for name in sorted(set(names))}
    tiny = {name for name, image in images.items() if 2 * max(image.size) <= SIDE}
    large = {name: scale(image, SIDE) for name, image in images.items()}
    thumbnails: dict[str, Thumbnail] = {}
    for quality in _QUALITIES:
        # An enlarged image consists of squares: lossless coding keeps their edges at no extra cost.
        lossless = tiny if quality == _QUALITIES[0] else set()
        thumbnails = {name: _thumbnail(image, None if name in lossless else quality) for name, image in large.items()}
        if len(canonical({name: asdict(thumbnail) for name, thumbnail in thumbnails.items()})) <= max_bytes:
            break
    return thumbnails


def _open(dataset: DataSet, name: str) -> Image.Image:
    part, _, row = name.rpartition(":")
    return shrink(open_image(dataset.images[part], int(row)), SIDE)


def _thumbnail(image: Image.Image, quality: int | None) -> Thumbnail:
    return Thumbnail(image.width, image.height, base64.b64encode(encode_webp(image, quality)).decode("ascii"))
