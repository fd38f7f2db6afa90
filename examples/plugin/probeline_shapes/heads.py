"""``discriminant``: linear discriminant analysis with a shrunken covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from probeline.evaluate.heads.method import Candidates, FitSettings, Fold, LinearMethod
from probeline.options.groups.fitting import HeadOptions
from probeline.types import FloatArray

SHRINKAGE = (0.01, 0.1, 0.3, 0.9)


@dataclass(frozen=True)
class Discriminant:
    """A linear map: weight float32 [K, D] and bias [K]."""

    weight: FloatArray
    bias: FloatArray


class DiscriminantAnalysis(LinearMethod[Discriminant]):
    """Gaussian classes of one covariance, shrunken towards a multiple of the identity (Ledoit and Wolf 2004)."""

    name = "discriminant"
    are_independent = True

    def options(self, options: HeadOptions) -> dict[str, Any]:  # noqa: ARG002
        return {"shrinkage": list(SHRINKAGE)}

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:  # noqa: ARG002
        return Candidates.of("shrinkage", settings.options["shrinkage"])

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[Discriminant]:
        counts = np.bincount(fold.y, minlength=settings.classes)
        means = np.zeros((settings.classes, fold.X.shape[1]))
        np.add.at(means, fold.y, fold.X)
        means /= np.maximum(counts, 1)[:, None]
        centred = fold.X - means[fold.y]
        covariance = centred.T @ centred / len(centred)
        mean_variance = np.trace(covariance) / len(covariance) or 1.0
        heads = []
        for shrinkage in candidates.strengths:
            shrunken = (1 - shrinkage) * covariance + shrinkage * mean_variance * np.eye(len(covariance))
            weight = np.linalg.solve(shrunken, means.T).T
            bias = np.log(np.maximum(counts, 1) / counts.sum()) - 0.5 * (weight * means).sum(axis=1)
            heads.append(Discriminant(weight.astype(np.float32), bias.astype(np.float32)))
        return heads


DISCRIMINANT = DiscriminantAnalysis()
