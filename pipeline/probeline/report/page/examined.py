"""What the doctor found, in pictures and tables."""

from __future__ import annotations

from probeline.report.page.content import Content, View
from probeline.report.page.tile import Small, Tile, small
from probeline.report.sections.doctor import either, findings, notes, source, tables
from probeline.results.findings import Findings, ImageReference

_TILES = 12
"""Findings of a kind that are shown as pictures."""

_TITLES = {
    "leaks": "Accuracy without the leaked images",
    "pairs": "Duplicates",
    "suspects": "Doubted labels",
    "remote": "The farthest images",
}


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


def _pairs(doctor: Findings) -> list[Tile]:
    return [
        Tile(
            (_seen(doctor, pair.first), _seen(doctor, pair.second)),
            (),
            (either(doctor, pair.first, pair.second), f"{pair.kind}, score {pair.score:.3f}"),
        )
        for pair in doctor.duplicates.pairs[:_TILES]
        if {pair.first.name, pair.second.name} <= doctor.thumbnails.keys()
    ]


def _suspects(doctor: Findings) -> list[Tile]:
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


def _remote(doctor: Findings) -> list[Tile]:
    return [
        Tile(
            (_seen(doctor, one.image),),
            (),
            (doctor.class_names[one.image.label], f"{one.image.role}, distance {one.distance:.3f}"),
        )
        for one in doctor.outliers.remote[:_TILES]
        if one.image.name in doctor.thumbnails
    ]


def _seen(doctor: Findings, image: ImageReference) -> Small:
    alt = f"{image.role} image {image.sample_id}, {doctor.class_names[image.label]}"
    return small(doctor.thumbnails, image.name, alt)
