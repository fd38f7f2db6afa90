"""Galleries: for each backbone the test images that most of its rows get wrong, with small copies of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeline.disk import path_name
from probeline.identity import GALLERY_VERSION
from probeline.results.picture import PICTURE_FOLDER
from probeline.results.store import RecordKind
from probeline.results.thumbnail import Thumbnail


@dataclass(frozen=True)
class GalleryRow:
    """A row of the report, by its first seed.

    Attributes
    ----------
    key : str
        Of its score.
    method, title : str
        The title tells it from the other rows of its backbone.
    """

    key: str
    method: str
    title: str


@dataclass(frozen=True)
class NearestTrainImage:
    """A train image near a test image.

    Attributes
    ----------
    name : str
        ``PART:ROW``, as ``probeline show`` takes it; also of its thumbnail.
    sample_id : str
    true : str
        Its class.
    cosine : float
        Between the embeddings of both.
    """

    name: str
    sample_id: str
    true: str
    cosine: float


@dataclass(frozen=True)
class Misclassified:
    """A test image that a row or more takes for another class.

    Attributes
    ----------
    name : str
        ``PART:ROW``; also of its thumbnail.
    sample_id : str
    true : str
        Its class.
    predicted : tuple of str [rows]
        The class that each of the gallery's rows takes it for.
    wrong : int
        How many of them are wrong.
    chance, true_chance : float or None
        Calibrated, of the gallery's probe: of the class that this probe predicts, and of the true one. None where
        they are not known; see `Gallery.refit`.
    neighbours : tuple of NearestTrainImage
        The nearest first.
    """

    name: str
    sample_id: str
    true: str
    predicted: tuple[str, ...]
    wrong: int
    chance: float | None
    true_chance: float | None
    neighbours: tuple[NearestTrainImage, ...]


@dataclass(frozen=True)
class Gallery:
    """The test images of a backbone that most of its rows have wrong.

    Attributes
    ----------
    backbone, weights : str
        Weights are the probe's.
    of : mapping
        All that it was made of, as JSON values: where this is another, so is the gallery.
    rows : tuple of GalleryRow
        The one that val prefers first.
    probe : int
        Which of them is the exact probe whose embeddings neighbours were looked for in, and whose chances are told.
    tap : str
        Where that probe reads the net.
    refit : mapping
        How that probe was fitted again, since a score keeps no chances: its ``l2`` and ``temperature``, how many of the
        ``n_test`` predictions came out the ``same``, the test ``nll`` in nats and the score's, and whether it ``held``;
        where it did not, no chance is told.
    n_test, wrong, shared : int
        Test images; how many of them a row or more has wrong; how many all rows have.
    images : tuple of Misclassified
        Those first that most rows have wrong, then in row order.
    thumbnails : mapping of str to Thumbnail
        Of each image and each neighbour, by name.
    title, caption : str
    """

    backbone: str
    weights: str
    of: Mapping[str, Any]
    rows: tuple[GalleryRow, ...]
    probe: int
    tap: str
    refit: Mapping[str, Any]
    n_test: int
    wrong: int
    shared: int
    images: tuple[Misclassified, ...]
    thumbnails: Mapping[str, Thumbnail]
    title: str
    caption: str

    @property
    def file(self) -> str:
        """The name of the record's file."""
        return GALLERIES.path_of(Path(), self).name


def _file_name(backbone: str) -> str:
    return f"{PICTURE_FOLDER}/gallery-{path_name(backbone, portable=True)}.json"


GALLERIES = RecordKind("gallery", GALLERY_VERSION, Gallery, _file_name, (f"{PICTURE_FOLDER}/gallery-*.json",))
