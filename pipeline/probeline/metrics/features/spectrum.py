"""How many directions features use: their scatter, its spectrum, and two ranks that are entropies of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from probeline.metrics.features.rows import BLOCK, check_rows, in_few_columns, is_constant, without_rounding
from probeline.types import AnyFloatArray, DoubleArray, IntArray

RANKME_EPSILON = 1e-7
"""Garrido et al. 2023 add it to each share, for float32."""


@dataclass(frozen=True)
class Scatter:
    """The sums of products of n rows of D columns, all that the spectrum and the predictors of transfer need.

    Of fewer rows than columns they are those of the rows' coordinates in the space that the rows span, of d columns;
    else d is D. `counts` has the rows of each class, and classes without rows have a mean of zeros.
    """

    n: int
    columns: int
    """D."""
    mean: DoubleArray
    """float64 [d]."""
    centred: DoubleArray
    """float64 [d, d]: the sum of the outer products of the rows' deviations from the mean."""
    fourth: float
    """The sum of the fourth powers of the lengths of these deviations."""
    counts: IntArray
    """int64 [K]; of rows without labels one class has all."""
    class_means: DoubleArray
    """float64 [K, d]: of the deviations."""

    @property
    def raw(self) -> DoubleArray:
        """The sum of the rows' own outer products, float64 [d, d]."""
        raw: DoubleArray = self.centred + self.n * np.outer(self.mean, self.mean)
        return raw

    @property
    def spread(self) -> float:
        """The sum of the squared deviations; 0 if all rows are equal."""
        return float(np.trace(self.centred))


def scatter_of(X: AnyFloatArray, y: IntArray | None = None) -> Scatter:
    """Return the sums of products of features [n, D], float32 or float64, with labels int64 [n] or without.

    It takes O(n D min(n, D)) operations, and memory for a block of rows and two matrices of min(n, D) columns.
    """
    check_rows(X, y)
    labels = np.zeros(len(X), np.int64) if y is None else y
    counts = np.bincount(labels)
    if is_constant(X):
        length = np.array([np.linalg.norm(X[0].astype(np.float64))])
        return Scatter(len(X), X.shape[1], length, np.zeros((1, 1)), 0.0, counts, np.zeros((len(counts), 1)))
    columns, X = X.shape[1], in_few_columns(X)
    mean = X.mean(axis=0, dtype=np.float64)
    d, fourth = X.shape[1], 0.0
    centred, sums = np.zeros((d, d)), np.zeros((len(counts), d))
    for start in range(0, len(X), BLOCK):
        block = X[start : start + BLOCK] - mean
        centred += block.T @ block
        sums += _indicator(labels[start : start + BLOCK], len(counts)) @ block
        fourth += float((np.einsum("ij,ij->i", block, block) ** 2).sum())
    return Scatter(len(X), columns, mean, centred, fourth, counts, sums / np.maximum(counts, 1)[:, None])


def _indicator(labels: IntArray, classes: int) -> sparse.csr_array:
    """Return 1 where a row, of the columns, has a class, of the rows: [K, n]."""
    rows = np.arange(len(labels))
    return sparse.csr_array((np.ones(len(labels)), (labels, rows)), shape=(classes, len(labels)))


def singular_values(products: DoubleArray) -> DoubleArray:
    """Return the singular values of a matrix from the products of its columns, float64 [d], descending.

    Rounding makes of a zero up to about the root of d eps of the largest; values up to that are zeros.
    """
    squares = np.linalg.eigvalsh(products)[::-1].astype(np.float64, copy=False)
    values: DoubleArray = np.sqrt(without_rounding(squares))
    return values


def effective_rank(values: DoubleArray) -> float | None:
    """Return the effective rank of a matrix with these singular values, in [1, their number]; None if all are 0.

    It is exp of the Shannon entropy of their shares of their sum: D for D equal ones. Roy and Vetterli 2007, "The
    effective rank: a measure of effective dimensionality", EUSIPCO.
    """
    total = float(values.sum())
    if total == 0:
        return None
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def rankme(values: DoubleArray) -> float | None:
    """Return RankMe of embeddings with these singular values; None if all are 0.

    The entropy is that of :func:`effective_rank`, with `RANKME_EPSILON` added to each share. Garrido, Balestriero,
    Najman and LeCun 2023, "RankMe: assessing the downstream performance of pretrained self-supervised representations
    by their rank", ICML; there the embeddings are not centred.
    """
    total = float(values.sum())
    if total == 0:
        return None
    shares = values / total + RANKME_EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))
