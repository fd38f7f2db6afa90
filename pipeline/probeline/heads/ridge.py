"""Ridge regression on numbers or the classes' indicators: one eigendecomposition, then one matrix product per l2.

The objective is that of the other heads with squares in place of the cross-entropy: the mean over rows of
``||W x + b - t||^2 / 2``, plus ``l2 / 2 * ||W||^2``; b is free. It is scikit-learn's ``Ridge(alpha=l2 * N)``, and with
weights of rows whose mean is 1 its ``sample_weight``. Of classes, t = 1 for a row's class and 0 for the others. Two
classes have two scores, each the other's mirror image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probeline.heads.checks import check_features, check_l2s, check_labelled
from probeline.heads.class_weights import check_weights
from probeline.types import AnyArray, DoubleArray, FloatArray, IntArray

_BLOCK = 8192

_LEAST_FREE = 1e-12
"""Least part of a row that its own leverage may leave, for 1 less the leverage to be right to a part in a thousand."""

Targets = Callable[[slice], DoubleArray]
"""The targets of some rows less their means, float64 [n, K]."""


@dataclass(frozen=True)
class RidgeHead:
    """A linear map, weight float32 [K, D] and bias float32 [K], whose scores are no log-probabilities.

    K counts classes, or targets that are numbers.
    """

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
        shares = np.bincount(y, minlength=classes) / len(y)
    else:
        check_weights(weights, len(y))
        weights = weights / weights.mean()
        shares = np.bincount(y, weights, minlength=classes) / len(y)
    return _fit(X, lambda rows: _indicators(y[rows], shares), shares, check_l2s(l2s), weights)


def fit_ridge_targets(X: AnyArray, Y: DoubleArray, l2s: Sequence[float]) -> list[RidgeHead]:
    """Fit one head per l2 on targets that are numbers, float64 [N, T], as :func:`fit_ridge` does on classes.

    The targets are independent of each other: fitted together they share the decomposition. The head is float32, so
    that a target whose mean is a million times its spread should be centred first.
    """
    means = _check_targets(X, Y)
    return _fit(X, lambda rows: Y[rows] - means, means, check_l2s(l2s))


def leave_one_out(X: AnyArray, Y: DoubleArray, l2s: Sequence[float]) -> Iterator[DoubleArray]:
    """Yield for each l2 the predictions float64 [N, T] of each row by the head that is fitted on all other rows.

    They are exact, without a refit: the residual of a row divided by 1 less its leverage, that of the bias included.
    The other rows keep the penalty of all, ``l2 N / 2 * ||W||^2`` beside the sum of squares, as in scikit-learn's
    ``RidgeCV(alphas=l2s * N)``. Rounding is that of the fit in float64: relatively about 1e-16 (e + l2) / l2, with the
    largest eigenvalue e of the features' covariance.

    `X` is float32 or float64 [N, D] and `Y` float64 [N, T], N at least 2. Memory beside them: float64 [N, S] and a few
    [N, T] for S values of l2, and four matrices [D, D], or [N, N] and one [N, D] for fewer rows than columns.

    Raises
    ------
    ValueError
        An array or an l2 is not as described, or an l2 is so weak that rounding would spoil a prediction.

    References
    ----------
    Allen 1974, "The relationship between variable selection and data augmentation and a method for prediction",
    Technometrics 16, 125-127. By the eigenvectors of XX': Rifkin and Lippert 2007, "Notes on regularized least
    squares", MIT-CSAIL-TR-2007-025.
    """
    means = _check_targets(X, Y)
    if len(X) < 2:
        raise ValueError("to leave one row out takes two")
    return (_leave_one_out if X.shape[1] <= len(X) else _leave_one_of_few_out)(X, Y - means, means, check_l2s(l2s))


def _leave_one_out(X: AnyArray, targets: DoubleArray, means: DoubleArray, l2s: list[float]) -> Iterator[DoubleArray]:
    mean = X.mean(axis=0, dtype=np.float64)
    spectrum, vectors, right = _primal(X, lambda rows: targets[rows], mean)
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(X), _BLOCK)]
    shrunk = 1 / (len(X) * (spectrum[:, None] + l2s))
    free = np.concatenate([1 - 1 / len(X) - np.square((X[rows] - mean) @ vectors) @ shrunk for rows in blocks])
    if free.min() < _LEAST_FREE:
        raise ValueError(f"l2 = {min(l2s)} is too weak to leave a row of these features out in float64")
    for number, l2 in enumerate(l2s):
        weight = vectors @ (right / (spectrum + l2)[:, None])
        residuals = np.concatenate([targets[rows] - (X[rows] - mean) @ weight for rows in blocks])
        yield means + targets - residuals / free[:, [number]]


def _leave_one_of_few_out(
    X: AnyArray, targets: DoubleArray, means: DoubleArray, l2s: list[float]
) -> Iterator[DoubleArray]:
    """Yield the same for fewer rows than columns, where a residual and what is free may both be tiny.

    Along each eigenvector of XX' both have the factor l2 / (e + l2). But for the one of equal entries, which the bias
    takes: it is given the largest eigenvalue and left out.
    """
    centred = X - X.mean(axis=0, dtype=np.float64)
    gram = centred @ centred.T / len(X)
    gram += 2 * np.trace(gram) / len(X) or 1.0
    spectrum, vectors = np.linalg.eigh(gram)
    spectrum, vectors = spectrum[:-1].clip(min=0), vectors[:, :-1]
    along, squares = vectors.T @ targets, np.square(vectors)
    for l2 in l2s:
        free = squares @ (1 / (spectrum + l2))
        yield means + targets - vectors @ (along / (spectrum + l2)[:, None]) / free[:, None]


def _fit(
    X: AnyArray, targets: Targets, means: DoubleArray, l2s: list[float], weights: DoubleArray | None = None
) -> list[RidgeHead]:
    """Return a head per l2 from centred targets and their means [K]; weights of rows have a mean of 1."""
    if weights is None:
        roots, mean = None, X.mean(axis=0, dtype=np.float64)
    else:
        roots, mean = np.sqrt(weights)[:, None], _weighted_sum(X, weights) / len(X)
    spectrum, left, right = (_primal if X.shape[1] <= len(X) else _dual)(X, targets, mean, roots)
    heads = []
    for l2 in l2s:
        weight = left @ (right / (spectrum + l2)[:, None])
        heads.append(RidgeHead(weight.T.astype(np.float32), (means - mean @ weight).astype(np.float32), l2))
    return heads


def _primal(
    X: AnyArray, targets: Targets, mean: DoubleArray, roots: DoubleArray | None = None
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return e [D], V [D, D] and P [D, K] such that the weights of any l2 are V (P / (e + l2)).

    `roots`, float64 [N, 1], are the square roots of the rows' weights, by which rows and targets are multiplied.
    """
    gram: DoubleArray = np.zeros((X.shape[1], X.shape[1]))
    moments: DoubleArray | float = 0.0
    for start in range(0, len(X), _BLOCK):  # in blocks: no float64 copy of X
        rows = slice(start, start + _BLOCK)
        centred, of_rows = X[rows] - mean, targets(rows)
        if roots is not None:
            centred, of_rows = centred * roots[rows], of_rows * roots[rows]
        gram += centred.T @ centred
        moments = moments + centred.T @ of_rows
    spectrum, vectors = np.linalg.eigh(gram / len(X))
    return spectrum.clip(min=0), vectors, vectors.T @ (moments / len(X))


