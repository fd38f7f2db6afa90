"""Features as rows of a matrix: checks, rows that differ, unit rows, and coordinates for few rows of many columns."""

from __future__ import annotations

import numpy as np

from probeline.types import AnyFloatArray, DoubleArray, FloatArray, IntArray

BLOCK = 2048
"""Rows that are converted to float64 at once."""


def check_rows(X: AnyFloatArray, y: IntArray | None = None) -> None:
    """Require finite float32 or float64 features [n, D], and if given, labels int64 [n] of 0 or more.

    Raises
    ------
    ValueError
    """
    if X.ndim != 2 or 0 in X.shape or X.dtype not in (np.float32, np.float64):
        raise ValueError(f"features must be float32 or float64 [n, D], not {X.dtype} {list(X.shape)}")
    if not np.isfinite(X.sum(dtype=np.float64)) and not np.isfinite(X).all():
        raise ValueError("features hold values that are not finite")
    if y is not None and (y.dtype != np.int64 or y.shape != (len(X),) or y.min() < 0):
        raise ValueError(f"labels must be int64 [{len(X)}], none of them negative")


def distinct_rows(X: AnyFloatArray) -> tuple[IntArray, IntArray]:
    """Return the first of each set of equal rows, int64 [m] ascending, and the place in it of every row, int64 [n]."""
    rows = np.ascontiguousarray(X + 0.0)  # so that -0.0 has the bytes of 0.0
    keys = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))[:, 0]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return first[order].astype(np.int64), place[inverse]


def unit_rows(X: FloatArray) -> FloatArray:
    """Return rows of length 1, float32 [n, D]; a row of zeros stays one."""
    unit = np.empty_like(X)
    for start in range(0, len(X), BLOCK):
        block = X[start : start + BLOCK].astype(np.float64)
        lengths = np.linalg.norm(block, axis=1, keepdims=True)
        unit[start : start + BLOCK] = block / np.where(lengths > 0, lengths, 1.0)
    return unit


def in_few_columns(X: AnyFloatArray) -> AnyFloatArray:
    """Return rows with the same inner products in at most as many columns as rows: float64 [n, n] if n < D.

    They are the coordinates of the rows in the space that they span, so that distances and singular values are kept.
    """
    if len(X) >= X.shape[1]:
        return X
    wide = X.astype(np.float64)
    values, vectors = np.linalg.eigh(wide @ wide.T)
    coordinates: DoubleArray = vectors * np.sqrt(without_rounding(values))
    return coordinates


def without_rounding(eigenvalues: DoubleArray) -> DoubleArray:
    """Return the eigenvalues of products of rows or columns, with 0 for those that rounding may have made of zeros."""
    noise = len(eigenvalues) * np.finfo(np.float64).eps * max(float(eigenvalues.max()), 0.0)
    return np.where(eigenvalues > noise, eigenvalues, 0.0)


def is_constant(X: AnyFloatArray) -> bool:
    """Return whether all rows are equal."""
    return all((X[start : start + BLOCK] == X[0]).all() for start in range(0, len(X), BLOCK))
