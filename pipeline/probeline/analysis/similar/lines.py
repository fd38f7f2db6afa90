"""Similar images as lines: a table for people, CSV for spreadsheets, and JSON lines for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from probeline.analysis.similar.queries import Query
from probeline.analysis.similar.search import SimilarImage
from probeline.text import csv_text, json_text, printable

COLUMNS = ("query", "rank", "distance", "part", "row", "sample_id", "class", "role")

Answers = Sequence[tuple[Query, Sequence[SimilarImage]]]
"""The queries, each with the images near it, the nearest first."""


def facts(image: SimilarImage, rank: int) -> dict[str, Any]:
    """Return an image as JSON values."""
    return {
        "rank": rank,
        "distance": image.distance,
        "part": image.part,
        "row": image.row,
        "sample_id": image.sample_id,
        "class": image.class_name,
        "role": image.role,
    }


def table_lines(answers: Answers) -> Iterator[str]:
    """Yield for each query a line, and below it one for each image: rank, distance, class, role, row and name."""
    for query, images in answers:
        yield f"similar to {query.name}:"
        width = max([5, *(len(printable(image.class_name or "")) for image in images)])
        places = max([4, *(len(image.place) for image in images)])
        for rank, image in enumerate(images, 1):
            name = printable(image.class_name or "")
            cells = f"{rank:4}  {image.distance:.4f}  {name:{width}}  {image.role or '':5}  {image.place:{places}}"
            yield f"{cells}  {image.sample_id}"


def csv_lines(answers: Answers) -> Iterator[str]:
    """Yield a header, and a line for each query and image."""
    yield _row(COLUMNS)
    for query, images in answers:
        for rank, image in enumerate(images, 1):
            values = facts(image, rank) | {"distance": f"{image.distance:.9f}"}
            yield _row([query.name, *("" if value is None else str(value) for value in values.values())])


def _row(cells: Sequence[str]) -> str:
    return csv_text([cells]).removesuffix("\n")


def json_lines(answers: Answers) -> Iterator[str]:
    """Yield a JSON object for each query."""
    for query, images in answers:
        yield json_text({"query": query.name, "similar": [facts(image, i) for i, image in enumerate(images, 1)]})


LINES = {"table": table_lines, "csv": csv_lines, "jsonl": json_lines}
