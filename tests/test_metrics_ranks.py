"""Ranks over data sets: against scipy, autorank, enumeration, and the numbers of Demsar's paper."""

from __future__ import annotations

import math
import warnings
from itertools import combinations, permutations, product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from probeline.metrics.ranks import (
    cliques,
    friedman,
    kendall,
    nemenyi,
    ranks,
    signed_rank,
    smallest_friedman_p,
    smallest_signed_rank_p,
)

PAPER = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],  # ranked 2 and 3 in the paper, though both are printed as 0.975
        [0.957, 0.978, 0.946, 0.970],
    ]
)
"""Table 6 of Demsar 2006: areas under the ROC curve of four classifiers on 14 data sets."""


def made(n: int, k: int, seed: int, *, tied: bool = False) -> np.ndarray:
    """Return scores [n, k] that differ between nets, with or without ties."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, k)) + 0.5 * np.arange(k)
    return scores.round(0) if tied else scores


@pytest.mark.parametrize("tied", [False, True])
def test_ranks_are_scipys(tied: bool) -> None:
    for seed in range(20):
        scores = made(7, 5, seed, tied=tied)
        assert ranks(scores) == pytest.approx(stats.rankdata(-scores, axis=1))


def test_rounding_is_no_difference() -> None:
    assert ranks(np.array([[0.1 + 0.2, 0.3, 0.5]])).tolist() == [[2.5, 2.5, 1.0]]


def test_the_papers_example() -> None:
    """Average ranks, Iman and Davenport's F and critical differences, as section 3.2.2 has them."""
    assert ranks(PAPER).mean(axis=0) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    n, k = PAPER.shape
    own = ranks(PAPER)
    spread = np.square(own - (k + 1) / 2).sum()
    found = friedman(PAPER)
    without_ties = found.chi2 * spread / (n * k * (k + 1) * (k - 1) / 12)
    assert without_ties == pytest.approx(9.28, abs=5e-3), "the paper's formula has no correction for ties"
    assert (n - 1) * without_ties / (n * (k - 1) - without_ties) == pytest.approx(3.69, abs=5e-3)
    assert nemenyi(n, k) == pytest.approx(1.25, abs=5e-3)
    assert nemenyi(n, k, 0.10) == pytest.approx(1.12, abs=5e-3)


def test_critical_values_of_the_paper() -> None:
    """Table 5(a): the studentized range divided by the square root of 2, for 2 to 10 classifiers."""
    tables = {
        0.05: [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164],
        0.10: [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920],
    }
    for level, values in tables.items():
        for k, q in enumerate(values, start=2):
            assert nemenyi(10, k, level) / math.sqrt(k * (k + 1) / 60) == pytest.approx(q, abs=1.1e-3)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("n", "k"), [(3, 3), (5, 4), (14, 6), (40, 3)])
def test_friedman_is_scipys(n: int, k: int, tied: bool) -> None:
    for seed in range(5):
        scores = made(n, k, seed, tied=tied)
        found, expected = friedman(scores), stats.friedmanchisquare(*scores.T)
        assert (found.chi2, found.p_chi2) == pytest.approx((expected.statistic, expected.pvalue))
        rest = n * (k - 1) - found.chi2
        f = (n - 1) * found.chi2 / rest if rest > 1e-9 else math.inf
        assert (math.inf if found.f is None else found.f, found.p_f) == pytest.approx(
            (f, stats.f.sf(f, k - 1, (k - 1) * (n - 1)))
        )


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("n", "k"), [(2, 2), (3, 3), (4, 3), (2, 4), (3, 4)])
def test_friedmans_exact_p_is_that_of_all_permutations(n: int, k: int, tied: bool) -> None:
    for seed in range(4):
        scores = made(n, k, seed, tied=tied)
        own = ranks(scores)
        observed = np.square(own.sum(axis=0)).sum()
        orders = [list(permutations(row)) for row in own.tolist()]
        sums = [np.square(np.sum(rows, axis=0)).sum() for rows in product(*orders)]
        assert friedman(scores).p_exact == pytest.approx(np.mean(np.array(sums) >= observed - 1e-9))


@pytest.mark.parametrize(
    ("n", "k", "chi2", "p"),
    [
        (3, 3, 6.0, 0.028),
        (4, 3, 6.5, 0.042),
        (4, 3, 8.0, 0.005),
        (5, 3, 6.4, 0.039),
        (3, 4, 7.4, 0.033),
        (4, 4, 7.8, 0.036),
    ],
)
def test_friedmans_exact_p_is_that_of_the_tables(n: int, k: int, chi2: float, p: float) -> None:
    """Of Friedman's own tables of small samples, to the digits that they have."""
    rng = np.random.default_rng(0)
    for _ in range(20_000):
        scores = np.argsort(rng.random((n, k)), axis=1).astype(np.float64)
        if abs(stats.friedmanchisquare(*scores.T).statistic - chi2) < 1e-9:
            assert friedman(scores).p_exact == pytest.approx(p, abs=6e-4)
            return
    pytest.fail("no ranks have this statistic")


