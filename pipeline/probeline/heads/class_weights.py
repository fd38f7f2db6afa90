"""Weights of rows by their classes: a class that weighs more counts as if it had more rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from probeline.heads.checks import check_labels
from probeline.types import AnyArray, DoubleArray, IntArray

Balanced = Literal["balanced"]
BALANCED: Balanced = "balanced"

ClassWeights = Balanced | Mapping[int, float]
"""``balanced``, or the weights of some classes; the others have 1."""


def row_weights(y: IntArray, classes: int, weights: ClassWeights) -> DoubleArray:
    """Return the weight of each row, float64 [n] with the mean 1, as :func:`class_weights` weighs its class."""
    return class_weights(y, classes, weights)[y]


def class_weights(y: IntArray, classes: int, weights: ClassWeights) -> DoubleArray:
    """Return the weight of each class, float64 [K], whose mean over the rows is 1.

    Balanced, all classes that have rows count the same in total: a row of a class with m of n rows, one of K classes
    that have any, has the weight n / (K m), as scikit-learn's ``class_weight="balanced"``. Weights that are given are
    those of scikit-learn's dict, divided by their mean over the rows, so that an l2 penalty or a learning rate means
    what it does without weights.

    Parameters
    ----------
    y : int64 [n]
    classes : int
        K, of which some may have no rows.
    weights : ClassWeights
        Positive and finite.
    """
    check_labels(y, len(y), classes)
    counts = np.bincount(y, minlength=classes)
    if weights == BALANCED:
        by_class = np.divide(1.0, counts, out=np.zeros(classes), where=counts > 0)
    else:
        given = {int(label): float(weight) for label, weight in dict(weights).items()}
        if not all(0 <= label < classes and 0 < weight < np.inf for label, weight in given.items()):
            raise ValueError(f"weights must be positive and finite, of classes in [0, {classes}): {given}")
        by_class = np.ones(classes)
        by_class[list(given)] = list(given.values())
    return by_class / (by_class @ counts / len(y))


def check_weights(weights: AnyArray, count: int) -> None:
    """Require weights [count] that are positive and finite."""
    if weights.shape != (count,) or not (weights > 0).all() or not np.isfinite(weights).all():
        raise ValueError(f"weights must be [{count}], positive and finite, not {weights.dtype} {list(weights.shape)}")
