"""Pictures side by side: what rows have wrong with what lies near it, and what the doctor found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from probeline.report.doctor import either, findings, notes, source, tables
from probeline.report.doctor_files import Doctor, Seen
from probeline.report.gallery_files import Gallery, Missed
from probeline.report.page.content import Content, View
from probeline.report.thumbnail import Thumbnail
from probeline.report.words import percent

_NETS = 3
"""How many nets have a gallery and a map on a page, which has to stay small; the others have theirs in the records."""

_TILES = 12
"""Findings of a kind that are shown as pictures."""

_TITLES = {
    "leaks": "Accuracy without the leaked images",
    "pairs": "Duplicates",
    "suspects": "Doubted labels",
    "remote": "Outliers",
}


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
            for one in found[:_NETS]
        ],
        "others": _others([one.file for one in found[_NETS:]]),
    }


def maps_view(content: Content) -> View | None:
    """Return the figures of the maps of the first few nets; None where there are none."""
    found = content.beside.maps
    if not found:
        return None
    figures = [content.figures[one.figure] for one in found[:_NETS] if one.figure in content.figures]
    return {"figures": figures, "others": _others([one.file for one in found[_NETS:]])}


def doctor_view(content: Content) -> View | None:
    """Return what the doctor found; None where it was not asked."""
    doctor = content.beside.doctor
    if doctor is None:
        return None
    shown = {"pairs": _pairs(doctor), "suspects": _suspects(doctor), "remote": _remote(doctor)}
    return {
        "source": source(doctor),
        "findings": findings(doctor),
        "tables": [
            {
                "title": _TITLES[table.name],
                "grid": table.grid,
                "left": [place < table.left for place in range(len(table.grid[0]))],
                "notes": [table.note] if table.note else [],
                "tiles": shown.get(table.name, []),
            }
            for table in tables(doctor, content.blocks)
        ],
        "notes": notes(doctor),
    }


def _others(files: Sequence[str]) -> str:
    return f"More are in the records: {', '.join(files)}." if files else ""


def _missed(gallery: Gallery, image: Missed) -> Tile:
    said = image.predicted[gallery.probe]
    lines = [f"{image.true}, wrong in {image.wrong} of {len(gallery.rows)} rows"]
    if image.chance is not None and image.true_chance is not None:
        chances = f"{said} {percent(image.chance, 1)} %"
        if said != image.true:
            chances += f", {image.true} {percent(image.true_chance, 1)} %"
        lines.append(f"{gallery.rows[gallery.probe].title}: {chances}")
    by_class = sorted(zip(image.predicted, (row.title for row in gallery.rows), strict=True))
    details = [
        f"{name}: {', '.join(title for _, title in some)}" for name, some in groupby(by_class, key=lambda pair: pair[0])
    ]
    near = [
        _small(gallery.thumbnails, one.name, f"Near: train image {one.sample_id}", f"{one.true} {one.cosine:.2f}")
        for one in image.neighbours
    ]
    others = ", ".join(sorted(set(image.predicted) - {image.true}))
    large = _small(gallery.thumbnails, image.name, f"Test image {image.sample_id}, {image.true}, taken for {others}")
    return Tile((large,), tuple(near), tuple(lines), tuple(details))


def _pairs(doctor: Doctor) -> list[Tile]:
    return [
        Tile(
            (_seen(doctor, pair.first), _seen(doctor, pair.second)),
            (),
            (either(doctor, pair.first, pair.second), f"{pair.kind}, score {pair.score:.3f}"),
        )
        for pair in doctor.duplicates.pairs[:_TILES]
        if {pair.first.name, pair.second.name} <= doctor.thumbnails.keys()
    ]


def _suspects(doctor: Doctor) -> list[Tile]:
    names = doctor.class_names
    return [
        Tile(
            (_seen(doctor, one.image),),
            (),
            (f"{names[one.image.label]}; rather {names[one.suggested]}?", f"{one.image.role}, score {one.score:.3f}"),
        )
        for one in doctor.labels.suspects[:_TILES]
        if one.image.name in doctor.thumbnails
    ]


def _remote(doctor: Doctor) -> list[Tile]:
    return [
        Tile(
            (_seen(doctor, one.image),),
            (),
            (doctor.class_names[one.image.label], f"{one.image.role}, distance {one.distance:.3f}"),
        )
        for one in doctor.outliers.remote[:_TILES]
        if one.image.name in doctor.thumbnails
    ]


def _seen(doctor: Doctor, image: Seen) -> Small:
    alt = f"{image.role} image {image.sample_id}, {doctor.class_names[image.label]}"
    return _small(doctor.thumbnails, image.name, alt)


def _small(thumbnails: Mapping[str, Thumbnail], name: str, alt: str, words: str = "") -> Small:
    one = thumbnails[name]
    return Small(one.uri, alt, one.width, one.height, words)
