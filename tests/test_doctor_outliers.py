"""Outliers: distances to the nearest rows, and which share of the known ones lies as far."""

from __future__ import annotations

import numpy as np
from scipy.stats import beta, binom

from probeline.doctor.outliers import p_values, remoteness, threshold


def test_remoteness_is_the_mean_distance() -> None:
    np.testing.assert_allclose(remoteness(np.array([[1, 0.5], [0, -1]], np.float32)), [0.25, 1.5])


def test_p_values_by_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    known, new = rng.integers(0, 20, 50) / 10, rng.integers(0, 25, 30) / 10
    expected = [(1 + sum(one >= value for one in known)) / 51 for value in new]
    np.testing.assert_allclose(p_values(known, new), expected)


def test_rows_like_the_known_are_flagged_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(1)
    known, new = rng.standard_normal(2000), rng.standard_normal(2000)
    flagged = int((p_values(known, new) <= 0.01).sum())
    # At most the 20th largest of the known must be reached: the chance of that for a new one is itself random, a beta
    # variable, above this in one of a million; with it the number is binomial, above the bound in one of a million.
    chance = beta.ppf(1 - 1e-6, 20, 2000 - 20 + 1)
    assert 0 < flagged <= binom.ppf(1 - 1e-6, 2000, chance)


def test_what_lies_far_has_the_least_p() -> None:
    known = np.random.default_rng(2).random(999)
    p = p_values(known, np.array([0.5, 2.0]))
    assert p[1] == 1 / 1000
    assert p[0] > 0.4
    assert (known > threshold(known, 0.01)).sum() == 10