def test_data_sets_that_agree_have_the_smallest_p() -> None:
    scores = np.tile(np.arange(4.0), (3, 1))
    found = friedman(scores)
    assert found.p == found.p_exact == pytest.approx(smallest_friedman_p(3, 4)) == pytest.approx(1 / 576)
    assert (found.f, found.p_f) == (None, 0.0), "which is why the exact p is used where it can be had"


def test_equal_nets_do_not_differ() -> None:
    found = friedman(np.ones((4, 3)))
    assert (found.chi2, found.p, found.p_f) == (0.0, 1.0, pytest.approx(1.0))


def test_many_data_sets_and_nets_are_approximated() -> None:
    found = friedman(made(30, 9, 0))
    assert found.p_exact is None
    assert found.p == found.p_f


@pytest.mark.parametrize("method", ["exact", "ties", "zeros"])
def test_signed_ranks_are_those_of_scipy_or_of_all_signs(method: str) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        differences = rng.normal(0.4, 1.0, size=8)
        if method == "exact":
            assert signed_rank(differences) == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)
            continue
        differences = differences.round(0 if method == "zeros" else 1) + (0.5 if method == "ties" else 0.0)
        kept = differences[differences.round(9) != 0]
        sizes = stats.rankdata(np.abs(kept).round(9))
        total = sizes.sum()
        observed = min(sizes[kept > 0].sum(), sizes[kept < 0].sum())
        sums = np.array([sizes[np.array(signs)].sum() for signs in product([False, True], repeat=len(kept))])
        expected = np.mean(np.minimum(sums, total - sums) <= observed + 1e-9) if len(kept) else 1.0
        assert signed_rank(differences) == pytest.approx(min(expected, 1.0))


def test_a_net_that_is_always_better_has_the_smallest_p_of_a_pair() -> None:
    for n in range(1, 12):
        own = np.random.default_rng(n).random(n) + 0.1
        assert signed_rank(own) == signed_rank(-own) == pytest.approx(smallest_signed_rank_p(n))
    assert signed_rank(np.zeros(5)) == 1.0


def test_groups_are_the_largest_without_a_significant_difference() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        means = np.sort(rng.uniform(1, 6, size=rng.integers(1, 8))).tolist()
        width = float(rng.uniform(0.2, 4))
        within = [
            (i, j) for i, j in combinations(range(len(means)), 2) if means[j] - means[i] < width
        ]  # of ascending ranks the outermost differ most
        largest = [(i, j) for i, j in within if not any(a <= i and j <= b and (a, b) != (i, j) for a, b in within)]
        assert cliques(means, width) == sorted(largest)


def test_nets_that_differ_by_exactly_the_critical_difference_are_apart() -> None:
    assert cliques([1.0, 2.0, 3.0], 1.0) == []
    assert cliques([1.0, 2.0, 3.0], 1.0001) == [(0, 1), (1, 2)]


def autoranked(scores: np.ndarray) -> Any:
    autorank = pytest.importorskip("autorank", reason="autorank is not installed")
    pandas = pytest.importorskip("pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = pandas.DataFrame(scores, columns=[f"net {i}" for i in range(scores.shape[1])])
        return autorank.autorank(frame, alpha=0.05, verbose=False, force_mode="nonparametric")


@pytest.mark.parametrize(("n", "k"), [(5, 3), (14, 4), (30, 7)])
def test_ranks_test_and_critical_difference_are_autoranks(n: int, k: int) -> None:
    scores = PAPER if (n, k) == PAPER.shape else made(n, k, n)
    other, found = autoranked(scores), friedman(scores)
    assert other.omnibus == "friedman"
    assert other.pvalue == pytest.approx(found.p_chi2)
    assert other.cd == pytest.approx(nemenyi(n, k), rel=1e-3)
    own = {f"net {i}": rank for i, rank in enumerate(ranks(scores).mean(axis=0))}
    assert dict(other.rankdf["meanrank"]) == pytest.approx(own)


@pytest.mark.parametrize("tied", [False, True])
def test_kendalls_correlation_is_scipys(tied: bool) -> None:
    for seed in range(30):
        a, b = made(2, 3 + seed % 8, seed, tied=tied)
        expected = stats.kendalltau(a, b).statistic
        found = kendall(a, b)
        assert (math.nan if found is None else found) == pytest.approx(expected, nan_ok=True)
    assert kendall(np.ones(4), np.arange(4.0)) is None
    with pytest.raises(ValueError, match=r"no correlation of \[3\] and \[4\] values"):
        kendall(np.ones(3), np.ones(4))


@pytest.mark.parametrize("scores", [np.ones(3), np.ones((2, 2), np.float32), np.full((2, 2), np.nan), np.ones((0, 2))])
def test_other_arrays_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(ValueError, match="scores must be finite float64"):
        ranks(scores)


def test_too_few_to_test_are_refused() -> None:
    with pytest.raises(ValueError, match="two or more data sets and nets, not 1 and 3"):
        friedman(np.ones((1, 3)))
    with pytest.raises(ValueError, match="no critical difference of 1 nets on 3 data sets"):
        nemenyi(3, 1)
