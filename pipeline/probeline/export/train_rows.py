"""Train rows of a predictor: which of them a new image is near, and whether it is near any.

Rows are of unit length, so that one minus a product is a cosine distance; they are not centred, as nearly everything
strange is near the centre of everything known. An image is unlike anything in training if it is farther from its
k-th neighbour than all but a hundredth of the train rows are from theirs, each of them left out of its own search (Sun,
Ming, Zhu and Li 2022, "Out-of-distribution detection with deep nearest neighbors", ICML).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from probeline.export.artifact.record import TrainRowFacts
from probeline.heads.neighbours import nearest
from probeline.heads.tensors import resident
from probeline.types import FloatArray, IntArray

K = 5
"""The neighbour whose distance counts, or the last of fewer rows; a low number, as classes may be small."""

QUANTILE = 0.99

_LONGEST = 1 + 2**-10
"""Of a row of unit length whose values float16 rounds by 2**-11 of themselves, and float32 sums."""


@dataclass(frozen=True)
class TrainRows:
    """Train rows `unit`, float32 [n, D], of unit length as float16 rounds them, with labels int64 [n] and sample ids.

    Images whose distance to their `k`-th neighbour is above `threshold` are unlike anything in training.
    """

    unit: Tensor
    labels: IntArray
    sample_ids: tuple[str, ...]
    k: int
    threshold: float

    def search(self, features: Tensor, count: int) -> tuple[IntArray, FloatArray, FloatArray]:
        """Return the indices and distances [m, count] of the rows nearest to features float32 [m, D], nearest first.

        There are at most n of them. The third array is the distance to the k-th neighbour, float32 [m].
        """
        products = functional.normalize(features.to(self.unit.device), dim=1) @ self.unit.T
        count = min(count, len(self.unit))
        values, indices = products.topk(max(count, self.k), dim=1)
        distances = 1 - values.cpu().numpy()
        return indices[:, :count].cpu().numpy(), distances[:, :count], distances[:, self.k - 1]


def row_tensors(features: FloatArray, labels: IntArray) -> dict[str, Tensor]:
    """Return the tensors of a file of train rows, from features float32 [n, D] of the net and labels int64 [n]."""
    return {"unit": functional.normalize(resident(features), dim=1).to(torch.float16), "labels": resident(labels)}


def threshold(tensors: Mapping[str, Tensor]) -> tuple[int, float]:
    """Return k, and the `QUANTILE` of the rows' distances to their own k-th neighbour, themselves left out."""
    unit = tensors["unit"].float().numpy()
    k = min(K, len(unit) - 1)
    _, cosines = nearest(unit, unit, k, own=np.arange(len(unit)))
    return k, float(np.quantile(1 - cosines[:, -1], QUANTILE, method="higher"))


def rows_of(
    tensors: Mapping[str, Tensor], sample_ids: tuple[str, ...], facts: TrainRowFacts, features: int
) -> TrainRows:
    """Return the rows of an artifact's tensors and of its record's facts about them.

    Raises
    ------
    ValueError
        They do not belong together.
    """
    n, shapes = facts.rows, {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != {"unit": (n, features), "labels": (n,)} or len(sample_ids) != n or not 1 <= facts.k < n:
        raise ValueError(f"{n} train rows of {features} features, not {shapes} and {len(sample_ids)} sample ids")
    if tensors["unit"].dtype != torch.float16 or tensors["labels"].dtype != torch.int64:
        raise ValueError("train rows are float16, and their labels int64")
    labels, unit = tensors["labels"].numpy(), tensors["unit"].float()
    if not bool(unit.isfinite().all()) or float(torch.linalg.vector_norm(unit, dim=1).max()) > _LONGEST:
        raise ValueError("train rows are not finite, or longer than 1")
    return TrainRows(unit, labels, sample_ids, facts.k, facts.threshold)
