"""Maps of embeddings: the test images of a backbone as points in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from probeline.disk import path_name
from probeline.files.decode import Members
from probeline.files.limits import Count, Length, Name, Number, Positive, Share, check_classes
from probeline.identity import MAP_VERSION, digest
from probeline.results.illustrations.picture import PICTURE_FOLDER
from probeline.results.ranking import best_by_validation, best_probe
from probeline.results.score import Score
from probeline.results.store import RecordKind


@dataclass(frozen=True)
class ProjectionMembers:
    """Facts about a projection that its caption names."""

    explained: tuple[Share, Share] | None = None
    perplexity: Number | None = None
    seed: Count | None = None
    divergence: Number | None = None


@dataclass(frozen=True)
class Projection:
    """One layout of the points of a map."""

    method: Literal["pca", "tsne"]
    title: str
    axes: tuple[str, str]
    """Labels of the axes; empty if they have no meaning."""
    xy: tuple[tuple[Number, Number], ...]
    facts: Annotated[Mapping[str, Any], Members(ProjectionMembers)]
    """Of ``pca`` the ``explained`` shares of the train rows' variance; of ``tsne`` its ``perplexity``, ``seed`` and the
    final ``divergence`` in nats."""


@dataclass(frozen=True)
class EmbeddingMap:
    """Test images as points, near each other where their embeddings are."""

    backbone: Name
    weights: Name
    of: Mapping[str, Any]
    """Everything that it was made from but the optional layouts, as JSON values: if this changes, it is outdated."""
    tap: Name
    """Of the exact probe that is best on validation."""
    n_test: Positive
    """Test images; `rows` are some or all of them."""
    part: Name
    """The part that `rows` index."""
    class_names: Annotated[tuple[str, ...], Length(1, 1 << 20)]
    rows: tuple[Count, ...]
    sample_ids: tuple[str, ...]
    labels: tuple[int, ...]
    predicted: tuple[int, ...]
    """By the row that is best on validation, whose title is `judge`."""
    judge: str
    planes: Annotated[tuple[Projection, ...], Length(1, 2)]
    """The principal components first."""
    title: str
    caption: str
    alt: str
    """The figure's alternative text."""

    def __post_init__(self) -> None:
        columns = (self.rows, self.sample_ids, self.labels, self.predicted, *(plane.xy for plane in self.planes))
        if len(lengths := {len(column) for column in columns}) != 1:
            raise ValueError(f"columns of {sorted(lengths)} points")
        check_classes("labels", self.labels, len(self.class_names))
        check_classes("predicted", self.predicted, len(self.class_names))

    @property
    def wrong(self) -> tuple[bool, ...]:
        """Which points are misclassified."""
        return tuple(true != predicted for true, predicted in zip(self.labels, self.predicted, strict=True))

    @property
    def methods(self) -> tuple[str, ...]:
        """How the points are laid out."""
        return tuple(plane.method for plane in self.planes)

    @property
    def file(self) -> str:
        """The name of the record's file."""
        return MAPS.path_of(Path(), self).name

    @property
    def figure(self) -> str:
        """The name of the figure that a report draws of it, without its suffix."""
        return f"map-{path_name(self.backbone, portable=True)}"


def _file_name(backbone: str) -> str:
    return f"{PICTURE_FOLDER}/map-{path_name(backbone, portable=True)}.json"


MAPS = RecordKind("map", MAP_VERSION, EmbeddingMap, _file_name, (f"{PICTURE_FOLDER}/map-*.json",))


def map_of(best: Score, probe: Score) -> dict[str, Any]:
    """Return what a map is made from: the best row, whose errors are ringed, and the probe whose features it shows."""
    return {"score": best.key, "predictions": digest(list(best.predictions)), "probe": probe.key}


def outdated_map(embedding_map: EmbeddingMap, scores: Sequence[Score]) -> str | None:
    """Return why a map does not belong to the present scores; None if it does."""
    own = [score for score in scores if score.backbone == embedding_map.backbone]
    probe, best = best_probe(own), best_by_validation(own)
    if probe is None or best is None:
        return "its exact probe is gone"
    return None if embedding_map.of == map_of(best[0], probe) else "its scores have changed"
