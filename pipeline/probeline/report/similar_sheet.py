"""A sheet of similar images: each query, and the images near it with class, distance and row."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from probeline import disk
from probeline.analysis.similar.lines import Answers
from probeline.analysis.similar.queries import Query
from probeline.analysis.similar.search import CachedImages, SimilarImage
from probeline.data.pixels.loading import decode_item, open_image
from probeline.data.pixels.tiles import tile
from probeline.images import PixelArray
from probeline.report.figures.pictures import SimilarTile, rendered, similar
from probeline.report.figures.sheet import is_drawable, names
from probeline.text import printable

_SIDE = 160
"""Pixels of a picture."""

_DRAWN = 240
"""Pictures of a sheet at most."""


def draw_similar(cached: CachedImages, answers: Answers, title: str, path: Path) -> Path:
    """Write the pictures of as many queries and images as a sheet has room for, say so, and return its path.

    Raises
    ------
    BadData
        An image cannot be read.
    CannotWrite
    """
    per_query = 1 + max(len(images) for _, images in answers)
    shown = answers[: max(1, _DRAWN // per_query)]
    class_names = cached.session.dataset.class_names
    drawn: Mapping[str, str] = dict(zip(class_names, names(class_names), strict=True))
    rows = [
        [_query_tile(cached, query, drawn), *(_image_tile(cached, image, drawn) for image in images[: _DRAWN - 1])]
        for query, images in shown
    ]
    png = rendered(partial(similar, title, rows))
    disk.make_folder(path.parent)
    disk.publish(path, png, replace=True)
    left = f" of the first {len(shown)} of {len(answers)} queries" if len(shown) < len(answers) else ""
    cut = f" of the first {_DRAWN - 1} images" if per_query > _DRAWN else ""
    cached.session.console.say(f"similar: the pictures{cut or left} are in {path}")
    return path


def _image_tile(cached: CachedImages, image: SimilarImage, drawn: Mapping[str, str]) -> SimilarTile:
    """Return an image with its lines; `drawn` has the class names as the font can write them."""
    lines = [_drawable(image.class_name, drawn), f"{image.distance:.4f}", image.place]
    return SimilarTile(_pixels(cached, image.part, image.row), lines)


def _query_tile(cached: CachedImages, query: Query, drawn: Mapping[str, str]) -> SimilarTile:
    if query.image is not None:
        image = decode_item(query.image, query.name, cached.session.decoding)[0].image
        name = printable(Path(query.name).name)
        return SimilarTile(tile(image, _SIDE), ["query", name if is_drawable(name) else "a new image", ""])
    part, row = cached.locate(query.number or 0)
    return SimilarTile(_pixels(cached, part, row), ["query", _drawable(cached.label(part, row), drawn), query.name])


def _drawable(label: str | None, drawn: Mapping[str, str]) -> str:
    """Return a label as the font can write it, several labels or numbers only if it can."""
    if label is None or label in drawn:
        return "" if label is None else drawn[label]
    return label if is_drawable(label) else ""


def _pixels(cached: CachedImages, part: str, row: int) -> PixelArray:
    return tile(open_image(cached.session.dataset.images[part], row), _SIDE)
