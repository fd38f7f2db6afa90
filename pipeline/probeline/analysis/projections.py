"""Rows as points in a plane, to be looked at: two principal components, and t-SNE."""

from __future__ import annotations

import numpy as np

from probeline.heads.checks import check_features
from probeline.types import FloatArray

_FEW = 500
"""Up to so many rows or columns a whole decomposition costs nothing; Lanczos' method wants more than its two."""


def principal(X: FloatArray, shown: FloatArray) -> tuple[FloatArray, tuple[float, float]]:
    """Return rows in the plane in which other rows vary most, and which part of their variance lies along each axis.

    Parameters
    ----------
    X : float32 [N, D]
        What the plane is fitted on; N and D at least 2.
    shown : float32 [m, D]

    Returns
    -------
    float32 [m, 2]
        Distances from the mean of `X` along the two axes, the one of the larger variance first. The largest
        coefficient of each axis is positive.
    tuple of 2 floats
        Shares in [0, 1] of the variance of `X`; 0 where all of its rows are the same.

    Raises
    ------
    ValueError
        Where an array is not as described.
    """
    check_features(X)
    check_features(shown, columns=X.shape[1])
    if min(X.shape) < 2:
        raise ValueError(f"a plane takes two rows and two columns, not {list(X.shape)}")
    if (X[0] == X).all():
        return np.zeros((len(shown), 2), np.float32), (0.0, 0.0)
    from sklearn.decomposition import PCA

    solver = "full" if min(X.shape) <= _FEW else "arpack"
    plane = PCA(2, svd_solver=solver, random_state=0).fit(X)
    first, second = plane.explained_variance_ratio_.tolist()
    return plane.transform(shown).astype(np.float32), (first, second)


def tsne(X: FloatArray, perplexity: float, seed: int) -> tuple[FloatArray, float]:
    """Return rows as points float32 [N, 2] whose neighbours are those of the rows, and the divergence that is left.

    Barnes and Hut's approximation, begun from principal components. It runs in one thread: with several the sums of
    its forces come in any order, and it makes of the last bit of one another picture.

    Parameters
    ----------
    X : float32 [N, D]
    perplexity : float
        About how many neighbours a row has; less than N.
    seed : int

    Raises
    ------
    ValueError
        Where `X` is not as described.

    References
    ----------
    van der Maaten and Hinton 2008, "Visualizing data using t-SNE", Journal of Machine Learning Research 9; van der
    Maaten 2014, "Accelerating t-SNE using tree-based algorithms", the same 15.
    """
    check_features(X)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        found = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
        points: FloatArray = found.fit_transform(X).astype(np.float32)
    return points, float(found.kl_divergence_)
