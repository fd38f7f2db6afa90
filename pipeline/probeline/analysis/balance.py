"""How evenly images are distributed over classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeline.types import IntArray


@dataclass(frozen=True)
class Balance:
    """The class distribution of several images.

    Attributes
    ----------
    counts : tuple of int [K]
    ratio : float
        Images of the largest class per image of the smallest non-empty class; 0 without images.
    effective : float
        Effective number of classes: that many classes of equal size have the same entropy.
    empty : tuple of int
        Classes without images.
    """

    counts: tuple[int, ...]
    ratio: float
    effective: float
    empty: tuple[int, ...]


def measure_balance(labels: IntArray, classes: int) -> Balance:
    """Return the class distribution of labels int64 [n].

    References
    ----------
    The effective number is exp of Shannon's entropy: Hill 1973, "Diversity and evenness", Ecology 54.
    """
    counts = np.bincount(labels, minlength=classes)
    present = counts[counts > 0]
    shares = present / max(int(present.sum()), 1)
    return Balance(
        counts=tuple(counts.tolist()),
        ratio=float(present.max() / present.min()) if len(present) else 0.0,
        effective=float(np.exp(-(shares * np.log(shares)).sum())) if len(present) else 0.0,
        empty=tuple(np.flatnonzero(counts == 0).tolist()),
    )
