"""The words after ``similar``: rows of the data set and paths of images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from probeline.analysis.similar.search import CachedImages, SimilarImage
from probeline.data.registry import parse_row
from probeline.errors import BadData, BadOption
from probeline.files.reading import IMAGE, is_folder, read_bytes


@dataclass(frozen=True)
class Query:
    """One query: a row of the data set by its number, or the bytes of an image; one of them is None."""

    name: str
    number: int | None
    image: bytes | None


def parse_queries(words: Sequence[str], cached: CachedImages) -> list[Query]:
    """Return the queries of some words: ``ROW`` and ``PART:ROW`` of a part of the data set, all others paths.

    Raises
    ------
    BadOption, UnknownName
        No such row, or a folder.
    BadData
        A file that cannot be read.
    """
    return [_row(word, cached) if _is_row(word, cached) else _file(word, cached) for word in words]


def _is_row(word: str, cached: CachedImages) -> bool:
    part, colon, number = word.rpartition(":")
    return re.fullmatch(r"\d+", number, re.ASCII) is not None and (not colon or part in cached.session.dataset.parts)


def _row(word: str, cached: CachedImages) -> Query:
    part, row = parse_row(word, cached.session.dataset)
    if part not in cached.parts:
        raise BadOption("this part has no role, so that nothing of it is cached", where=word, got=part)
    return Query(f"{part}:{row}", cached.number(part, row), None)


def _file(word: str, cached: CachedImages) -> Query:
    cached.require_net(word)
    path = Path(word)
    if is_folder(path):
        raise BadOption("similar takes images, not folders", where=word, expected="IMAGE or [PART:]ROW")
    try:
        return Query(word, None, read_bytes(path, IMAGE))
    except OSError as error:
        remedy = "a row of the data set is [PART:]ROW, the row a number from 0"
        raise BadData("image cannot be read", where=word, got=error.strerror, remedy=remedy) from error


def answer(
    queries: Sequence[Query], cached: CachedImages, count: int, *, approximate: bool = False
) -> list[list[SimilarImage]]:
    """Return for each query the images nearest to it, the nearest first."""
    rows = [query.number for query in queries if query.number is not None]
    images = [query.image for query in queries if query.image is not None]
    names = [query.name for query in queries if query.image is not None]
    by_row = iter(cached.by_rows(rows, count, approximate=approximate) if rows else ())
    by_image = iter(cached.by_images(images, names, count, approximate=approximate) if images else ())
    return [next(by_image if query.number is None else by_row) for query in queries]
