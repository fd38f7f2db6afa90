"""Galleries: for each backbone the test images that most of its rows get wrong, with small copies of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from probeline.disk import path_name
from probeline.files.limits import Count, Length, Loss, Name, NotNegative, Positive, Share, Within, check_lengths
from probeline.identity import GALLERY_VERSION, digest
from probeline.results.illustrations.picture import PICTURE_FOLDER, Thumbnail
from probeline.results.ranking import best_probe, rank_by_validation
from probeline.results.score import Score
from probeline.results.store import RecordKind


@dataclass(frozen=True)
class GalleryRow:
    """A row of the report, by its first seed."""

    key: str
    """Of its score."""
    method: str
    title: str
    """It differs from those of the other rows of the backbone."""


@dataclass(frozen=True)
class NearestTrainImage:
    """A train image near a test image."""

    name: str
    """``PART:ROW``, as ``probeline show`` takes it; also the name of its thumbnail."""
    sample_id: str
    true: str
    """Its class."""
    cosine: Annotated[float, Within(-1.001, 1.001)]
    """Between the embeddings of both."""


@dataclass(frozen=True)
class Misclassified:
    """A test image that at least one row misclassifies."""

    name: str
    """``PART:ROW``; also the name of its thumbnail."""
    sample_id: str
    true: str
    """Its class."""
    predicted: tuple[str, ...]
    """The prediction of each of the gallery's rows."""
    wrong: Count
    """How many of them are wrong."""
    chance: Share | None
    """The calibrated probability of the class that the gallery's probe predicts; None if unknown, see `ProbeRefit`."""
    true_chance: Share | None
    """The same of the true class."""
    neighbours: tuple[NearestTrainImage, ...]
    """The nearest first."""


@dataclass(frozen=True)
class ProbeRefit:
    """How the probe of a gallery was fitted again, since a score keeps no probabilities."""

    l2: NotNegative
    """That of its score, like `temperature`."""
    temperature: NotNegative
    n_test: Positive
    same: Count
    """Test images whose prediction equals the score's."""
    nll: Loss
    """Test negative log-likelihood of the refit, in nats."""
    score_nll: Loss
    """The same of the score."""
    held: bool
    """Whether the refit reproduces the score; if not, no probability is shown."""


@dataclass(frozen=True)
class Gallery:
    """The test images that most rows of a backbone misclassify."""

    backbone: Name
    weights: Name
    """The probe's."""
    of: Mapping[str, Any]
    """Everything that it was made from, as JSON values: if this changes, the gallery is outdated."""
    rows: Annotated[tuple[GalleryRow, ...], Length(1, 10_000)]
    """The best on validation first."""
    probe: Count
    """Index of the exact probe whose embeddings gave the neighbours, and whose probabilities are shown."""
    tap: Name
    """Where that probe reads the net."""
    refit: ProbeRefit
    n_test: Positive
    wrong: Count
    """Test images that at least one row misclassifies."""
    shared: Count
    """Test images that all rows misclassify."""
    images: tuple[Misclassified, ...]
    """Those that most rows misclassify first, then in row order."""
    thumbnails: Mapping[str, Thumbnail]
    """Of each image and each neighbour, by name."""
    title: str
    caption: str

    def __post_init__(self) -> None:
        if self.probe >= len(self.rows):
            raise ValueError(f"probe {self.probe} of {len(self.rows)} rows")
        for image in self.images:
            check_lengths(rows=self.rows, predicted=image.predicted)
            if image.wrong != sum(name != image.true for name in image.predicted):
                raise ValueError(f"{image.name}: misclassified by {image.wrong} rows, as it says")
            for name in (image.name, *(neighbour.name for neighbour in image.neighbours)):
                if self.thumbnails and name not in self.thumbnails:  # they are made last
                    raise ValueError(f"no thumbnail of {name}")

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
    if gallery.images and not gallery.thumbnails:
        return "it has no thumbnails"
    own = [score for score in scores if score.backbone == gallery.backbone]
    probe = best_probe(own)
    if probe is None:
        return "its exact probe is gone"
    return None if gallery.of == gallery_of(rank_by_validation(own), probe) else "its scores have changed"
