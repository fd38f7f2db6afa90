"""Comparisons of several nets over several data sets by their ranks: arrays of scores in, ranks and p-values out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy.special import chdtrc, fdtrc

from probeline.types import DoubleArray, IntArray

_ROUNDING = 12
"""Decimals by which scores are compared: means over seeds may differ in a last bit."""

_MOST_SUMS = 1_000_000
"""Sums of ranks in one step of an exact distribution; a test with more of them is approximated."""


@dataclass(frozen=True)
class Friedman:
    """Friedman's test that k nets have equal ranks on N data sets."""

    chi2: float
    """The statistic, corrected for ties."""
    p_chi2: float
    """By its chi-squared distribution of k - 1 degrees of freedom, which holds for many data sets."""
    f: float | None
    """Iman and Davenport's statistic; None if all data sets agree, when it is infinite."""
    p_f: float
    """By its F distribution of k - 1 and (k - 1)(N - 1) degrees of freedom."""
    p_exact: float | None
    """Share of all permutations of the ranks within data sets whose statistic is at least as large; None if they are
    too many."""

    @property
    def p(self) -> float:
        """The exact p-value if it is known, else Iman and Davenport's."""
        return self.p_f if self.p_exact is None else self.p_exact


def ranks(scores: DoubleArray) -> DoubleArray:
    """Return the rank of each net on each data set, float64 [N, k], of scores float64 [N, k]: 1 is the highest.

    Equal scores share the mean of their ranks.
    """
    _check(scores)
    rounded = scores.round(_ROUNDING)
    higher = (rounded[:, None, :] > rounded[:, :, None]).sum(axis=2)
    equal = (rounded[:, None, :] == rounded[:, :, None]).sum(axis=2)
    own: DoubleArray = 1 + higher + (equal - 1) / 2
    return own


def friedman(scores: DoubleArray) -> Friedman:
    """Return Friedman's test of scores float64 [N, k], with N and k of 2 or more.

    The exact distribution is that of all permutations of the ranks within each data set, ties as they are. Iman and
    Davenport's F is closer to it than chi-squared is, except for few data sets: if these agree, F is infinite.

    References
    ----------
    Friedman 1937, "The use of ranks to avoid the assumption of normality implicit in the analysis of variance"; Iman
    and Davenport 1980, "Approximations of the critical region of the Friedman statistic"; Demsar 2006, "Statistical
    comparisons of classifiers over multiple data sets", JMLR 7, section 3.2.2.
    """
    own = ranks(scores)
    n, k = own.shape
    if n < 2 or k < 2:
        raise ValueError(f"Friedman's test takes two or more data sets and nets, not {n} and {k}")
    spread = float(np.square(own - (k + 1) / 2).sum())
    between = float(np.square(own.sum(axis=0) - n * (k + 1) / 2).sum())
    chi2 = (k - 1) * between / spread if spread else 0.0
    rest = n * (k - 1) - chi2
    f = (n - 1) * chi2 / rest if rest > 1e-9 * n * k else None
    p_f = 0.0 if f is None else float(fdtrc(k - 1, (k - 1) * (n - 1), f))
    return Friedman(chi2, float(chdtrc(k - 1, chi2)), f, p_f, _exact_p(own))


def smallest_friedman_p(n: int, k: int) -> float:
    """Return the exact p-value of Friedman's test if `n` data sets rank `k` nets in the same order, without ties."""
    return float(math.factorial(k)) ** (1 - n)


