"""Heads that learn nothing: the classes of the nearest rows, and of the nearest mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from probeline.heads.checks import check_features, check_labelled

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_SMOOTHING = 1e-3
"""What an absent class counts for in the logarithm of votes; half of what breaks a tie."""

_AT_ONCE = 512
"""Rows that are set against all others at a time: of 50,000 others, 300 MB of cosines and places."""

_MEMORY = 256
"""Mebibytes that scikit-learn may take for the distances of a block of rows."""


def knn(X: FloatArray, y: IntArray, X_held: FloatArray, ks: Sequence[int], *, classes: int) -> dict[int, FloatArray]:
    """Return for each k the logits float32 [m, K] of a vote among the k nearest rows by cosine.

    Each neighbour has one vote; of classes with equally many the nearest neighbour's wins, and otherwise the lower.
    Of neighbours equally near the first row comes first; where more rows are equally near than k has room for,
    scikit-learn picks, the same ones each time. The logits are the logarithms of the shares of votes, smoothed.

    Parameters
    ----------
    X : float32 [N, D]
    y : int64 [N]
    X_held : float32 [m, D]
    ks : sequence of int
        Each in [1, N]; one search serves all.
    classes : int
        K.

    Raises
    ------
    ValueError
        Where an array or a k is not as described.
    """
    check_labelled(X, y, classes)
    check_features(X_held, columns=X.shape[1])
    if not ks or not all(1 <= k <= len(y) for k in ks):
        raise ValueError(f"each k must lie in [1, {len(y)}], and there must be one: {list(ks)}")
    import sklearn
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=max(ks), metric="cosine", algorithm="brute").fit(X)
    with sklearn.config_context(working_memory=_MEMORY):
        distances, places = index.kneighbors(X_held)
    places = np.take_along_axis(places, np.lexsort((places, distances)), axis=1)
    nearest = y[places]
    every = np.arange(len(X_held))
    votes = np.zeros((len(X_held), classes))
    votes[every, nearest[:, 0]] = 2 * _SMOOTHING
    logits = {}
    for k in range(1, max(ks) + 1):
        votes[every, nearest[:, k - 1]] += 1
        if k in ks:
            logits[k] = np.log((votes + _SMOOTHING) / k).astype(np.float32)
    return {k: logits[k] for k in ks}


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

    Raises
    ------
    ValueError
        Where an array is not as described.
    """
    check_labelled(X, y, classes)
    check_features(X_held, columns=X.shape[1])
    from sklearn.metrics import euclidean_distances

    logits = np.full((len(X_held), classes), np.finfo(np.float32).min, np.float32)
    present = np.unique(y)
    centroids = np.stack([X[y == label].mean(axis=0, dtype=np.float64) for label in present])
    logits[:, present] = -0.5 * euclidean_distances(X_held.astype(np.float64), centroids, squared=True)
    return logits


def nearest(X: FloatArray, X_held: FloatArray, k: int, *, own: IntArray | None = None) -> tuple[IntArray, FloatArray]:
    """Return the places int64 [m, k] of the k nearest rows by cosine, nearest first, and the cosines float32 [m, k].

    Every held row is set against every row, some hundred at a time, so that memory stays in the order of X. Of rows
    equally near the first comes first, where k has room for them.

    Parameters
    ----------
    X : float32 [N, D]
    X_held : float32 [m, D]
        A row of zeros has the cosine 0 with all.
    k : int
        In [1, N]; with `own` in [1, N - 1].
    own : int64 [m], optional
        The place in X of each held row itself, which is none of its neighbours; -1 where it has none.

    Raises
    ------
    ValueError
        Where an array or k is not as described.
    """
    check_features(X)
    check_features(X_held, columns=X.shape[1])
    if not 1 <= k <= len(X) - (own is not None) or (own is not None and own.shape != (len(X_held),)):
        raise ValueError(f"k must lie in [1, {len(X) - (own is not None)}], not {k}, and own have {len(X_held)} rows")
    rows, places, cosines = _unit(X), np.empty((len(X_held), k), np.int64), np.empty((len(X_held), k), np.float32)
    for start in range(0, len(X_held), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        near = _unit(X_held[some]) @ rows.T
        if own is not None:
            has = np.flatnonzero(own[some] >= 0)
            near[has, own[some][has]] = -np.inf
        found = np.argpartition(near, len(X) - k, axis=1)[:, len(X) - k :]
        found.sort(axis=1)
        values = np.take_along_axis(near, found, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        places[some] = np.take_along_axis(found, order, axis=1)
        cosines[some] = np.take_along_axis(values, order, axis=1)
    return places, cosines


def _unit(X: FloatArray) -> FloatArray:
    """Return rows of length 1; those of zeros as they are."""
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    rows: FloatArray = np.divide(X, lengths, out=np.zeros_like(X), where=lengths > 0)
    return rows
