"""Train rows that lie beside a predictor: which of them a new image is near, and whether it is near any.

Rows are of unit length, so that one minus a product is a cosine distance; they are not centred, as nearly everything
strange is near the centre of everything known. An image is unlike anything in training where it is farther from its
k-th neighbour than all but a hundredth of the train rows are from theirs, each of them left out of its own search (Sun,
Ming, Zhu and Li 2022, "Out-of-distribution detection with deep nearest neighbors", ICML).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probeline.heads.neighbours import nearest
from probeline.heads.tensors import resident
from probeline.types import FloatArray, IntArray

K = 5
"""The neighbour that tells how far off an image is, or the last where there are fewer: few, as classes may be small."""

QUANTILE = 0.99


@dataclass(frozen=True)
class Rows:
    """Some train rows.

    Attributes
    ----------
    unit : float32 Tensor [n, D]
        Of unit length, as float16 rounds them.
    labels : int64 [n]
    sample_ids : tuple of str [n]
    k : int
    threshold : float
        Distances above it are unlike anything in training.
    """

    unit: Tensor
    labels: IntArray
    sample_ids: tuple[str, ...]
    k: int
    threshold: float

    def search(self, features: Tensor, wanted: int) -> tuple[IntArray, FloatArray, FloatArray]:
        """Look rows up.

        Parameters
        ----------
        features : float32 Tensor [m, D]
            As the net gives them.
        wanted : int

        Returns
        -------
        places : int64 [m, min(wanted, n)]
            The nearest first.
        distances : float32 [m, min(wanted, n)]
        kth : float32 [m]
            The distance to the k-th neighbour.
        """
        products = _unit(features.to(self.unit.device)) @ self.unit.T
        count = min(wanted, len(self.unit))
        values, places = products.topk(max(count, self.k), dim=1)
        distances = 1 - values.cpu().numpy()
        return places[:, :count].cpu().numpy(), distances[:, :count], distances[:, self.k - 1]

    def to(self, device: torch.device) -> Rows:
        """Return the same rows on a device."""
        return replace(self, unit=self.unit.to(device))


def _unit(features: Tensor) -> Tensor:
    unit: Tensor = features / torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp(min=1e-12)
    return unit


def row_tensors(features: FloatArray, labels: IntArray) -> dict[str, Tensor]:
    """Return what is written of train rows: features float32 [n, D] as the net gives them, labels int64 [n]."""
    return {"unit": _unit(resident(features)).to(torch.float16), "labels": resident(labels)}


def threshold(tensors: Mapping[str, Tensor]) -> tuple[int, float]:
    """Return k, and the `QUANTILE` of the rows' distances to their own k-th neighbour, themselves left out."""
    unit = tensors["unit"].float().numpy()
    k = min(K, len(unit) - 1)
    _, cosines = nearest(unit, unit, k, own=np.arange(len(unit)))
    return k, float(np.quantile(1 - cosines[:, -1], QUANTILE, method="higher"))


def rows_of(
    tensors: Mapping[str, Tensor], sample_ids: tuple[str, ...], facts: Mapping[str, Any], features: int
) -> Rows:
    """Return the rows of an artifact's tensors and of what its record says of them.

    Raises
    ------
    ValueError
        They do not belong together.
    """
    n, k = len(sample_ids), int(facts["k"])
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != {"unit": (n, features), "labels": (n,)} or not 1 <= k < n:
        raise ValueError(f"{n} train rows of {features} features, not {shapes}")
    labels, unit, limit = tensors["labels"].numpy().astype(np.int64), tensors["unit"].float(), float(facts["threshold"])
    if not bool(unit.isfinite().all()) or not np.isfinite(limit):
        raise ValueError("train rows or their threshold are not finite")
    return Rows(unit, labels, sample_ids, k, limit)
