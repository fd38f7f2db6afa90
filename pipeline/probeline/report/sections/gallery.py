"""Galleries in a report: the titles of their rows, and what the JSON file has of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probeline.report.model.rows import blocks
from probeline.results.decode import encode
from probeline.results.gallery import Gallery
from probeline.results.score import Score


def row_titles(scores: Sequence[Score]) -> dict[str, str]:
    """Return the titles of the rows of one backbone by the key of the first score of each."""
    table = blocks(scores)
    return {
        row.keys[0]: row.title + (f" ({block.title})" if len(table) > 1 else "")
        for block in table
        for row in block.rows
    }


def gallery_facts(gallery: Gallery) -> dict[str, Any]:
    """Return a gallery as JSON values, without its images."""
    left_out = ("of", "thumbnails")
    return {name: value for name, value in encode(gallery).items() if name not in left_out}
