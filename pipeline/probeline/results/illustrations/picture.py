"""Pictures: a PNG file with a record of what it shows and which bytes it has, and thumbnails inside other records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any, Literal, get_args

from probeline.disk import path_name
from probeline.files.decode import Members
from probeline.files.limits import Base64, Name, Sha256, Within
from probeline.identity import PICTURE_VERSION
from probeline.names import Method
from probeline.results.ranking import best_by_validation
from probeline.results.score import Score
from probeline.results.store import RecordKind
from probeline.types import DataSet, Splits

PictureKind = Literal["anatomy", "filters", "input", "histogram", "mistakes"]
PICTURE_KINDS: tuple[PictureKind, ...] = get_args(PictureKind)
"""In the order of a report."""

PICTURE_FOLDER = "pictures"
"""The subfolder of a report that holds them, and the records of galleries and maps."""

MAX_ERRORS = 24
"""Misclassified images in a picture."""


@dataclass(frozen=True)
class SourceMembers:
    """What a picture was made from, as far as that is more than compared."""

    content: Sha256 | None = None


@dataclass(frozen=True)
class Picture:
    """A picture of a report."""

    kind: PictureKind
    backbone: Name
    weights: Name
    of: Annotated[Mapping[str, Any], Members(SourceMembers)]
    """Everything that it was made from, as JSON values: if this changes, the picture is outdated."""
    title: str
    """The headline in the picture."""
    caption: str
    alt: str
    """The alternative text."""
    sha256: Sha256
    """Of the PNG file."""

    @property
    def png(self) -> str:
        """The name of the PNG file."""
        return f"{self.kind}-{path_name(self.backbone, portable=True)}.png"


def _file_name(kind: PictureKind, backbone: str) -> str:
    return f"{PICTURE_FOLDER}/{kind}-{path_name(backbone, portable=True)}.json"


PICTURES = RecordKind(
    "picture",
    PICTURE_VERSION,
    Picture,
    _file_name,
    tuple(f"{PICTURE_FOLDER}/{kind}-*.json" for kind in PICTURE_KINDS),
    attachment=".png",
)


@dataclass(frozen=True)
class Thumbnail:
    """A small copy of an image."""

    width: Annotated[int, Within(1, 4096)]
    height: Annotated[int, Within(1, 4096)]
    webp: Base64
    """A WebP file in base64."""

    @property
    def uri(self) -> str:
        """The image as a data URI."""
        return f"data:image/webp;base64,{self.webp}"


@dataclass(frozen=True)
class Misclassification:
    """A misclassified test image: its row in its part, its class and the predicted one."""

    row: int
    true: int
    predicted: int


def list_errors(score: Score, splits: Splits) -> list[Misclassification]:
    """Return the test images that a score misclassifies, in row order."""
    images = zip(splits.test.rows.tolist(), score.labels, score.predictions, strict=True)
    return [Misclassification(row, true, predicted) for row, true, predicted in images if true != predicted]


def errors_of(row: Sequence[Score], dataset: DataSet, splits: Splits) -> dict[str, Any]:
    """Return what the picture of a row's errors is made from: the first errors of its first seed."""
    score, part = row[0], dataset.parts[splits.test.part]
    wrong = list_errors(score, splits)
    return {
        "score": score.key,
        "val_top1": fmean(seed.val_top1 for seed in row),
        "top1": score.top1,
        "seeds": len(row),
        "part": part.name,
        "wrong": len(wrong),
        "images": [
            {
                "row": error.row,
                "content": part.content[error.row],
                "class": score.class_names[error.true],
                "predicted": score.class_names[error.predicted],
            }
            for error in wrong[:MAX_ERRORS]
        ],
    }


def outdated_picture(picture: Picture, scores: Sequence[Score], dataset: DataSet, splits: Splits) -> str | None:
    """Return why a picture does not belong to the present data set and scores; None if it does."""
    if picture.kind == "mistakes":
        row = best_by_validation(score for score in scores if score.backbone == picture.backbone)
        if row is None:
            return "its score is gone"
        return None if picture.of == errors_of(row, dataset, splits) else "its score has changed"
    weights = {
        score.weights for score in scores if score.backbone == picture.backbone and score.method != Method.SCRATCH
    }
    if weights and picture.weights not in weights:
        return f"no score has its weights, {picture.weights}"
    images = {content for part in dataset.parts.values() for content in part.content}
    if picture.kind in ("input", "histogram") and picture.of.get("content") not in images:
        return "its image is not in the data set"
    return None
