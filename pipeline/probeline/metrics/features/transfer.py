"""How well features tell the classes apart, without fitting a classifier: predictors of the accuracy of a probe.

All are of the train rows and their labels alone. Lengths: n rows, D columns, K classes.
"""

from __future__ import annotations

import numpy as np

from probeline.metrics.features.rows import without_rounding
from probeline.metrics.features.spectrum import Scatter
from probeline.types import DoubleArray

_GRID = np.linspace(np.log(1e-12), np.log(1e12), 97)
"""Logarithms of the ridge over the largest squared singular value at which the evidence is compared first."""

_GOLDEN = (5**0.5 - 1) / 2
_STEPS = 40
"""Golden sections, each of which leaves 0.62 of an interval of the grid."""

_EXACT = 1e-10
"""Share of the squared labels left by a fit that counts as one without an error."""


def between_share(scatter: Scatter) -> float | None:
    """Return the share of the features' variance that is between classes, in [0, 1]; None if all rows are equal.

    The trace of the between-class scatter over that of the total scatter: the correlation ratio eta squared, a
    monotone function of Calinski and Harabasz's index. It does not depend on the scale or a rotation of the features.
    """
    if scatter.spread == 0:
        return None
    between = float(scatter.counts @ (scatter.class_means**2).sum(axis=1))
    return min(1.0, between / scatter.spread)


def shuffled_share(scatter: Scatter) -> float | None:
    """Return the mean of :func:`between_share` over all ways to shuffle the labels: (K - 1) / (n - 1)."""
    classes = int((scatter.counts > 0).sum())
    return None if scatter.spread == 0 else (classes - 1) / (scatter.n - 1)


def ledoit_wolf(scatter: Scatter) -> float:
    """Return the weight in [0, 1] by which the covariance is shrunk towards a multiple of the identity.

    Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
    Multivariate Analysis 88. It is that of scikit-learn's ``LedoitWolf``, from sums that are known already.
    """
    n, columns = scatter.n, scatter.columns
    squares = float((scatter.centred**2).sum()) / n**2
    mean = float(np.trace(scatter.centred)) / n / columns
    noise = (scatter.fourth / n - squares) / n
    distance = squares - columns * mean**2
    return 0.0 if noise <= 0 or distance <= 0 or columns == 1 else min(noise, distance) / distance


def h_score(scatter: Scatter) -> tuple[float, float] | None:
    """Return the regularised H-score, in [0, K - 1], and the weight of its shrinkage; None if all rows are equal.

    The trace of the inverse covariance times the covariance of the class means: the variance between classes along
    whitened directions. Bao et al. 2019, "An information-theoretic approach to transferability in task transfer
    learning", ICIP; with the covariance shrunk as Ledoit and Wolf do, and the other one by the same factor, Ibrahim,
    Ponomareva and Mazumder 2022, "Newer is not always better: rethinking transferability metrics, their peculiarities,
    stability and performance", ECML PKDD. Both covariances are divided by n.
    """
    if scatter.spread == 0:
        return None
    weight = ledoit_wolf(scatter)
    values, vectors = np.linalg.eigh(scatter.centred / scatter.n)
    values = without_rounding(values)
    shrunk = (1 - weight) * values + weight * values.sum() / scatter.columns
    along = scatter.counts / scatter.n @ (scatter.class_means @ vectors) ** 2
    used = shrunk > 0
    return (1 - weight) * float((along[used] / shrunk[used]).sum()), weight


def log_me(scatter: Scatter) -> float | None:
    """Return the log of the maximum evidence per row, the mean over the classes; None if it has no maximum.

    Of the linear model y = F w + noise for the indicator y of each class, with independent normal priors of w and of
    the noise whose two variances maximise the evidence of y given the features F, which are neither centred nor
    scaled: You, Liu, Wang and Long 2021, "LogME: practical assessment of pre-trained models for transfer learning",
    ICML. Here the maximum is searched along the ratio of the variances, for which the best noise is known in closed
    form, and not by the paper's fixed point. Classes without rows are left out. The evidence has no bound, and thus no
    value, if the features fit the indicator of a class without an error and do not have n independent columns.
    """
    n, raw = scatter.n, scatter.raw
    squares, vectors = np.linalg.eigh(raw)
    if squares[-1] <= 0:
        return None
    used = without_rounding(squares) > 0
    squares, vectors = squares[used], vectors[:, used]
    present = scatter.counts > 0
    counts = scatter.counts[present].astype(np.float64)
    sums = counts[:, None] * (scatter.class_means[present] + scatter.mean)
    along = (sums @ vectors) ** 2 / squares
    left = np.maximum(counts - along.sum(axis=1), 0.0)
    total = 0.0
    for of_class in zip(along, left, strict=True):
        evidence = _evidence(n, squares, *of_class)
        if evidence is None:
            return None
        total += evidence
    return total / len(counts)


def _evidence(n: int, squares: DoubleArray, along: DoubleArray, left: float) -> float | None:
    """Return the log of the maximum evidence per row of one indicator; None if it grows without a bound.

    `squares` float64 [r] are the squared singular values of the features, `along` float64 [r] the squares of the
    indicator's coordinates along their left vectors, and `left` is the square of the rest.
    """
    scaled = squares / squares[-1]

    def evidence(log_ratio: DoubleArray) -> DoubleArray:
        # Of y ~ N(0, s (I + F F' / t)): s is q / n with q = y' (I + F F' / t)^-1 y.
        ratio = np.exp(log_ratio)[:, None]
        quadratic = left + (along * (ratio / (ratio + scaled))).sum(axis=1)
        determinant = np.log1p(scaled / ratio).sum(axis=1)
        log: DoubleArray = -0.5 * (n * (np.log(2 * np.pi * quadratic / n) + 1) + determinant) / n
        return log

    values = evidence(_GRID)
    best = int(values.argmax())
    if best == 0 and len(squares) < n and left <= _EXACT * along.sum():
        return None
    low, high = _GRID[max(best - 1, 0)], _GRID[min(best + 1, len(_GRID) - 1)]
    for _ in range(_STEPS):
        inner = np.array([high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)])
        at_low, at_high = evidence(inner).tolist()
        low, high = (low, inner[1]) if at_low > at_high else (inner[0], high)
    return float(max(values[best], evidence(np.array([(low + high) / 2]))[0]))
