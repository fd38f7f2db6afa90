"""Zero mean and unit variance by the fitting rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from probeline.heads.standardize import apply, fit_scaler


def test_equal_to_scikit_learn() -> None:
    X = (np.random.default_rng(0).standard_normal((500, 7)) * [1, 10, 1e-3, 1e3, 1, 2, 3] + 50).astype(np.float32)
    expected = StandardScaler().fit_transform(X.astype(np.float64))
    # float32 holds X to 6e-8 of 50; divided by the smallest std of 1e-3 that is 3e-3.
    np.testing.assert_allclose(apply(fit_scaler(X), X), expected, atol=4e-3)


def test_a_constant_column_becomes_zero() -> None:
    X = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    X[:, 1] = 0.1
    scaler = fit_scaler(X)
    assert scaler.std[1] == 1
    np.testing.assert_allclose(apply(scaler, X)[:, 1], 0, atol=1e-7)


def test_other_rows_are_moved_by_the_fitting_rows_alone() -> None:
    X = np.arange(20, dtype=np.float32).reshape(10, 2)
    scaler = fit_scaler(X)
    np.testing.assert_array_equal(apply(scaler, X[:3]), apply(scaler, X)[:3])


@pytest.mark.parametrize("bad", [np.full((2, 2), np.nan), np.zeros((2, 2, 2)), np.zeros((0, 3))])
def test_what_is_no_feature_array_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="features"):
        fit_scaler(bad.astype(np.float32))


def test_statistics_of_more_rows_than_a_block() -> None:
    X = (1000 + np.random.default_rng(0).standard_normal((20_000, 2))).astype(np.float32)
    scaler = fit_scaler(X)
    np.testing.assert_array_equal(scaler.mean, X.astype(np.float64).mean(axis=0).astype(np.float32))
    np.testing.assert_allclose(scaler.std, X.astype(np.float64).std(axis=0), rtol=1e-6)  # float32 holds 6e-8


def test_the_array_stays_as_it_is() -> None:
    X = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
    before = X.copy()
    scaled = apply(fit_scaler(X), X)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(X, before)


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="4 columns where 3"):
        apply(fit_scaler(np.zeros((5, 3), np.float32)), np.zeros((5, 4), np.float32))