def _dual(
    X: AnyArray, targets: Targets, mean: DoubleArray, roots: DoubleArray | None = None
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return the same for fewer rows than columns: e [N], X'U [D, N] and U'T / N [N, K]."""
    centred, of_rows = X - mean, targets(slice(None))
    if roots is not None:
        centred, of_rows = centred * roots, of_rows * roots
    spectrum, vectors = np.linalg.eigh(centred @ centred.T / len(X))
    return spectrum.clip(min=0), centred.T @ vectors, vectors.T @ of_rows / len(X)


def _weighted_sum(X: AnyArray, weights: DoubleArray) -> DoubleArray:
    """Return the sum of the rows times their weights, float64 [D], without a float64 copy of X."""
    starts = range(0, len(X), _BLOCK)
    blocks = (weights[start : start + _BLOCK] @ X[start : start + _BLOCK] for start in starts)
    total: DoubleArray = np.sum(list(blocks), axis=0)
    return total


def _indicators(y: IntArray, shares: DoubleArray) -> DoubleArray:
    """Return the centred indicators float64 [n, K] of classes int64 [n]."""
    targets = np.repeat(-shares[None], len(y), axis=0)
    targets[np.arange(len(y)), y] += 1
    return targets


def _check_targets(X: AnyArray, Y: DoubleArray) -> DoubleArray:
    """Require features and finite targets float64 [N, T] of the same rows, and return the targets' means [T]."""
    check_features(X)
    if Y.dtype != np.float64 or Y.ndim != 2 or len(Y) != len(X) or not Y.shape[1]:
        raise ValueError(f"targets must be float64 [{len(X)}, T], T at least 1, not {Y.dtype} {list(Y.shape)}")
    if not np.isfinite(Y).all():
        raise ValueError("a target is not finite")
    means: DoubleArray = Y.mean(axis=0)
    return means
