"""Similar images from Python."""

from __future__ import annotations

from collections.abc import Sized
from numbers import Integral
from pathlib import Path
from typing import Any

from PIL import Image

from probeline.analysis.similar.search import CachedImages, Item, SimilarImage
from probeline.errors import BadData, BadOption
from probeline.export.images import pixels_of
from probeline.files.paths import path_of
from probeline.files.reading import IMAGE, read_bytes


def find_similar(cached: CachedImages, image: Any, k: int, *, approximate: bool) -> list[SimilarImage]:
    """Return the k cached images nearest to an image or a row, as `Features.similar` takes them."""
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise BadOption("bad k", expected="a whole number from 1", got=k)
    if isinstance(image, Integral) and not isinstance(image, bool):
        return cached.by_rows([_row(image, cached)], int(k), approximate=approximate)[0]
    name = str(image) if isinstance(image, str | Path) else f"a {type(image).__name__}"
    return cached.by_images([_item(image)], [name], int(k), approximate=approximate)[0]


def _row(number: Any, cached: Sized) -> int:
    if not 0 <= number < len(cached):
        raise BadOption("no such row", expected=f"0 to {len(cached) - 1}", got=number)
    return int(number)


def _item(image: Any) -> Item:
    """Return an image as bytes or opened; BadData for what is no image."""
    if isinstance(image, Image.Image):
        return image
    if not isinstance(image, str | Path):
        return Image.fromarray(pixels_of(image))
    try:
        return read_bytes(path_of(image).expanduser(), IMAGE)
    except OSError as error:
        raise BadData("image cannot be read", where=image, got=error.strerror) from error
