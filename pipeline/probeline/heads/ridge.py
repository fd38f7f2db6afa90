"""Ridge regression on the classes' indicators: one eigendecomposition, then one matrix product per l2.

The objective is that of the other heads with squares in place of the cross-entropy: the mean over rows of
``||W x + b - t||^2 / 2``, plus ``l2 / 2 * ||W||^2``, with t = 1 for a row's class and 0 for the others; b is free.
It is scikit-learn's ``Ridge(alpha=l2 * N)``, and with weights of rows whose mean is 1 its ``sample_weight``. Two
classes have two scores, each the other's mirror image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probeline.heads.checks import check_l2s, check_labelled
from probeline.heads.class_weights import check_weights
from probeline.types import AnyArray, DoubleArray, FloatArray, IntArray

_BLOCK = 8192


@dataclass(frozen=True)
class RidgeHead:
    """A linear map, weight float32 [K, D] and bias float32 [K], whose scores are no log-probabilities."""

    weight: FloatArray
    bias: FloatArray
    l2: float


def fit_ridge(
    X: AnyArray, y: IntArray, classes: int, l2s: Sequence[float], *, weights: DoubleArray | None = None
) -> list[RidgeHead]:
    """Fit one head per l2, all from one eigendecomposition of the smaller of X'X and XX', in float64.

    A class without rows has the score 0 everywhere. `weights`, float64 [N], are the rows'; only their proportions
    matter.

    References
    ----------
    Hoerl and Kennard 1970, "Ridge regression: biased estimation for nonorthogonal problems", Technometrics 12, 55-67.
    By XX': Saunders, Gammerman and Vovk 1998, "Ridge regression learning algorithm in dual variables", ICML.
    """
    check_labelled(X, y, classes)
    if weights is None:
        roots = None
        shares = np.bincount(y, minlength=classes) / len(y)
        mean = X.mean(axis=0, dtype=np.float64)
    else:
        check_weights(weights, len(y))
        weights = weights / weights.mean()
        roots = np.sqrt(weights)[:, None]
        shares = np.bincount(y, weights, minlength=classes) / len(y)
        mean = _weighted_sum(X, weights) / len(y)
    l2s = check_l2s(l2s)
    spectrum, left, right = (_primal if X.shape[1] <= len(y) else _dual)(X, y, shares, mean, roots)
    heads = []
    for l2 in l2s:
        weight = left @ (right / (spectrum + l2)[:, None])
        heads.append(RidgeHead(weight.T.astype(np.float32), (shares - mean @ weight).astype(np.float32), l2))
    return heads


def _primal(
    X: AnyArray, y: IntArray, shares: DoubleArray, mean: DoubleArray, roots: DoubleArray | None
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return e [D], V [D, D] and P [D, K] such that the weights of any l2 are V (P / (e + l2)).

    `roots`, float64 [N, 1], are the square roots of the rows' weights, by which rows and targets are multiplied.
    """
    gram = np.zeros((X.shape[1], X.shape[1]))
    moments = np.zeros((X.shape[1], len(shares)))
    for start in range(0, len(y), _BLOCK):  # in blocks: no float64 copy of X
        rows = slice(start, start + _BLOCK)
        centred, targets = X[rows] - mean, _targets(y[rows], shares)
        if roots is not None:
            centred, targets = centred * roots[rows], targets * roots[rows]
        gram += centred.T @ centred
        moments += centred.T @ targets
    spectrum, vectors = np.linalg.eigh(gram / len(y))
    return spectrum.clip(min=0), vectors, vectors.T @ (moments / len(y))


def _dual(
    X: AnyArray, y: IntArray, shares: DoubleArray, mean: DoubleArray, roots: DoubleArray | None
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return the same for fewer rows than columns: e [N], X'U [D, N] and U'T / N [N, K]."""
    centred, targets = X - mean, _targets(y, shares)
    if roots is not None:
        centred, targets = centred * roots, targets * roots
    spectrum, vectors = np.linalg.eigh(centred @ centred.T / len(y))
    return spectrum.clip(min=0), centred.T @ vectors, vectors.T @ targets / len(y)


def _weighted_sum(X: AnyArray, weights: DoubleArray) -> DoubleArray:
    """Return the sum of the rows times their weights, float64 [D], without a float64 copy of X."""
    starts = range(0, len(X), _BLOCK)
    blocks = (weights[start : start + _BLOCK] @ X[start : start + _BLOCK] for start in starts)
    total: DoubleArray = np.sum(list(blocks), axis=0)
    return total


def _targets(y: IntArray, shares: DoubleArray) -> DoubleArray:
    """Return the centred indicators float64 [n, K] of classes int64 [n]."""
    targets = np.repeat(-shares[None], len(y), axis=0)
    targets[np.arange(len(y)), y] += 1
    return targets
