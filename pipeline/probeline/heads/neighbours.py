"""Heads that learn nothing: the classes of the nearest rows, and of the nearest mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_SMOOTHING = 1e-3
"""What an absent class counts for in the logarithm of votes; far below a half of the nearest neighbour's bonus."""


def knn(X: FloatArray, y: IntArray, X_held: FloatArray, ks: Sequence[int], *, classes: int) -> dict[int, FloatArray]:
    """Return for each k the logits float32 [m, K] of a vote among the k nearest rows by cosine.

    Each neighbour has one vote; of classes with equally many the nearest neighbour's wins, and otherwise the lower.
    The logits are the logarithms of the votes, so that their softmax is the share of votes.

    Parameters
    ----------
    X : float32 [N, D]
    y : int64 [N]
    X_held : float32 [m, D]
    ks : sequence of int
        Each in [1, N]; one search serves all.
    classes : int
        K.
    """
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=max(ks), metric="cosine", algorithm="brute").fit(X)
    nearest = y[index.kneighbors(X_held, return_distance=False)]
    rows = np.arange(len(X_held))
    found = {}
    for k in ks:
        votes = np.zeros((len(X_held), classes))
        for rank in range(k):
            np.add.at(votes, (rows, nearest[:, rank]), 1)
        votes[rows, nearest[:, 0]] += 2 * _SMOOTHING
        found[k] = np.log((votes + _SMOOTHING) / k).astype(np.float32)
    return found


def nearest_centroid(X: FloatArray, y: IntArray, X_held: FloatArray, *, classes: int) -> FloatArray:
    """Return minus half the squared Euclidean distances float32 [m, K] to each class's mean row.

    A class without rows is infinitely far: its column is the lowest finite float32.

    Parameters
    ----------
    X : float32 [N, D]
    y : int64 [N]
    X_held : float32 [m, D]
    classes : int
        K.
    """
    from sklearn.metrics import pairwise_distances

    logits = np.full((len(X_held), classes), np.finfo(np.float32).min, np.float32)
    present = np.unique(y)
    centroids = np.stack([X[y == label].mean(axis=0, dtype=np.float64) for label in present])
    logits[:, present] = -0.5 * pairwise_distances(X_held.astype(np.float64), centroids) ** 2
    return logits
