"""The intrinsic dimension of features, from the distances of each row to its two nearest rows."""

from __future__ import annotations

import numpy as np

from probeline.metrics.features.rows import check_rows, in_few_columns
from probeline.types import AnyFloatArray, DoubleArray

DISCARDED = 0.1
"""Share of the largest ratios that are left out of the fit, as in Facco et al.: they are off the line."""

FEWEST = 20
"""Rows; the standard error of about d / sqrt(n) is then a fifth to a quarter of the dimension."""


def two_nearest(X: AnyFloatArray) -> DoubleArray:
    """Return the distances float64 [n, 2] of each row to its two nearest other rows, the nearest first.

    Neighbours are found by products of centred rows in float64; the distances of those found are then computed from
    the differences of the rows. `X` has three rows or more.
    """
    from sklearn.neighbors import NearestNeighbors

    check_rows(X)
    if len(X) < 3:
        raise ValueError(f"two nearest rows of each need three rows, not {len(X)}")
    centred = in_few_columns(X - X.mean(axis=0, dtype=np.float64))
    index = NearestNeighbors(n_neighbors=min(4, len(X)), algorithm="brute").fit(centred)
    neighbours = index.kneighbors(centred, return_distance=False)
    distances = np.empty(neighbours.shape)
    for column, rows in enumerate(neighbours.T):
        distances[:, column] = np.linalg.norm(centred - centred[rows], axis=1)
    distances[neighbours == np.arange(len(X))[:, None]] = np.inf  # itself
    nearest: DoubleArray = np.sort(distances, axis=1)[:, :2]
    return nearest


def two_nn(distances: DoubleArray) -> float | None:
    """Return the intrinsic dimension that distances float64 [n, 2] to the two nearest rows show; None if they do not.

    On a manifold of dimension d on which rows are locally uniform, the ratio of the two distances has the distribution
    function 1 - ratio^-d: d is the slope of -log(1 - F) over log(ratio), F being the empirical one, fitted through the
    origin without the largest tenth. Facco, d'Errico, Rodriguez and Laio 2017, "Estimating the intrinsic dimension of
    datasets by a minimal neighborhood information", Scientific Reports 7, 12140.

    There is none for fewer than `FEWEST` rows, and where most of the two distances are equal, as on a lattice.

    Raises
    ------
    ValueError
        A distance is zero: equal rows have to be left out before.
    """
    if not (distances > 0).all():
        raise ValueError("equal rows have no ratio of distances")
    n = len(distances)
    if n < FEWEST:
        return None
    logs = np.sort(np.log(distances[:, 1] / distances[:, 0]))[: int(n * (1 - DISCARDED))]
    heights = -np.log1p(-np.arange(1, len(logs) + 1) / n)
    squares = float(logs @ logs)
    # Ratios are known to some 1e-12: a lattice has ratios of 1 but for rounding.
    return float(logs @ heights) / squares if np.median(logs) > 1e-9 else None
