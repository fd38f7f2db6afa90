"""Which rows are unlike all that is fitted on: how far the nearest are, against how far they are among themselves."""

from __future__ import annotations

import numpy as np

from probeline.types import DoubleArray, FloatArray, IntArray

_AT_ONCE = 512


def remoteness(X: FloatArray, X_held: FloatArray, places: IntArray) -> DoubleArray:
    """Return the mean of 1 - cosine to some rows of X for each held row: float64 [m] in [0, 2].

    The cosine is that of the embeddings as they come: with their mean taken off, rows near the mean would point
    anywhere, and the most ordinary images look remote.

    Parameters
    ----------
    X : float32 [N, D]
    X_held : float32 [m, D]
    places : int64 [m, k]
        Of the rows of X that are near each held one.

    References
    ----------
    Sun, Ming, Zhu and Li 2022, "Out-of-distribution detection with deep nearest neighbors", ICML.
    """
    lengths = np.maximum(np.linalg.norm(X, axis=1), np.finfo(np.float32).tiny)
    found = np.empty(len(X_held))
    for start in range(0, len(X_held), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        own = np.maximum(np.linalg.norm(X_held[some], axis=1), np.finfo(np.float32).tiny)
        products = np.einsum("ij,ikj->ik", X_held[some], X[places[some]])
        found[some] = 1 - (products / lengths[places[some]] / own[:, None]).mean(axis=1, dtype=np.float64)
    return found


def p_values(known: DoubleArray, distances: DoubleArray) -> DoubleArray:
    """Return for each distance the share of the known ones, with itself, that are as large: float64 [m] in (0, 1].

    For rows that are drawn as the known ones were, it is at most `a` with chance `a`, up to that the known ones were
    measured among themselves: a conformal p-value.

    Parameters
    ----------
    known : float64 [n]
        Of the rows that are fitted on, each against the others.
    distances : float64 [m]

    References
    ----------
    Bates, Candès, Lei, Romano and Sesia 2023, "Testing for outliers with conformal p-values", Annals of Statistics 51.
    """
    above = len(known) - np.searchsorted(np.sort(known), distances, side="left")
    return (1 + above) / (1 + len(known))


def threshold(known: DoubleArray, level: float) -> float:
    """Return the distance beyond which a share `level` in (0, 1) of the known ones lies."""
    return float(np.quantile(known, 1 - level))
