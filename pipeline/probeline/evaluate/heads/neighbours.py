"""Heads that keep the train rows or their means: k nearest neighbours and the nearest class mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from probeline.errors import BadOption
from probeline.evaluate.heads.method import (
    Candidates,
    Certificate,
    ExportedHead,
    FitSettings,
    Fold,
    HeadMethod,
    Selection,
)
from probeline.heads.neighbours import (
    TEMPERATURE,
    centroid_layer,
    distance_logits,
    knn,
    layer_of_centroids,
    nearest_centroid,
    weighted_knn,
)
from probeline.heads.shrinkage import ClassMeans, fit_class_means
from probeline.heads.standardize import Scaler, unit_rows, unscaled
from probeline.names import Method
from probeline.options.groups.fitting import HeadOptions
from probeline.types import DoubleArray, FloatArray, IntArray

NEIGHBOURS = (1, 3, 5, 10, 20, 50)

DINO_NEIGHBOURS = (10, 20, 100, 200)
"""Of DINO's evaluation, which reports the best on test; here validation selects."""

SHRINKAGE = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
"""Thresholds of shrunken centroids as shares of the largest deviation, at which nothing would be left."""


@dataclass(frozen=True)
class StoredRows:
    """The rows float32 [n, D] and labels int64 [n] that predictions are read from.

    Attributes
    ----------
    k : int
        Neighbours that vote; 0 for class means.
    """

    X: FloatArray
    y: IntArray
    classes: int
    k: int = 0


Stored = TypeVar("Stored", bound=StoredRows)


class StoredRowsMethod(HeadMethod[Stored]):
    """A method that trains nothing."""

    verb = "baselines"
    are_independent = True

    def count_parameters(self, head: Stored) -> int:
        return 0


class NearestNeighbours(StoredRowsMethod[StoredRows]):
    """A vote among the k nearest train rows by cosine."""

    name = Method.KNN

    def options(self, options: HeadOptions) -> dict[str, Any]:
        return {"k": list(NEIGHBOURS), "metric": "cosine"}

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        return Candidates.of("k", [k for k in settings.options["k"] if k <= rows])

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[StoredRows]:
        return [StoredRows(fold.X, fold.y, settings.classes, candidate["k"]) for candidate in candidates.values]

    def logits(self, heads: Sequence[StoredRows], X: FloatArray) -> Iterable[FloatArray]:
        """Return the logarithms of the shares of votes float32 [m, K] per k; one search serves all."""
        stored = heads[0]
        return knn(stored.X, stored.y, X, [head.k for head in heads], classes=stored.classes).values()

    def certificate(self, head: StoredRows, selection: Selection[StoredRows], settings: FitSettings) -> Certificate:
        """Return whether the grid ends too early; there are no fewer neighbours than one."""
        return Certificate(selection.is_at_edge and head.k > 1)

    def export(self, head: StoredRows, fold: Fold, settings: FitSettings) -> ExportedHead:
        """Return the rows at unit length."""
        rows = unit_rows(head.X)
        scaling = {"mean": fold.scaler.mean, "std": fold.scaler.std}
        return ExportedHead({**scaling, "rows": rows, "labels": head.y, "k": np.array([head.k])})


@dataclass(frozen=True)
class UnitRows(StoredRows):
    """Rows float32 [n, D] of unit length that were not standardised, and the scaler that takes it back for others."""

    scaler: Scaler = field(kw_only=True)


class WeightedNeighbours(StoredRowsMethod[UnitRows]):
    """A vote among the k nearest train rows, each with the weight exp(cosine / 0.07), as DINO is evaluated.

    Its features have unit length and are not standardised.
    """

    name = Method.KNN_WEIGHTED

    def options(self, options: HeadOptions) -> dict[str, Any]:
        return {"k": list(DINO_NEIGHBOURS), "temperature": TEMPERATURE, "metric": "cosine", "standardised": False}

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        """Return the k within the rows, or all rows if there are fewer than the least k."""
        return Candidates.of("k", [k for k in settings.options["k"] if k <= rows] or [rows])

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[UnitRows]:
        rows = unit_rows(unscaled(fold.scaler, fold.X))
        ks = [candidate["k"] for candidate in candidates.values]
        return [UnitRows(rows, fold.y, settings.classes, k, scaler=fold.scaler) for k in ks]

    def logits(self, heads: Sequence[UnitRows], X: FloatArray) -> Iterable[FloatArray]:
        """Return the logarithms of the shares of votes float32 [m, K] per k; one search serves all."""
        stored = heads[0]
        rows = unscaled(stored.scaler, X)
        return weighted_knn(stored.X, stored.y, rows, [head.k for head in heads], classes=stored.classes).values()

    def certificate(self, head: UnitRows, selection: Selection[UnitRows], settings: FitSettings) -> Certificate:
        return Certificate(selection.is_at_edge)

    def export(self, head: UnitRows, fold: Fold, settings: FitSettings) -> ExportedHead:
        """Return the rows at unit length, and the temperature of their weights; nothing is standardised."""
        scaling = {"mean": np.zeros_like(fold.scaler.mean), "std": np.ones_like(fold.scaler.std)}
        temperature = np.array([settings.options["temperature"]], np.float32)
        votes = {"rows": head.X, "temperature": temperature}
        return ExportedHead({**scaling, **votes, "labels": head.y, "k": np.array([head.k])})