def _exact_p(own: DoubleArray) -> float | None:
    """Return the share of permutations of ranks [N, k] within rows whose sums have at least as large squares.

    As all permutations of a row are equally likely, only the sums in their order count, so that few are distinct.
    """
    n, k = own.shape
    doubled = np.rint(2 * own).astype(np.int64)
    base = 2 * k * n + 1
    if math.factorial(k) > _MOST_SUMS or base**k >= 2**63:
        return None
    places = base ** np.arange(k, dtype=np.int64)
    sums = np.sort(doubled[:1], axis=1)
    shares: DoubleArray = np.ones(1)
    for row in doubled[1:]:
        orders = np.array(sorted(set(permutations(row.tolist()))), dtype=np.int64)
        if len(sums) * len(orders) > _MOST_SUMS:
            return None
        reached = np.sort((sums[:, None, :] + orders[None, :, :]).reshape(-1, k), axis=1)
        _, first, kind = np.unique(reached @ places, return_index=True, return_inverse=True)
        weights = np.repeat(shares / len(orders), len(orders))
        shares = np.bincount(kind.reshape(-1), weights=weights).astype(np.float64)
        sums = reached[first]
    observed = int(np.square(doubled.sum(axis=0)).sum())
    return min(1.0, float(shares[np.square(sums).sum(axis=1) >= observed].sum()))


def nemenyi(n: int, k: int, level: float = 0.05) -> float:
    """Return the critical difference of the mean ranks of `k` nets on `n` data sets.

    Two nets differ significantly, at `level` for all pairs together, if their mean ranks differ by it or more.

    References
    ----------
    Nemenyi 1963, "Distribution-free multiple comparisons"; Demsar 2006, section 3.2.2 and table 5.
    """
    from scipy.stats import studentized_range  # takes half a second to import

    if n < 1 or k < 2 or not 0 < level < 1:
        raise ValueError(f"no critical difference of {k} nets on {n} data sets at {level}")
    q = float(studentized_range.ppf(1 - level, k, np.inf)) / math.sqrt(2)
    return q * math.sqrt(k * (k + 1) / (6 * n))


def cliques(mean_ranks: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """Return the largest groups of nets whose mean ranks, ascending, all differ by less than the critical difference.

    Each is the index of its first and of its last net; a net alone is no group, nor is a part of another group.
    """
    groups: list[tuple[int, int]] = []
    for first, best in enumerate(mean_ranks):
        last = max(i for i, rank in enumerate(mean_ranks) if i >= first and (i == first or rank - best < difference))
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return groups


def signed_rank(differences: DoubleArray) -> float:
    """Return the exact two-sided p-value of Wilcoxon's signed-rank test of differences float64 [N].

    Differences of 0 are left out, and equal ones share the mean of their ranks; 1 if all are 0.

    References
    ----------
    Wilcoxon 1945, "Individual comparisons by ranking methods"; Demsar 2006, section 3.1.3; Benavoli, Corani and Mangili
    2016, "Should we really use post-hoc tests based on mean-ranks?", JMLR 17.
    """
    rounded = differences.round(_ROUNDING)
    rounded = rounded[rounded != 0]
    if not len(rounded):
        return 1.0
    doubled = np.rint(2 * (len(rounded) + 1 - ranks(np.abs(rounded)[None])[0])).astype(np.int64)
    positive = int(doubled[rounded > 0].sum())
    shares = np.ones(1)
    for rank in doubled.tolist():
        shares = (np.pad(shares, (0, rank)) + np.pad(shares, (rank, 0))) / 2
    tails: IntArray = np.array([positive, int(doubled.sum()) - positive])
    return min(1.0, 2 * float(shares[: int(tails.min()) + 1].sum()))


def smallest_signed_rank_p(n: int) -> float:
    """Return the p-value of Wilcoxon's test if one net is above the other on all `n` data sets."""
    return min(1.0, 2.0 ** (1 - n))


def kendall(a: DoubleArray, b: DoubleArray) -> float | None:
    """Return Kendall's rank correlation tau-b of two float64 [n], in [-1, 1]; None if all values of one are equal.

    References
    ----------
    Kendall 1945, "The treatment of ties in ranking problems", Biometrika 33, 239-251.
    """
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"no correlation of {list(a.shape)} and {list(b.shape)} values")
    signs = [np.sign(np.subtract.outer(own, own).round(_ROUNDING)) for own in (a, b)]
    spread = float(np.square(signs[0]).sum() * np.square(signs[1]).sum())
    return float((signs[0] * signs[1]).sum()) / math.sqrt(spread) if spread else None


def _check(scores: DoubleArray) -> None:
    if scores.dtype != np.float64 or scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite float64 [N, k], not {scores.dtype} {list(scores.shape)}")
