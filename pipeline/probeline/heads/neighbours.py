"""k nearest neighbours, whose votes count alike or by their similarity, and nearest class means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probeline.heads.checks import check_features, check_labelled
from probeline.heads.standardize import unit_rows
from probeline.types import DoubleArray, FloatArray, IntArray

SMOOTHING = 1e-3
"""Votes added to each class before the logarithm; half of what breaks a tie."""

TEMPERATURE = 0.07
"""Of weighted votes."""

MEMORY = 256
"""Mebibytes for the cosines of a block of rows."""


def nearest(
    X: FloatArray, X_heldout: FloatArray, k: int, *, own: IntArray | None = None, memory: float = MEMORY
) -> tuple[IntArray, FloatArray]:
    """Return the k nearest rows by cosine, the nearest first: their indices int64 [m, k] and cosines float32 [m, k].

    Of equally near rows the first comes first; if more are equally near than k has room for, torch picks, the same
    ones each time. A row of zeros has the cosine 0 with all.

    Parameters
    ----------
    X : float32 [N, D]
    X_heldout : float32 [m, D]
    k : int
        In [1, N]; with `own` in [1, N - 1].
    own : int64 [m], optional
        Index in X of each held-out row, which is excluded from its neighbours; -1 if it is not in X.
    memory : float
        Mebibytes for the cosines of a block of rows.
    """
    check_features(X)
    check_features(X_heldout, columns=X.shape[1])
    most = len(X) - (own is not None)
    if not 1 <= k <= most:
        raise ValueError(f"k must lie in [1, {most}], not {k}")
    if own is not None and own.shape != (len(X_heldout),):
        raise ValueError(f"own must have {len(X_heldout)} rows, not {own.shape}")
    import torch

    rows, asked = (torch.from_numpy(unit_rows(array)) for array in (X, X_heldout))
    count, block = k + (own is not None), max(1, int(memory * 2**20 / rows.element_size() / len(rows)))
    found = [torch.topk(part @ rows.T, count, dim=1) for part in torch.split(asked, block)]
    cosines = torch.cat([values for values, _ in found]).clamp_(-1, 1).numpy()
    indices = torch.cat([positions for _, positions in found]).numpy()
    order = np.lexsort((indices, -cosines))
    indices, cosines = (np.take_along_axis(array, order, axis=1) for array in (indices, cosines))
    if own is not None:
        others = indices != own[:, None]
        others[others.all(axis=1), -1] = False  # not in X, or with so many copies that it is not among the nearest
        indices, cosines = (array[others].reshape(-1, k) for array in (indices, cosines))
    return indices, cosines


def knn(X: FloatArray, y: IntArray, X_heldout: FloatArray, ks: Sequence[int], *, classes: int) -> dict[int, FloatArray]:
    """Return for each k the logits float32 [m, K] of a vote among the k nearest rows, all from one search.

    A tie goes to the nearest neighbour's class, and otherwise to the lower class. The logits are the logarithms of the
    smoothed shares of votes.
    """
    check_labelled(X, y, classes)
    if not ks or not all(1 <= k <= len(y) for k in ks):
        raise ValueError(f"each k must lie in [1, {len(y)}], and there must be one: {list(ks)}")
    neighbours = y[nearest(X, X_heldout, max(ks))[0]]
    rows = np.arange(len(X_heldout))
    votes = np.zeros((len(X_heldout), classes))
    votes[rows, neighbours[:, 0]] = 2 * SMOOTHING
    logits = {}
    for k in range(1, max(ks) + 1):
        votes[rows, neighbours[:, k - 1]] += 1
        if k in ks:
            logits[k] = np.log((votes + SMOOTHING) / k).astype(np.float32)
    return {k: logits[k] for k in ks}


def weighted_knn(
    X: FloatArray,
    y: IntArray,
    X_heldout: FloatArray,
    ks: Sequence[int],
    *,
    classes: int,
    temperature: float = TEMPERATURE,
) -> dict[int, FloatArray]:
    """Return for each k the logits float32 [m, K] of weighted votes among the k nearest rows, all from one search.

    A neighbour's vote has the weight exp(cosine / temperature). The logits are the logarithms of the smoothed shares of
    votes, as those of :func:`knn`, which they equal for neighbours that are equally near.

    References
    ----------
    Wu, Xiong, Yu and Lin 2018, "Unsupervised feature learning via non-parametric instance discrimination", CVPR,
    section 3.4; Caron et al. 2021, "Emerging properties in self-supervised vision transformers" (DINO), ICCV,
    section 4.1, whose features are not standardised.
    """
    check_labelled(X, y, classes)
    if not ks or not all(1 <= k <= len(y) for k in ks):
        raise ValueError(f"each k must lie in [1, {len(y)}], and there must be one: {list(ks)}")
    if not 0 < temperature < np.inf:
        raise ValueError(f"a temperature is positive, not {temperature}")
    indices, cosines = nearest(X, X_heldout, max(ks))
    neighbours = y[indices]
    # Relative to the nearest one, so that no temperature overflows.
    weights = np.exp((cosines - cosines[:, :1]).astype(np.float64) / temperature)
    rows = np.arange(len(X_heldout))
    votes, total = np.zeros((len(X_heldout), classes)), np.zeros((len(X_heldout), 1))
    logits = {}
    for k in range(1, max(ks) + 1):
        votes[rows, neighbours[:, k - 1]] += weights[:, k - 1]
        total[:, 0] += weights[:, k - 1]
        if k in ks:
            logits[k] = np.log(votes / total + SMOOTHING / k).astype(np.float32)
    return {k: logits[k] for k in ks}


def nearest_centroid(X: FloatArray, y: IntArray, X_heldout: FloatArray, *, classes: int) -> FloatArray:
    """Return minus half the squared Euclidean distances float32 [m, K] to each class's mean row.

    The column of a class without rows is the lowest finite float32.
    """
    return distance_logits(*class_means(X, y, classes), X_heldout, classes=classes)


def distance_logits(present: IntArray, centroids: DoubleArray, X_heldout: FloatArray, *, classes: int) -> FloatArray:
    """Return minus half the squared Euclidean distances float32 [m, K] to the centroids float64 [P, D] of some classes.

    The column of a class that is not `present`, int64 [P], is the lowest finite float32.
    """
    check_features(X_heldout, columns=centroids.shape[1])
    from sklearn.metrics import euclidean_distances

    logits = np.full((len(X_heldout), classes), np.finfo(np.float32).min, np.float32)
    logits[:, present] = -0.5 * euclidean_distances(X_heldout.astype(np.float64), centroids, squared=True)
    return logits


def centroid_layer(X: FloatArray, y: IntArray, *, classes: int) -> tuple[FloatArray, FloatArray]:
    """Return weight float32 [K, D] and bias float32 [K] of the layer that decides as :func:`nearest_centroid`."""
    return layer_of_centroids(*class_means(X, y, classes), classes=classes)


def layer_of_centroids(present: IntArray, centroids: DoubleArray, *, classes: int) -> tuple[FloatArray, FloatArray]:
    """Return weight float32 [K, D] and bias float32 [K] of the linear layer that decides by the nearest centroid.

    Of a row x and a mean c, -|x - c|^2 / 2 is x c - |c|^2 / 2 but for -|x|^2 / 2, which all classes share. The mean of
    these over the classes is subtracted as well, to keep the numbers small. A class without rows is a ValueError.
    """
    if len(present) < classes:
        raise ValueError(f"rows of {len(present)} of {classes} classes")
    bias = -0.5 * (centroids**2).sum(1)
    return (centroids - centroids.mean(0)).astype(np.float32), (bias - bias.mean()).astype(np.float32)


def class_means(X: FloatArray, y: IntArray, classes: int) -> tuple[IntArray, DoubleArray]:
    """Return the classes int64 [P] that have rows, and the mean row of each, float64 [P, D]."""
    check_labelled(X, y, classes)
    present = np.unique(y)
    return present, np.stack([X[y == label].mean(axis=0, dtype=np.float64) for label in present])
