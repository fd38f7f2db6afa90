"""How well one score tells images of two kinds apart: usual ones, and others that should score higher."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeline.types import AnyArray, AnyFloatArray

PASSED = 0.95
"""Share of the usual images that pass at the threshold of :attr:`Separation.fpr95`."""

_DRAWS = 2000


@dataclass(frozen=True)
class Separation:
    """Areas and shares in [0, 1], each with its 95 % interval."""

    auroc: float
    """The share of pairs of a usual and another image in which the other scores higher; equals count half."""
    auroc_interval: tuple[float, float]
    fpr95: float
    """The share of the other images that pass, if the threshold is the lowest score at which 95 % of the usual do."""
    fpr95_interval: tuple[float, float]


def separation(usual: AnyFloatArray, others: AnyFloatArray, *, draws: int = _DRAWS, seed: int = 0) -> Separation:
    """Return how far scores [n] of usual images are below scores [m] of others.

    The intervals are percentile intervals over draws in which the images of each kind are resampled with replacement.

    References
    ----------
    Hendrycks and Gimpel 2017, "A baseline for detecting misclassified and out-of-distribution examples in neural
    networks", ICLR, for the area; Liang, Li and Srikant 2018, "Enhancing the reliability of out-of-distribution image
    detection in neural networks", ICLR, for the false positive rate at 95 % true positive rate.
    """
    for scores in (usual, others):
        if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
            raise ValueError(f"scores must be finite numbers [n], n > 0, not {scores.dtype} {list(scores.shape)}")
    values, places = np.unique(np.concatenate([usual, others]), return_inverse=True)
    own, other = places[: len(usual)], places[len(usual) :]
    auroc, fpr95 = _measure(np.bincount(own, minlength=len(values)), np.bincount(other, minlength=len(values)))
    rng = np.random.default_rng(seed)
    drawn = np.array([
        _measure(*(np.bincount(rng.choice(of, len(of)), minlength=len(values)) for of in (own, other)))
        for _ in range(draws)
    ])  # fmt: skip
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return Separation(auroc, (float(low[0]), float(high[0])), fpr95, (float(low[1]), float(high[1])))


def _measure(own: AnyArray, other: AnyArray) -> tuple[float, float]:
    """Return the area and the rate, from the images of each kind at each score, ascending."""
    n, m = own.sum(), other.sum()
    below = np.cumsum(own)
    auroc = float((other * (below - own / 2)).sum() / (n * m))
    threshold = int(np.searchsorted(below, PASSED * n - 1e-9))
    return auroc, float(other[: threshold + 1].sum() / m)
