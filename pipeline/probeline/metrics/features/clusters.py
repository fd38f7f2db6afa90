"""Whether clusters that are found without labels are the classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from probeline.metrics.features.rows import check_rows, distinct_rows, unit_rows
from probeline.types import FloatArray, IntArray


class Agreement(NamedTuple):
    """How far the clusters of one seed and the classes are the same division; 1 if they are.

    `nmi` is the mutual information over the mean of the two entropies, in [0, 1], which is above 0 by chance too. `ari`
    is the adjusted Rand index, 0 on average by chance and 1 at most.
    """

    nmi: float
    ari: float


def cluster_agreement(X: FloatArray, y: IntArray, seed: int) -> Agreement | None:
    """Return how k-means with as many clusters as there are classes agrees with the labels.

    Rows are divided by their lengths, so that the squared distances of k-means are 2 - 2 cosine. One start by
    k-means++ with this seed, at most 300 rounds; in one thread, since with several the sums come in any order. None if
    there are fewer than two classes, or fewer different rows than classes. Vinh, Epps and Bailey 2010, "Information
    theoretic measures for clusterings comparison", Journal of Machine Learning Research 11; Hubert and Arabie 1985,
    "Comparing partitions", Journal of Classification 2.

    Parameters
    ----------
    X : float32 [n, D]
    y : int64 [n]
    seed : int
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from threadpoolctl import threadpool_limits

    check_rows(X, y)
    classes, unit = len(np.unique(y)), unit_rows(X)
    if classes < 2 or len(distinct_rows(unit)[0]) < classes:
        return None
    with threadpool_limits(1):
        clusters = KMeans(classes, n_init=1, random_state=seed).fit_predict(unit)
    return Agreement(float(normalized_mutual_info_score(y, clusters)), float(adjusted_rand_score(y, clusters)))
