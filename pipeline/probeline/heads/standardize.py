"""Zero mean and unit variance, by the fitting rows' own statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from probeline.heads.checks import check_features
from probeline.types import FloatArray

_BLOCK = 8192


@dataclass(frozen=True)
class Scaler:
    """Column statistics of the rows that a head is fitted on, both float32 [D].

    `std` is the population's (divided by N), and 1 where a column is constant.
    """

    mean: FloatArray
    std: FloatArray


def fit_scaler(X: FloatArray) -> Scaler:
    """Return the column statistics of `X`, float32 [N, D], accumulated in float64."""
    check_features(X)
    return scaler_of(lambda: (X[start : start + _BLOCK] for start in range(0, len(X), _BLOCK)))


def scaler_of(blocks: Callable[[], Iterable[FloatArray]]) -> Scaler:
    """Return the column statistics of rows that come in blocks, float32 [n, D] each; they are read twice."""
    sums, ends, count = [], [], 0
    for block in blocks():
        sums.append(block.sum(axis=0, dtype=np.float64))
        ends += [block.min(axis=0), block.max(axis=0)]
        count += len(block)
    mean = np.sum(sums, axis=0) / count
    constant = np.min(ends, axis=0) == np.max(ends, axis=0)
    squares = np.zeros_like(mean)
    for block in blocks():
        centred = block - mean
        squares += np.einsum("ij,ij->j", centred, centred)
    std = np.sqrt(squares / count).astype(np.float32)
    std[constant | (std == 0)] = 1  # a constant column's std is rounding noise, not always 0
    return Scaler(mean.astype(np.float32), std)


def apply(scaler: Scaler, X: FloatArray) -> FloatArray:
    """Return ``(X - mean) / std`` as a new float32 [N, D]."""
    check_features(X, columns=scaler.mean.shape[0])
    scaled = np.subtract(X, scaler.mean, dtype=np.float32)
    scaled /= scaler.std
    return scaled


def unscaled(scaler: Scaler, X: FloatArray) -> FloatArray:
    """Return rows float32 [N, D] as they were before :func:`apply`, but for rounding, as a new array."""
    check_features(X, columns=scaler.mean.shape[0])
    rows = np.multiply(X, scaler.std, dtype=np.float32)
    rows += scaler.mean
    return rows


def unit_rows(X: FloatArray) -> FloatArray:
    """Return rows float32 [N, D] divided by their lengths; a row of zeros stays one."""
    rows: FloatArray = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
    return rows
