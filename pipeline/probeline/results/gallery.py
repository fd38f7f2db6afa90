"""Galleries: for each backbone the test images that most of its rows get wrong, with small copies of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeline.disk import path_name
from probeline.identity import GALLERY_VERSION, digest
from probeline.results.picture import PICTURE_FOLDER
from probeline.results.ranking import best_probe, rank_by_validation
from probeline.results.score import Score
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
    """A test image that at least one row misclassifies.

    Attributes
    ----------
    name : str
        ``PART:ROW``; also of its thumbnail.
    sample_id : str
    true : str
        Its class.
    predicted : tuple of str [rows]
        The prediction of each of the gallery's rows.
    wrong : int
        How many of them are wrong.
    chance, true_chance : float or None
        Calibrated probabilities of the gallery's probe: of the class it predicts, and of the true one. None if
        they are unknown; see `Gallery.refit`.
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
class ProbeRefit:
    """How the probe of a gallery was fitted again, since a score keeps no probabilities.

    Attributes
    ----------
    l2, temperature : float
        Those of its score.
    n_test, same : int
        Test images, and how many of their predictions equal the score's.
    nll, score_nll : float
        Test negative log-likelihood in nats, of the refit and of the score.
    held : bool
        Whether the refit reproduces the score; if not, no probability is shown.
    """

    l2: float
    temperature: float
    n_test: int
    same: int
    nll: float
    score_nll: float
    held: bool


@dataclass(frozen=True)
class Gallery:
    """The test images that most rows of a backbone misclassify.

    Attributes
    ----------
    backbone, weights : str
        Weights are the probe's.
    of : mapping
        Everything that it was made from, as JSON values: if this changes, the gallery is outdated.
    rows : tuple of GalleryRow
        The best on validation first.
    probe : int
        Index of the exact probe whose embeddings gave the neighbours, and whose probabilities are shown.
    tap : str
        Where that probe reads the net.
    refit : ProbeRefit
        Of that probe.
    n_test, wrong, shared : int
        Test images; how many of them at least one row misclassifies; how many all rows do.
    images : tuple of Misclassified
        Those that most rows misclassify first, then in row order.
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
    refit: ProbeRefit
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


def gallery_of(rows: Sequence[Sequence[Score]], probe: Score) -> dict[str, Any]:
    """Return what a gallery is made from: rows ranked by validation, and the probe among them."""
    return {"rows": [[row[0].key, digest(list(row[0].predictions))] for row in rows], "probe": probe.key}


def outdated_gallery(gallery: Gallery, scores: Sequence[Score]) -> str | None:
    """Return why a gallery does not belong to the present scores; None if it does."""
    own = [score for score in scores if score.backbone == gallery.backbone]
    probe = best_probe(own)
    if probe is None:
        return "its exact probe is gone"
    return None if gallery.of == gallery_of(rank_by_validation(own), probe) else "its scores have changed"
