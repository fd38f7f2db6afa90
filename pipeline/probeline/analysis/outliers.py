"""Outliers: rows further from the nearest known rows than the known rows are from one another."""

from __future__ import annotations

import numpy as np

from probeline.types import DoubleArray, FloatArray, IntArray

_BLOCK = 512
"""Rows whose distances are computed at once."""


def neighbour_distances(X: FloatArray, X_heldout: FloatArray, neighbours: IntArray) -> DoubleArray:
    """Return each test row's mean of 1 - cosine to its neighbours, rows of `X` int64 [m, k]: float64 [m] in [0, 2].

    The cosine is of features that are not centred: centred rows near the mean would point in any direction, and the
    most ordinary images would look like outliers. Sun, Ming, Zhu and Li 2022, "Out-of-distribution detection with deep
    nearest neighbors", ICML.
    """
    lengths = np.maximum(np.linalg.norm(X, axis=1), np.finfo(np.float32).tiny)
    distances = np.empty(len(X_heldout))
    for start in range(0, len(X_heldout), _BLOCK):
        rows = slice(start, start + _BLOCK)
        own = np.maximum(np.linalg.norm(X_heldout[rows], axis=1), np.finfo(np.float32).tiny)
        products = np.einsum("ij,ikj->ik", X_heldout[rows], X[neighbours[rows]])
        distances[rows] = 1 - (products / lengths[neighbours[rows]] / own[:, None]).mean(axis=1, dtype=np.float64)
    return distances


def conformal_p_values(known: DoubleArray, distances: DoubleArray) -> DoubleArray:
    """Return each distance's share of known distances, itself included, that are as large: float64 [m] in (0, 1].

    A conformal p-value: for a row from the distribution of the known ones it is at most `a` with probability `a`, but
    for the fact that the known ones were measured among themselves. Bates, Candès, Lei, Romano and Sesia 2023, "Testing
    for outliers with conformal p-values", Annals of Statistics 51.
    """
    above = len(known) - np.searchsorted(np.sort(known), distances, side="left")
    return (1 + above) / (1 + len(known))


def distance_threshold(known: DoubleArray, level: float) -> float:
    """Return the distance that a share `level` in (0, 1) of the known ones exceeds."""
    return float(np.quantile(known, 1 - level))
