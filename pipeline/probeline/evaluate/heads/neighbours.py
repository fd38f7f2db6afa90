"""Heads that keep the train rows: k nearest neighbours and the nearest class mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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
from probeline.names import Method
from probeline.options.groups.fitting import HeadOptions
from probeline.types import FloatArray, IntArray

NEIGHBOURS = (1, 3, 5, 10, 20, 50)


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


class StoredRowsMethod(HeadMethod[StoredRows]):
    """A method that trains nothing."""

    verb = "baselines"
    are_independent = True

    def count_parameters(self, head: StoredRows) -> int:
        return 0


class NearestNeighbours(StoredRowsMethod):
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
        from probeline.heads.neighbours import knn

        stored = heads[0]
        return knn(stored.X, stored.y, X, [head.k for head in heads], classes=stored.classes).values()

    def certificate(self, head: StoredRows, selection: Selection[StoredRows], settings: FitSettings) -> Certificate:
        """Return whether the grid ends too early; there are no fewer neighbours than one."""
        return Certificate(selection.is_at_edge and head.k > 1)

    def export(self, head: StoredRows, fold: Fold, settings: FitSettings) -> ExportedHead:
        """Return the rows at unit length."""
        rows = head.X / np.maximum(np.linalg.norm(head.X, axis=1, keepdims=True), 1e-12)
        scaling = {"mean": fold.scaler.mean, "std": fold.scaler.std}
        return ExportedHead({**scaling, "rows": rows, "labels": head.y, "k": np.array([head.k])})


class NearestCentroid(StoredRowsMethod):
    """The class whose mean train row is nearest; there is nothing to select."""

    name = Method.CENTROID

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        return Candidates.unordered([{}])

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[StoredRows]:
        return [StoredRows(fold.X, fold.y, settings.classes)]

    def logits(self, heads: Sequence[StoredRows], X: FloatArray) -> Iterable[FloatArray]:
        """Return minus half the squared distances to the class means, float32 [m, K]."""
        from probeline.heads.neighbours import nearest_centroid

        return [nearest_centroid(head.X, head.y, X, classes=head.classes) for head in heads]

    def export(self, head: StoredRows, fold: Fold, settings: FitSettings) -> ExportedHead:
        """Return the linear map that decides the same; a class without train rows, infinitely far, has none."""
        from probeline.heads.neighbours import centroid_layer

        try:
            weight, bias = centroid_layer(head.X, head.y, classes=settings.classes)
        except ValueError as error:
            raise BadOption("centroid cannot be exported", got=str(error), remedy="choose another row") from error
        return ExportedHead({"mean": fold.scaler.mean, "std": fold.scaler.std, "weight": weight, "bias": bias})


KNN = NearestNeighbours()
CENTROID = NearestCentroid()
