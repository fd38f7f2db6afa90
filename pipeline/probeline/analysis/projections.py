"""Projections of features onto a plane: two principal components, and t-SNE."""

from __future__ import annotations

import numpy as np

from probeline.heads.checks import check_features
from probeline.types import FloatArray

_FEW = 500
"""Rows or columns up to which a full decomposition is cheap; Lanczos' method needs more of them than two."""


def project_pca(X: FloatArray, shown: FloatArray) -> tuple[FloatArray, tuple[float, float]]:
    """Return rows float32 [m, 2] in the plane of the largest variance of `X`, and the variance's share per axis.

    These are distances from the mean of `X` along the two axes, the one of the larger variance first. The largest
    coefficient of each axis is positive. Shares are 0 if all rows of `X` are equal.

    Raises
    ------
    ValueError
        `X` has fewer than two rows or columns, or an array is not float32 [N, D].
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
    its sums come in any order, and t-SNE turns a difference in the last bit into another picture. `perplexity` is about
    the number of neighbours per row; less than N. van der Maaten and Hinton 2008, "Visualizing data using t-SNE",
    Journal of Machine Learning Research 9; van der Maaten 2014, "Accelerating t-SNE using tree-based algorithms",
    Journal of Machine Learning Research 15.

    Raises
    ------
    ValueError
        `X` is not float32 [N, D].
    """
    check_features(X)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        model = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
        points: FloatArray = model.fit_transform(X).astype(np.float32)
    return points, float(model.kl_divergence_)
