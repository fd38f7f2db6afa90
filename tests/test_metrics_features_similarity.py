"""Centred kernel alignment: the formulas of the papers, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group

from probeline.metrics.features.similarity import Alignment, align, centre


def features(n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(1, 1, (n, d)) * np.geomspace(1, 0.1, d)).astype(np.float32)


def cka(X: np.ndarray, Y: np.ndarray) -> Alignment:
    return align(centre(X), centre(Y))


def biased_by_kernels(X: np.ndarray, Y: np.ndarray) -> float:
    """Return CKA by the kernels: tr(K H L H) over the root of tr(K H K H) tr(L H L H), Kornblith et al. section 3."""
    n = len(X)
    H = np.eye(n) - 1 / n
    K, L = (rows.astype(np.float64) @ rows.astype(np.float64).T for rows in (X, Y))
    return np.trace(K @ H @ L @ H) / np.sqrt(np.trace(K @ H @ K @ H) * np.trace(L @ H @ L @ H))


def unbiased_by_kernels(X: np.ndarray, Y: np.ndarray) -> float:
    """Return CKA with equation 5 of Song et al., whose kernels have a diagonal of zeros and are not centred."""
    n = len(X)
    K, L = (rows.astype(np.float64) @ rows.astype(np.float64).T for rows in (X, Y))
    np.fill_diagonal(K, 0)
    np.fill_diagonal(L, 0)
    one = np.ones(n)

    def hsic(A: np.ndarray, B: np.ndarray) -> float:
        sums = (one @ A @ one) * (one @ B @ one) / ((n - 1) * (n - 2))
        return (np.trace(A @ B) + sums - 2 / (n - 2) * (one @ A @ B @ one)) / (n * (n - 3))

    return hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))


@pytest.mark.parametrize(("n", "d", "e"), [(400, 12, 30), (20, 50, 90), (5000, 4, 3), (6, 2, 2)])
def test_both_are_those_of_the_kernels(n: int, d: int, e: int) -> None:
    X = features(n, d, 0)
    Y = (X[:, :2] @ features(2, e, 1) + features(n, e, 2)).astype(np.float32)
    found = cka(X, Y)
    rows = slice(0, min(n, 400))
    if n <= 400:
        assert found.biased == pytest.approx(biased_by_kernels(X, Y), abs=1e-5)
        assert found.unbiased == pytest.approx(unbiased_by_kernels(X, Y), abs=1e-5)
    else:
        wide = [(Z - Z.mean(axis=0, dtype=np.float64)) for Z in (X, Y)]
        top = np.linalg.norm(wide[0].T @ wide[1]) ** 2
        below = np.linalg.norm(wide[0].T @ wide[0]) * np.linalg.norm(wide[1].T @ wide[1])
        assert found.biased == pytest.approx(top / below, abs=1e-5)
        assert found.unbiased == pytest.approx(found.biased, abs=0.01)
        assert cka(X[rows], Y[rows]).unbiased == pytest.approx(unbiased_by_kernels(X[rows], Y[rows]), abs=1e-5)


def test_a_rotation_a_scale_and_a_shift_change_nothing() -> None:
    X, Y = features(200, 10, 0), features(200, 7, 1)
    turned = (30 * X.astype(np.float64) @ ortho_group.rvs(10, random_state=0) + 5).astype(np.float32)
    assert cka(turned, Y) == pytest.approx(cka(X, Y), abs=1e-5)
    assert cka(X, turned) == pytest.approx((1, 1), abs=1e-5)
    assert cka(Y, X) == pytest.approx(cka(X, Y), abs=1e-6)


def test_stretching_one_direction_changes_it() -> None:
    X = features(200, 10, 0)
    stretched = X * np.array([1] * 9 + [20], np.float32)
    assert 0.05 < cka(X, stretched).unbiased < 0.95


def test_of_unrelated_features_the_biased_one_alone_is_high() -> None:
    # Of n rows of d independent columns the biased one is about 1 / (1 + n / d) for both d; n = 50, d = 500.
    found = [cka(*np.random.default_rng(seed).normal(size=(2, 50, 500)).astype(np.float32)) for seed in range(20)]
    biased, unbiased = np.array(found).T
    assert biased.min() > 0.85
    # The correlation of about n^2 / 2 independent products has a standard deviation of sqrt(2) / n.
    assert np.abs(unbiased).max() < 5 * np.sqrt(2) / 50
    assert abs(unbiased.mean()) < 5 * np.sqrt(2) / 50 / np.sqrt(20)


def test_equal_rows_and_too_few_have_none() -> None:
    X, constant = features(30, 4, 0), np.ones((30, 4), np.float32)
    assert cka(X, constant) == (None, None)
    assert cka(constant, constant) == (None, None)
    few = cka(X[:3], features(3, 4, 1))
    assert few.biased is not None
    assert few.unbiased is None


def test_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="30 and 29 images"):
        cka(features(30, 4, 0), features(29, 4, 0))
