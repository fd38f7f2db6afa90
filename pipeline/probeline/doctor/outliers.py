"""Which rows are unlike all that is fitted on: how far the nearest are, against how far they are among themselves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def remoteness(cosines: npt.NDArray[np.float32]) -> Floats:
    """Return the mean of 1 - cosine to the nearest rows: float64 [n] in [0, 2] of cosines float32 [n, k]."""
    return (1 - cosines.astype(np.float64)).mean(axis=1)


def p_values(known: Floats, distances: Floats) -> Floats:
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


def threshold(known: Floats, level: float) -> float:
    """Return the distance beyond which a share `level` in (0, 1) of the known ones lies."""
    return float(np.quantile(known, 1 - level))
