"""Scatter and ranks of features: as numpy and scipy have them, and known where a formula says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import svdvals
from scipy.stats import entropy, ortho_group

from probeline.metrics.features.rows import distinct_rows, in_few_columns, unit_rows
from probeline.metrics.features.spectrum import RANKME_EPSILON, effective_rank, rankme, scatter_of, singular_values


def features(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(3, 1, (n, d)) * np.geomspace(1, 1e-2, d)).astype(np.float32)


@pytest.mark.parametrize(("n", "d"), [(5000, 30), (40, 40), (25, 60)])
def test_the_scatter_is_that_of_numpy(n: int, d: int) -> None:
    X, y = features(n, d), np.random.default_rng(1).integers(0, 4, n)
    scatter = scatter_of(X, y)
    wide = X.astype(np.float64)
    centred = wide - wide.mean(axis=0)
    assert (scatter.n, scatter.columns) == (n, d)
    assert scatter.counts.tolist() == np.bincount(y).tolist()
    assert scatter.fourth == pytest.approx(((centred**2).sum(axis=1) ** 2).sum())
    assert scatter.spread == pytest.approx(n * np.cov(wide.T, bias=True).trace())
    # Means, and thus all else, are those in a rotated basis if there are fewer rows than columns.
    means = np.stack([centred[y == label].mean(axis=0) for label in range(4)])
    np.testing.assert_allclose(scatter.class_means @ scatter.class_means.T, means @ means.T, atol=1e-9)
    np.testing.assert_allclose(singular_values(scatter.centred)[: min(n, d) - 1], svdvals(centred)[: min(n, d) - 1])
    np.testing.assert_allclose(singular_values(scatter.raw), svdvals(wide)[: min(n, d)], rtol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(500, 30), (25, 60)])
def test_the_ranks_are_the_entropies_of_scipy(n: int, d: int) -> None:
    X = features(n, d)
    scatter = scatter_of(X)
    wide = X.astype(np.float64)
    rank = effective_rank(singular_values(scatter.centred))
    assert rank == pytest.approx(np.exp(entropy(svdvals(wide - wide.mean(axis=0)))), rel=1e-6)
    shares = svdvals(wide) / svdvals(wide).sum() + 1e-7
    assert rankme(singular_values(scatter.raw)) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)


def test_equal_directions_count_each() -> None:
    values = np.array([2.0, 2.0, 2.0, 0.0, 0.0])
    assert effective_rank(values) == pytest.approx(3)
    assert effective_rank(np.array([5.0])) == pytest.approx(1)
    share = 0.2
    of_two = share**-share * (1 - share) ** (share - 1)
    assert effective_rank(np.array([1 - share, share])) == pytest.approx(of_two)


def test_orthonormal_features_have_all_their_columns() -> None:
    basis = ortho_group.rvs(12, random_state=0)
    X = np.concatenate([basis, -basis]).astype(np.float32)  # of mean 0
    assert effective_rank(singular_values(scatter_of(X).centred)) == pytest.approx(12)


def test_a_rotation_and_a_scale_change_no_rank() -> None:
    X = features(300, 20).astype(np.float64)
    turned = 7 * X @ ortho_group.rvs(20, random_state=1)
    for measure in (effective_rank, rankme):
        ranks = [measure(singular_values(scatter_of(rows).raw)) for rows in (X, turned)]
        assert ranks[0] == pytest.approx(ranks[1], rel=1e-8)


def test_rankme_differs_from_the_effective_rank_by_its_epsilon_alone() -> None:
    values = svdvals(features(2000, 64).astype(np.float64))
    plain, with_epsilon = effective_rank(values), rankme(values)
    assert plain is not None
    assert with_epsilon is not None
    # Of each of 64 terms -p log p the derivative is -log p - 1, at most that of the smallest share.
    slope = -np.log(values.min() / values.sum())
    assert 0 < np.log(with_epsilon / plain) < 64 * RANKME_EPSILON * slope


def test_a_zero_direction_is_none_whatever_rounding_makes_of_it() -> None:
    X = features(400, 10)
    copied = np.hstack([X, X, X]).astype(np.float64)
    values = singular_values(scatter_of(copied).centred)
    assert (values > 0).sum() == 10
    assert effective_rank(values) == pytest.approx(effective_rank(singular_values(scatter_of(X).centred)))


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (1, 3)])
def test_equal_rows_have_no_effective_rank_and_one_direction(shape: tuple[int, int]) -> None:
    scatter = scatter_of(np.full(shape, 0.1, np.float32))
    assert scatter.spread == 0
    assert effective_rank(singular_values(scatter.centred)) is None
    assert rankme(singular_values(scatter.raw)) == pytest.approx(1, abs=1e-5)
    assert rankme(singular_values(scatter_of(np.zeros(shape, np.float32)).raw)) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    X = features(10, 3)
    X[4, 1] = bad
    with pytest.raises(ValueError, match="not finite"):
        scatter_of(X)


def test_labels_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels must be int64 \[10\]"):
        scatter_of(features(10, 3), np.zeros(9, np.int64))


def test_fewer_columns_keep_all_inner_products() -> None:
    X = features(12, 90)
    few = in_few_columns(X)
    assert few.shape == (12, 12)
    np.testing.assert_allclose(few @ few.T, X.astype(np.float64) @ X.T.astype(np.float64), atol=1e-10)
    assert in_few_columns(X.T) is not None
    assert in_few_columns(X.T).shape == (90, 12)


def test_equal_rows_are_found_and_zeros_of_both_signs_are_equal() -> None:
    X = np.array([[0.0, 1.0], [2.0, 3.0], [-0.0, 1.0], [2.0, 3.0], [9.0, 9.0]], np.float32)
    first, place = distinct_rows(X)
    assert first.tolist() == [0, 1, 4]
    assert place.tolist() == [0, 1, 0, 1, 2]


def test_unit_rows_have_length_1_and_zeros_stay() -> None:
    X = features(3000, 5)
    X[7] = 0
    lengths = np.linalg.norm(unit_rows(X).astype(np.float64), axis=1)
    assert lengths[7] == 0
    np.testing.assert_allclose(np.delete(lengths, 7), 1, atol=1e-6)
