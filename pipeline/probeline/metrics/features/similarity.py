"""How alike two sets of features of the same images are: centred kernel alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from probeline.metrics.features.rows import BLOCK, check_rows, is_constant
from probeline.types import DoubleArray, FloatArray

FEWEST = 4
"""Rows that the unbiased estimate needs."""


class Alignment(NamedTuple):
    """Linear CKA of two sets of features; None where it is not defined."""

    biased: float | None
    """In [0, 1]; of few rows with many columns near 1, whatever the features are."""
    unbiased: float | None
    """About 0 for unrelated features, also slightly below; 1 for equal ones."""


@dataclass(frozen=True)
class CentredFeatures:
    """Features of n images whose columns have the mean 0, divided by a common factor.

    `rows` is float32 [n, D], `lengths` float64 [n] are the squared lengths of the rows, and `own` is the sum of the
    squared inner products of all pairs of rows.
    """

    rows: FloatArray
    lengths: DoubleArray
    own: float


def centre(X: FloatArray) -> CentredFeatures:
    """Return features float32 [n, D] ready for :func:`align`; a mean squared length of 1 keeps float32 in its range."""
    check_rows(X)
    if is_constant(X):
        return CentredFeatures(np.zeros_like(X), np.zeros(len(X)), 0.0)
    rows = X - X.mean(axis=0, dtype=np.float64)
    rows /= np.sqrt(np.einsum("ij,ij->", rows, rows) / len(rows))
    narrow = rows.astype(np.float32)
    return CentredFeatures(narrow, np.einsum("ij,ij->i", rows, rows), _products(narrow, narrow))


def align(first: CentredFeatures, second: CentredFeatures) -> Alignment:
    """Return linear CKA of two sets of features of the same images, in the same order.

    It does not depend on a rotation or the scale of the features. Kornblith, Norouzi, Lee and Hinton 2019, "Similarity
    of neural network representations revisited", ICML; the unbiased one has the criterion of independence of Song et
    al. 2012, "Feature selection via dependence maximization", Journal of Machine Learning Research 13, equation 5, as
    in Nguyen, Raghu and Kornblith 2021, "Do wide and deep networks learn the same things?", ICLR.
    """
    n = len(first.rows)
    if n != len(second.rows):
        raise ValueError(f"features of {n} and {len(second.rows)} images")
    if first.own <= 0 or second.own <= 0:
        return Alignment(None, None)
    products = _products(first.rows, second.rows)
    biased = min(1.0, float(products / np.sqrt(first.own * second.own)))
    if n < FEWEST:
        return Alignment(biased, None)
    own = _dependence(first, first, first.own), _dependence(second, second, second.own)
    if min(own) <= _ROUNDING * max(first.own, second.own):
        return Alignment(biased, None)
    return Alignment(biased, float(_dependence(first, second, products) / np.sqrt(own[0] * own[1])))


_ROUNDING = 1e-6
"""Relative error of products in float32; a dependence up to that of features on themselves is none."""


def _products(X: FloatArray, Y: FloatArray) -> float:
    """Return the sum over all pairs of rows of the product of their inner products: |X' Y|^2."""
    if len(X) * (X.shape[1] + Y.shape[1]) < X.shape[1] * Y.shape[1]:
        kernels = (rows.astype(np.float64) @ rows.T.astype(np.float64) for rows in (X, Y))
        return float(np.einsum("ij,ij->", *kernels))
    total = np.zeros((X.shape[1], Y.shape[1]))
    for start in range(0, len(X), BLOCK):
        total += X[start : start + BLOCK].T @ Y[start : start + BLOCK]
    return float(np.einsum("ij,ij->", total, total))


def _dependence(first: CentredFeatures, second: CentredFeatures, products: float) -> float:
    """Return the unbiased estimate of the Hilbert-Schmidt independence criterion, times n (n - 3).

    Each row of the kernels of centred features has the sum 0, and without its diagonal element the sum of minus that.
    """
    n, both = len(first.rows), float(first.lengths @ second.lengths)
    sums = float(first.lengths.sum() * second.lengths.sum())
    return products - both + sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * both
