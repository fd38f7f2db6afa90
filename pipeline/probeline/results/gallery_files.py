"""Galleries' files: a sealed record for each backbone, of its most shared mistakes with small copies of the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probeline.disk import remove
from probeline.identity import GALLERY_VERSION
from probeline.results import store as sealed
from probeline.results.score_files import slug
from probeline.results.store import Ignored
from probeline.results.thumbnail import Thumbnail


@dataclass(frozen=True)
class Judge:
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
class Neighbour:
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
class Missed:
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
    neighbours : tuple of Neighbour
        The nearest first.
    """

    name: str
    sample_id: str
    true: str
    predicted: tuple[str, ...]
    wrong: int
    chance: float | None
    true_chance: float | None
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Gallery:
    """The test images of a backbone that most of its rows have wrong.

    Attributes
    ----------
    backbone, weights : str
        Weights are the probe's.
    of : mapping
        All that it was made of, as JSON values: where this is another, so is the gallery.
    rows : tuple of Judge
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
    images : tuple of Missed
        Those first that most rows have wrong, then in row order.
    thumbnails : mapping of str to Thumbnail
        Of each image and each neighbour, by name.
    title, caption : str
    """

    backbone: str
    weights: str
    of: Mapping[str, Any]
    rows: tuple[Judge, ...]
    probe: int
    tap: str
    refit: Mapping[str, Any]
    n_test: int
    wrong: int
    shared: int
    images: tuple[Missed, ...]
    thumbnails: Mapping[str, Thumbnail]
    title: str
    caption: str

    @property
    def file(self) -> str:
        """The name of the record."""
        return gallery_name(self.backbone)

    def to_json(self) -> dict[str, Any]:
        """Return the gallery's record as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Gallery:
        """Return the gallery of a record that :meth:`to_json` made.

        Raises
        ------
        AttributeError, KeyError, TypeError
            Where the fields are not those of this version.
        """
        images = tuple(
            Missed(
                **{
                    **one,
                    "predicted": tuple(one["predicted"]),
                    "neighbours": tuple(Neighbour(**near) for near in one["neighbours"]),
                }
            )
            for one in record["images"]
        )
        small = {name: Thumbnail(**one) for name, one in record["thumbnails"].items()}
        rows = tuple(Judge(**row) for row in record["rows"])
        return cls(**{**record, "rows": rows, "images": images, "thumbnails": small})


def gallery_name(backbone: str) -> str:
    """Return the name of the record of a backbone's gallery."""
    return f"gallery-{slug(backbone)}.json"


_GALLERIES = sealed.Kind("gallery", GALLERY_VERSION, Gallery.from_json, lambda folder, gallery: folder / gallery.file)


def save_gallery(folder: Path, gallery: Gallery) -> Path:
    """Write a gallery into `folder` in place of the one of its backbone, and return its path.

    Raises
    ------
    CannotWrite
        Where the file system refuses.
    """
    return _GALLERIES.save(folder, gallery)


def find_gallery(folder: Path, backbone: str) -> Gallery | Ignored | None:
    """Return the gallery of a backbone, None where there is none, or why what is there is not used."""
    return _GALLERIES.find(folder, folder / gallery_name(backbone))


def load_galleries(folder: Path) -> tuple[list[Gallery], list[Ignored]]:
    """Read every gallery of `folder`, by backbone; also return what is no proven one, and why."""
    return _GALLERIES.load(folder, sorted(folder.glob("gallery-*.json")))


def remove_gallery(folder: Path, backbone: str) -> None:
    """Remove the gallery of a backbone where there is one.

    Raises
    ------
    CannotWrite
    """
    path = folder / gallery_name(backbone)
    if path.exists():
        remove(path)
