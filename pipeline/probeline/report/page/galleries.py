"""What the rows of a net have wrong, with what lies near it, and the map of its embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from probeline.format import percent
from probeline.report.page.content import Content, View
from probeline.report.page.tile import Tile, small
from probeline.results.gallery import Gallery, Misclassified


def galleries_view(content: Content) -> View | None:
    """Return the galleries of the first few nets; None where there are none."""
    found = content.beside.galleries
    if not found:
        return None
    return {
        "galleries": [
            {
                "title": one.title,
                "caption": one.caption,
                "tiles": [_missed(one, image) for image in one.images],
            }
            for one in found[: content.nets]
        ],
        "others": _others([one.file for one in found[content.nets :]]),
    }


def maps_view(content: Content) -> View | None:
    """Return the figures of the maps of the first few nets; None where there are none."""
    found = content.beside.maps
    if not found:
        return None
    figures = [content.figures[one.figure] for one in found[: content.nets] if one.figure in content.figures]
    return {"figures": figures, "others": _others([one.file for one in found[content.nets :]])}


def _others(files: Sequence[str]) -> str:
    return f"More are in the records: {', '.join(files)}." if files else ""


def _missed(gallery: Gallery, image: Misclassified) -> Tile:
    said = image.predicted[gallery.probe]
    taken = Counter(name for name in image.predicted if name != image.true)
    lines = [
        f"{image.true}, wrong in {image.wrong} of {len(gallery.rows)} rows",
        "taken for " + ", ".join(f"{name} ({n})" for name, n in taken.most_common()),
    ]
    if image.chance is not None and image.true_chance is not None:
        chances = f"{said} {percent(image.chance, 1)} %"
        if said != image.true:
            chances += f", {image.true} {percent(image.true_chance, 1)} %"
        lines.append(f"{gallery.rows[gallery.probe].title}: {chances}")
    by_class = sorted(zip(image.predicted, (row.title for row in gallery.rows), strict=True))
    details = [
        f"{name}: {'; '.join(title for _, title in some)}" for name, some in groupby(by_class, key=lambda pair: pair[0])
    ]
    near = [
        small(gallery.thumbnails, one.name, f"Near: train image {one.sample_id}", f"{one.true} {one.cosine:.2f}")
        for one in image.neighbours
    ]
    others = ", ".join(sorted(taken))
    large = small(gallery.thumbnails, image.name, f"Test image {image.sample_id}, {image.true}, taken for {others}")
    return Tile((large,), tuple(near), tuple(lines), tuple(details))
