"""Zero mean and unit variance, by the fitting rows' own statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probeline.heads.checks import check_features

FloatArray = npt.NDArray[np.float32]

_BLOCK = 8192


@dataclass(frozen=True)
class Scaler:
    """Column statistics of the rows that a head is fitted on.

    Attributes
    ----------
    mean, std : float32 [D]
        `std` is the population's (divided by N), and 1 where a column is constant.
    """

    mean: FloatArray
    std: FloatArray


def fit_scaler(X: FloatArray) -> Scaler:
    """Return the column statistics of `X`, accumulated in float64.

    Parameters
    ----------
    X : float32 [N, D]

    Raises
    ------
    ValueError
        Where `X` is no finite array of that kind.
    """
    check_features(X)
    mean = X.mean(axis=0, dtype=np.float64)
    squares = np.zeros_like(mean)
    for start in range(0, X.shape[0], _BLOCK):  # in blocks: no float64 copy of X
        centred = X[start : start + _BLOCK] - mean
        squares += np.einsum("ij,ij->j", centred, centred)
    std = np.sqrt(squares / X.shape[0]).astype(np.float32)
    std[(X.min(axis=0) == X.max(axis=0)) | (std == 0)] = 1  # a constant column's std is rounding noise, not always 0
    return Scaler(mean.astype(np.float32), std)


def apply(scaler: Scaler, X: FloatArray) -> FloatArray:
    """Return ``(X - mean) / std`` as a new float32 [N, D].

    Raises
    ------
    ValueError
        Where `X` is no finite array of the scaler's D columns.
    """
    check_features(X, columns=scaler.mean.shape[0])
    scaled = np.subtract(X, scaler.mean, dtype=np.float32)
    scaled /= scaler.std
    return scaled
