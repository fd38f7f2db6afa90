"""Checks of the arrays and numbers that solvers are given. A failure is a defect of the caller, hence ValueError."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from probeline.types import AnyArray


def check_features(X: AnyArray, *, columns: int | None = None) -> None:
    """Require finite float32 or float64 features [N, D] with N and D at least 1; D is `columns` if given."""
    if X.ndim != 2 or 0 in X.shape or X.dtype not in (np.float32, np.float64):
        raise ValueError(f"features must be float32 or float64 [N, D], not {X.dtype} {list(X.shape)}")
    if columns is not None and X.shape[1] != columns:
        raise ValueError(f"features have {X.shape[1]} columns where {columns} are expected")
    # A sum is finite unless a term is not, or it overflows: one pass without a boolean copy of X.
    if not np.isfinite(X.sum(dtype=np.float64)) and not np.isfinite(X).all():
        raise ValueError("features hold values that are not finite")


def check_labels(y: AnyArray, count: int, classes: int) -> None:
    """Require int64 labels [count] in [0, classes), at least two classes."""
    if y.dtype != np.int64 or y.shape != (count,) or not count:
        raise ValueError(f"labels must be int64 [{count}], one or more, not {y.dtype} {list(y.shape)}")
    if classes < 2:
        raise ValueError(f"a head needs at least two classes, not {classes}")
    if y.min() < 0 or y.max() >= classes:
        raise ValueError(f"labels lie in [{y.min()}, {y.max()}], outside [0, {classes})")


def check_labelled(X: AnyArray, y: AnyArray, classes: int) -> None:
    """Require features and labels of the same rows."""
    check_features(X)
    check_labels(y, len(X), classes)


def check_l2s(l2s: Iterable[float]) -> list[float]:
    """Return the values, one or more, all positive and finite."""
    values = list(l2s)
    if not values or not all(math.isfinite(l2) and l2 > 0 for l2 in values):
        raise ValueError(f"each l2 must be positive and finite, and there must be one: {values}")
    return values
