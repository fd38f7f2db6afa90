"""The most common errors of a backbone's rows, with the nearest train images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from probeline.format import percent
from probeline.report.model.content import ReportContent
from probeline.report.sections.images.tiles import Tile, small_image
from probeline.report.sections.section import ERRORS, Section, View
from probeline.results.decode import encode
from probeline.results.gallery import Gallery, Misclassified
from probeline.results.picture import PICTURE_FOLDER


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
        others = other_files([gallery.file for gallery in content.galleries[content.nets :]])
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


def other_files(files: Sequence[str]) -> str:
    """Return where the records are that the page has no room for; empty if it shows all."""
    return f"More are in the records: {', '.join(files)}." if files else ""


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
