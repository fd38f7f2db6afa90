"""Projections of features onto a plane: two principal components, and t-SNE."""

from __future__ import annotations

import numpy as np

from probeline.heads.checks import check_features
from probeline.types import FloatArray

_FEW = 500
"""Rows or columns up to which a full decomposition is cheap; Lanczos' method needs more of them than two."""


def project_pca(X: FloatArray, shown: FloatArray) -> tuple[FloatArray, tuple[float, float]]:
    """Return rows in the plane of the largest variance of `X`, and the share of the variance along each axis.

    Parameters
    ----------
    X : float32 [N, D]
        The plane is fitted on it; N and D at least 2.
    shown : float32 [m, D]

    Returns
    -------
    float32 [m, 2]
        Distances from the mean of `X` along the two axes, the one of the larger variance first. The largest
        coefficient of each axis is positive.
    tuple of 2 floats
        Shares in [0, 1] of the variance of `X`; 0 if all of its rows are equal.

    Raises
    ------
    ValueError
        An array is not as described.
    """
    check_features(X)
    check_features(shown, columns=X.shape[1])
    if min(X.shape) < 2:
        raise ValueError(f"a plane needs two rows and two columns, not {list(X.shape)}")
    if (X[0] == X).all():
        return np.zeros((len(shown), 2), np.float32), (0.0, 0.0)
    from sklearn.decomposition import PCA

    solver = "full" if min(X.shape) <= _FEW else "arpack"
    plane = PCA(2, svd_solver=solver, random_state=0).fit(X)
    first, second = plane.explained_variance_ratio_.tolist()
    return plane.transform(shown).astype(np.float32), (first, second)


def project_tsne(X: FloatArray, perplexity: float, seed: int) -> tuple[FloatArray, float]:
    """Return points float32 [N, 2] with about the same neighbours as the rows, and the final divergence in nats.

    Barnes and Hut's approximation, initialised by principal components. It runs in one thread: with several threads
    its sums come in any order, and t-SNE turns a difference in the last bit into another picture.

    Parameters
    ----------
    X : float32 [N, D]
    perplexity : float
        About the number of neighbours of a row; less than N.
    seed : int

    Raises
    ------
    ValueError
        `X` is not as described.

    References
    ----------
    van der Maaten and Hinton 2008, "Visualizing data using t-SNE", Journal of Machine Learning Research 9; van der
    Maaten 2014, "Accelerating t-SNE using tree-based algorithms", the same 15.
    """
    check_features(X)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        model = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
        points: FloatArray = model.fit_transform(X).astype(np.float32)
    return points, float(model.kl_divergence_)
