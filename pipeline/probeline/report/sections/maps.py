"""Embedding maps in a report: what the JSON file has of them."""

from __future__ import annotations

from typing import Any

from probeline.results.embedding_map import EmbeddingMap


def map_facts(one: EmbeddingMap) -> dict[str, Any]:
    """Return a map as JSON values, without its points."""
    names = ("backbone", "weights", "tap", "n_test", "part", "judge", "title", "caption", "alt")
    return {
        **{name: getattr(one, name) for name in names},
        "shown": len(one.rows),
        "wrong": sum(one.wrong),
        "planes": [{"method": plane.method, "title": plane.title, "facts": dict(plane.facts)} for plane in one.planes],
    }