class NearestCentroid(StoredRowsMethod[StoredRows]):
    """The class whose mean train row is nearest; there is nothing to select."""

    name = Method.CENTROID

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        return Candidates.unordered([{}])

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[StoredRows]:
        return [StoredRows(fold.X, fold.y, settings.classes)]

    def logits(self, heads: Sequence[StoredRows], X: FloatArray) -> Iterable[FloatArray]:
        """Return minus half the squared distances to the class means, float32 [m, K]."""
        return [nearest_centroid(head.X, head.y, X, classes=head.classes) for head in heads]

    def export(self, head: StoredRows, fold: Fold, settings: FitSettings) -> ExportedHead:
        """Return the linear map that decides the same; a class without train rows, infinitely far, has none."""
        try:
            weight, bias = centroid_layer(head.X, head.y, classes=settings.classes)
        except ValueError as error:
            raise BadOption("centroid cannot be exported", got=str(error), remedy="choose another row") from error
        return ExportedHead({"mean": fold.scaler.mean, "std": fold.scaler.std, "weight": weight, "bias": bias})


@dataclass(frozen=True)
class ShrunkenMeans:
    """Class means, and by which share of their largest deviation they are shrunken."""

    means: ClassMeans
    classes: int
    share: float

    @property
    def centroids(self) -> tuple[IntArray, DoubleArray]:
        """The classes that have rows, int64 [P], and their shrunken means float64 [P, D]."""
        return self.means.present, self.means.shrunken(self.share)


@dataclass(frozen=True)
class ShrunkenCertificate(Certificate):
    """Of shrunken means: their threshold in standard errors, which is scikit-learn's ``shrink_threshold``."""

    threshold: float


class ShrunkenCentroid(HeadMethod[ShrunkenMeans]):
    """The class whose shrunken mean is nearest; how far they are shrunken is selected on validation."""

    name = Method.CENTROID_SHRUNKEN
    verb = "baselines"
    are_independent = True

    def options(self, options: HeadOptions) -> dict[str, Any]:
        return {"shrink": list(SHRINKAGE)}

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        """Return the shares; only 0 if there are no more rows than classes, which say nothing of their spread."""
        shares = settings.options["shrink"] if rows > settings.classes else [0.0]
        return Candidates.of("shrink", shares)

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[ShrunkenMeans]:
        means = fit_class_means(fold.X, fold.y, classes=settings.classes)
        return [ShrunkenMeans(means, settings.classes, share) for share in candidates.strengths]

    def logits(self, heads: Sequence[ShrunkenMeans], X: FloatArray) -> Iterable[FloatArray]:
        """Yield minus half the squared distances to the shrunken means, float32 [m, K]."""
        return (distance_logits(*head.centroids, X, classes=head.classes) for head in heads)

    def certificate(
        self, head: ShrunkenMeans, selection: Selection[ShrunkenMeans], settings: FitSettings
    ) -> ShrunkenCertificate:
        """Return whether the grid ends too early; less than nothing cannot be shrunken."""
        return ShrunkenCertificate(selection.is_at_edge and head.share > 0, head.means.threshold(head.share))

    def count_parameters(self, head: ShrunkenMeans) -> int:
        return 0

    def export(self, head: ShrunkenMeans, fold: Fold, settings: FitSettings) -> ExportedHead:
        """Return the linear map that decides the same; a class without train rows, infinitely far, has none."""
        try:
            weight, bias = layer_of_centroids(*head.centroids, classes=settings.classes)
        except ValueError as error:
            raise BadOption(f"{self.name} cannot be exported", got=str(error), remedy="choose another row") from error
        return ExportedHead({"mean": fold.scaler.mean, "std": fold.scaler.std, "weight": weight, "bias": bias})


KNN = NearestNeighbours()
KNN_WEIGHTED = WeightedNeighbours()
CENTROID = NearestCentroid()
CENTROID_SHRUNKEN = ShrunkenCentroid()
