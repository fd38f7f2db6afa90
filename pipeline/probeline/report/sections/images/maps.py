"""Embedding maps: the test images in a plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probeline.report.model.content import ReportContent
from probeline.report.sections.images.galleries import other_files
from probeline.report.sections.section import DATA, Section, View
from probeline.results.embedding_map import EmbeddingMap
from probeline.results.picture import PICTURE_FOLDER


class EmbeddingMaps(Section):
    name, title, group = "maps", "Embedding map", DATA

    def view(self, content: ReportContent) -> View | None:
        if not content.maps:
            return None
        names = [one.figure for one in content.maps[: content.nets]]
        figures = [content.figures[name] for name in names if name in content.figures]
        others = other_files([one.file for one in content.maps[content.nets :]])
        return View("maps.html", {"figures": figures, "others": others})

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        return {"maps": [{**map_facts(one), "file": f"{PICTURE_FOLDER}/{one.file}"} for one in content.maps]}


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
