"""Outliers: distances to the nearest rows, and which share of the known ones lies as far."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom

from probeline.analysis.outliers import conformal_p_values, distance_threshold, neighbour_distances


@pytest.mark.parametrize("n", [9, 1100], ids=["one block", "three blocks"])
def test_remoteness_by_a_plain_loop(n: int) -> None:
    rng = np.random.default_rng(0)
    X, held = (rng.standard_normal((n, 5)).astype(np.float32) for n in (12, n))
    places = rng.integers(0, 12, (n, 3))

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    expected = [np.mean([1 - cosine(row, X[place]) for place in near]) for row, near in zip(held, places, strict=True)]
    np.testing.assert_allclose(neighbour_distances(X, held, places), expected, rtol=1e-5)
    assert neighbour_distances(X, np.zeros((1, 5), np.float32), places[:1]).tolist() == [1]


def test_an_ordinary_row_is_not_remote() -> None:
    rng = np.random.default_rng(1)
    X = (5 + rng.standard_normal((50, 8))).astype(np.float32)
    held = np.concatenate([X.mean(axis=0, keepdims=True), -X[:1]])
    ordinary, strange = neighbour_distances(X, held, np.tile(np.arange(10), (2, 1)))
    # The mean's cosine to a row of 8 values near 5 +- 1 is 1 / sqrt(1 + 1 / 25) or so; the other points the other way.
    assert ordinary < 0.1
    assert strange > 1.8


def test_p_values_by_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    known, new = rng.integers(0, 20, 50) / 10, rng.integers(0, 25, 30) / 10
    expected = [(1 + sum(one >= value for one in known)) / 51 for value in new]
    np.testing.assert_allclose(conformal_p_values(known, new), expected)


def test_rows_like_the_known_are_flagged_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(1)
    known, new = rng.standard_normal(2000), rng.standard_normal(2000)
    flagged = int((conformal_p_values(known, new) <= 0.01).sum())
    # At most the 20th largest of the known must be reached: the chance of that for a new one is itself random, a beta
    # variable, above this in one of a million; with it the number is binomial, above the bound in one of a million.
    chance = beta.ppf(1 - 1e-6, 20, 2000 - 20 + 1)
    assert 0 < flagged <= binom.ppf(1 - 1e-6, 2000, chance)


def test_what_lies_far_has_the_least_p() -> None:
    known = np.random.default_rng(2).random(999)
    p = conformal_p_values(known, np.array([0.5, 2.0]))
    assert p[1] == 1 / 1000
    assert p[0] > 0.4
    assert (known > distance_threshold(known, 0.01)).sum() == 10
