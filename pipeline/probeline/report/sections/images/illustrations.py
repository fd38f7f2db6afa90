"""Pictures, the most common errors with the nearest train images, and embedding maps."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from typing import Any

from probeline.files.decode import encode
from probeline.files.reading import IMAGE, read_bytes
from probeline.format import escape, percent
from probeline.report.model.content import ReportContent
from probeline.report.sections.section import DATA, ERRORS, Section, View
from probeline.results.illustrations.embedding_map import EmbeddingMap
from probeline.results.illustrations.gallery import Gallery, Misclassified
from probeline.results.illustrations.picture import PICTURE_FOLDER, Thumbnail


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


MAX_BYTES = 3_000_000
"""Of all pictures of a page, so that the page stays below 5 MB."""

_QUALITIES = (85, 70, 50, 30)
"""Of WebP, tried in this order at full size, then at half of it."""

_FACTS = ("kind", "backbone", "weights", "title", "caption", "alt", "sha256")
"""Of a picture, in report.json; its source is in its own record."""


class Pictures(Section):
    name, title, group = "pictures", "Pictures", DATA

    def markdown(self, content: ReportContent) -> str | None:
        pictures = (
            f"![{escape(picture.alt)}]({PICTURE_FOLDER}/{picture.png})\n\n{escape(picture.caption)}"
            for picture in content.pictures
        )
        return "\n\n".join(pictures) or None

    def view(self, content: ReportContent) -> View | None:
        pictures = content.pictures
        if not pictures:
            return None
        room = MAX_BYTES // len(pictures) * 3 // 4  # base64 makes four letters of three bytes
        embedded = []
        for picture in pictures:
            kind, data, (width, height) = fit_picture(
                read_bytes(content.folder / PICTURE_FOLDER / picture.png, IMAGE), room
            )
            source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
            embedded.append(
                {"source": source, "alt": picture.alt, "caption": picture.caption, "width": width, "height": height}
            )
        return View("pictures.html", {"pictures": embedded})

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        return {
            "pictures": [
                {**{name: getattr(picture, name) for name in _FACTS}, "file": f"{PICTURE_FOLDER}/{picture.png}"}
                for picture in content.pictures
            ]
        }


def fit_picture(png: bytes, room: int) -> tuple[str, bytes, tuple[int, int]]:
    """Return a picture's format, bytes and size: unchanged, or as WebP if it has more than `room` bytes."""
    from PIL import Image

    with Image.open(BytesIO(png)) as image:
        size = image.size
        if len(png) <= room:
            return "png", png, size
        pixels = image.convert("RGB")
    while True:
        for quality in _QUALITIES:
            data = BytesIO()
            pixels.save(data, "WEBP", quality=quality, method=4)
            if len(data.getvalue()) <= room or max(pixels.size) <= 64:
                return "webp", data.getvalue(), size
        pixels = pixels.resize((max(1, pixels.width // 2), max(1, pixels.height // 2)), Image.Resampling.LANCZOS)


class Galleries(Section):
    name, title, group = "galleries", "Most common errors", ERRORS

    def view(self, content: ReportContent) -> View | None:
        if not content.galleries:
            return None
        galleries = [
            {
                "title": gallery.title,
                "caption": gallery.caption,
                "tiles": [_tile(gallery, image) for image in gallery.images],
            }
            for gallery in content.galleries[: content.nets]
        ]
        others = _other_files([gallery.file for gallery in content.galleries[content.nets :]])
        return View("galleries.html", {"galleries": galleries, "others": others})

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        return {
            "galleries": [
                {**gallery_facts(gallery), "file": f"{PICTURE_FOLDER}/{gallery.file}"} for gallery in content.galleries
            ]
        }


def gallery_facts(gallery: Gallery) -> dict[str, Any]:
    """Return a gallery as JSON values, without its images."""
    return {name: value for name, value in encode(gallery).items() if name not in ("of", "thumbnails")}


def _tile(gallery: Gallery, image: Misclassified) -> Tile:
    by_probe = image.predicted[gallery.probe]
    wrong = Counter(name for name in image.predicted if name != image.true)
    lines = [
        f"{image.true}, misclassified by {image.wrong} of {len(gallery.rows)} rows",
        "predicted: " + ", ".join(f"{name} ({n})" for name, n in wrong.most_common()),
    ]
    if image.chance is not None and image.true_chance is not None:
        probabilities = f"{by_probe} {percent(image.chance, 1)} %"
        if by_probe != image.true:
            probabilities += f", {image.true} {percent(image.true_chance, 1)} %"
        lines.append(f"{gallery.rows[gallery.probe].title}: {probabilities}")
    by_class = sorted(zip(image.predicted, (row.title for row in gallery.rows), strict=True))
    details = [
        f"{name}: {'; '.join(title for _, title in rows)}" for name, rows in groupby(by_class, key=lambda pair: pair[0])
    ]
    nearest = [
        small_image(
            gallery.thumbnails,
            neighbour.name,
            f"Near: train image {neighbour.sample_id}",
            f"{neighbour.true} {neighbour.cosine:.2f}",
        )
        for neighbour in image.neighbours
    ]
    alt = f"Test image {image.sample_id}, {image.true}, predicted {', '.join(sorted(wrong))}"
    return Tile((small_image(gallery.thumbnails, image.name, alt),), tuple(nearest), tuple(lines), tuple(details))


class EmbeddingMaps(Section):
    name, title, group = "maps", "Embedding map", DATA

    def view(self, content: ReportContent) -> View | None:
        if not content.maps:
            return None
        names = [shown.figure for shown in content.maps[: content.nets]]
        figures = [content.figures[name] for name in names if name in content.figures]
        others = _other_files([other.file for other in content.maps[content.nets :]])
        return View("maps.html", {"figures": figures, "others": others})

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        maps = content.maps
        return {"maps": [{**map_facts(shown), "file": f"{PICTURE_FOLDER}/{shown.file}"} for shown in maps]}


def map_facts(embedding_map: EmbeddingMap) -> dict[str, Any]:
    """Return a map as JSON values, without its points."""
    names = ("backbone", "weights", "tap", "n_test", "part", "judge", "title", "caption", "alt")
    return {
        **{name: getattr(embedding_map, name) for name in names},
        "shown": len(embedding_map.rows),
        "wrong": sum(embedding_map.wrong),
        "planes": [
            {"method": plane.method, "title": plane.title, "facts": dict(plane.facts)} for plane in embedding_map.planes
        ],
    }


def _other_files(files: Sequence[str]) -> str:
    """Return where the records are that the page has no room for; empty if it shows all."""
    return f"More are in the records: {', '.join(files)}." if files else ""
