"""Retrieval: how many of the images nearest to a query have its class.

Lengths: N rows of the gallery, q queries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import gammaln

from probeline.metrics.features.rows import check_rows, distinct_rows, unit_rows
from probeline.types import BoolArray, DoubleArray, FloatArray, IntArray

_BYTES = 1 << 28
"""Of the cosines of a block of queries."""


def retrieve(
    gallery: tuple[FloatArray, IntArray],
    queries: tuple[FloatArray, IntArray],
    ks: Sequence[int],
    advance: Callable[[int], object] = lambda _: None,
) -> tuple[DoubleArray, DoubleArray]:
    """Return recall at each k, float64 [q, len(ks)], and average precision, float64 [q], of each query.

    The rows of the gallery are ranked by cosine, and those with the query's class are right. Recall at k is 1 if one of
    the k nearest is right and else 0, as in Jégou, Douze and Schmid 2011, "Product quantization for nearest neighbor
    search", and Song et al. 2016, "Deep metric learning via lifted structured feature embedding"; it is not the share
    of all that are right. Average precision is that of scikit-learn over the whole gallery. Among rows of one cosine no
    order is preferred: recall is then the probability over their orders, and they have one precision. A query whose
    class is not in the gallery has NaN in both.

    Parameters
    ----------
    gallery, queries : features float32 [N or q, D] and labels int64 [N or q]
        A row of zeros has the cosine 0 with all.
    ks : sequence of int
        In [1, N].
    advance : callable
        Told how many queries were done.
    """
    X, y = gallery
    for rows, labels in (gallery, queries):
        check_rows(rows, labels)
    if X.shape[1] != queries[0].shape[1] or not all(1 <= k <= len(X) for k in ks):
        raise ValueError(f"no retrieval at {list(ks)} of {list(queries[0].shape)} among {list(X.shape)}")
    first, place = distinct_rows(X)  # products of equal rows need not be equal to the last bit
    unit = unit_rows(X if len(first) == len(X) else X[first])
    members = {label: place[y == label] for label in np.unique(y).tolist()}
    copies = np.bincount(place) if len(first) < len(X) else None
    size = max(1, _BYTES // (8 * len(X)))
    recalls, precisions = np.full((len(queries[0]), len(ks)), np.nan), np.full(len(queries[0]), np.nan)
    for start in range(0, len(queries[0]), size):
        block = queries[0][start : start + size]
        for number, cosines in enumerate(unit_rows(block) @ unit.T, start):
            own = members.get(int(queries[1][number]))
            if own is not None:
                recalls[number], precisions[number] = _judge(cosines, copies, own, ks)
        advance(len(block))
    return recalls, precisions


def _judge(cosines: FloatArray, copies: IntArray | None, own: IntArray, ks: Sequence[int]) -> tuple[list[float], float]:
    """Return recall at each k and the average precision of one query.

    `cosines` float32 [m] are of the distinct rows, `copies` int64 [m] how many rows of the gallery each is, None if one
    each, and `own` the distinct row of each right one.
    """
    ascending = np.sort(cosines if copies is None else np.repeat(cosines, copies))
    right = np.sort(cosines[own])
    # How many rows have as high a cosine as each right one, and how many right ones.
    reached = len(ascending) - np.searchsorted(ascending, right, "left")
    right_reached = len(right) - np.searchsorted(right, right, "left")
    nearer = len(ascending) - int(np.searchsorted(ascending, right[-1], "right"))
    tied, tied_right = int(reached[-1]) - nearer, int(right_reached[-1])
    return [_hit(k - nearer, tied, tied_right) for k in ks], float((right_reached / reached).mean())


def _hit(places: int, tied: int, right: int) -> float:
    """Return the probability that one of the first `places` of `tied` rows in random order is one of the right ones."""
    if places <= 0:
        return 0.0
    if places > tied - right:
        return 1.0
    wrong = tied - right
    none = gammaln(wrong + 1) - gammaln(wrong - places + 1) - gammaln(tied + 1) + gammaln(tied - places + 1)
    return float(-np.expm1(none))


def answerable(recalls: DoubleArray) -> BoolArray:
    """Return which queries have their class in the gallery, bool [q]."""
    return ~np.isnan(recalls[:, 0])


def bootstrap_interval(
    values: DoubleArray, *, draws: int = 2000, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Return a percentile interval for the mean of values float64 [q], by resampling them.

    Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13.
    """
    if not len(values) or draws < 1 or not 0 < confidence < 1:
        raise ValueError(f"no interval of {len(values)} values by {draws} draws at {confidence}")
    rng = np.random.default_rng(seed)
    n, size = len(values), max(1, _BYTES // (64 * len(values)))
    means = []
    for start in range(0, draws, size):
        counts = rng.multinomial(n, np.full(n, 1 / n), size=min(size, draws - start))
        means.append(counts @ values / n)
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
