"""Intervals and tests against published examples and against scipy's own implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from probeline.metrics.intervals import holm, mcnemar, mean_interval, paired_bootstrap, wilson


def test_a_published_interval() -> None:
    # Newcombe 1998, Statistics in Medicine 17, 857-872, table I: method 3 (score), without continuity correction.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_equal_to_scipy(n: int, share: float, confidence: float) -> None:
    successes = round(share * n)
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    low, high = wilson(successes, n, confidence)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1


@pytest.mark.parametrize("arguments", [(-1, 5), (6, 5), (0, 0), (1, 5, 1.0)])
def test_impossible_counts_are_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="no interval"):
        wilson(*arguments)  # type: ignore[arg-type]


def test_mcnemar_is_exact() -> None:
    labels = np.zeros(40, np.int64)
    a, b = labels.copy(), labels.copy()
    b[:8] = 1
    a[8:10] = 1
    # 8 against 2: twice the binomial tail of 0, 1 or 2 of 10 = 2 x (1 + 10 + 45) / 1024.
    assert mcnemar(labels, a, b) == pytest.approx(2 * 56 / 1024)
    assert mcnemar(labels, b, a) == mcnemar(labels, a, b)
    assert mcnemar(labels, a, a) == 1
    with pytest.raises(ValueError, match="int64"):
        mcnemar(labels, a[:5], b)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_scipys_binomial_test(only_a: int, only_b: int) -> None:
    n = only_a + only_b + 1
    a, b = np.zeros(n, np.int64), np.zeros(n, np.int64)
    b[:only_a] = 1
    a[only_a : only_a + only_b] = 1
    expected = binomtest(only_a, n - 1).pvalue if n > 1 else 1.0
    # Two implementations of one tail: their roundings add up to 1e-11 of p-values as small as 1e-90.
    assert mcnemar(np.zeros(n, np.int64), a, b) == pytest.approx(expected, rel=1e-9)


def test_two_wrong_answers_are_no_difference() -> None:
    labels = np.zeros(9, np.int64)
    assert mcnemar(labels, labels + 1, labels + 2) == 1


def test_holm_by_hand() -> None:
    # 0.01 x 4, 0.013 x 3 (kept from falling), 0.03 x 2, 0.04 x 1 (kept from falling).
    assert holm([0.03, 0.01, 0.04, 0.013]) == pytest.approx([0.06, 0.04, 0.06, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_and_keeps_the_order(ps: list[float]) -> None:
    adjusted = holm(ps)
    assert all(p <= q <= 1 for p, q in zip(ps, adjusted, strict=True))
    for i in range(len(ps)):
        for j in range(len(ps)):
            if ps[i] < ps[j]:
                assert adjusted[i] <= adjusted[j]


def test_the_bootstrap_is_that_of_a_mean_of_paired_differences() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(400, np.int64)
    a, b = ((rng.random(400) < chance).astype(np.int64) for chance in (0.1, 0.2))
    low, high = paired_bootstrap(labels, a, b)
    difference = (a == 0).astype(float) - (b == 0)
    half = 1.96 * difference.std() / np.sqrt(400)
    # The normal approximation, within a tenth of its own half: ends are steps of 1 / 400 = 0.06 halves, and 10,000
    # draws place a 2.5 % quantile to 0.03 halves (sqrt(0.025 * 0.975 / 10,000) over the density there, 0.058 per sd).
    assert (low, high) == pytest.approx((difference.mean() - half, difference.mean() + half), abs=0.1 * half)
    assert paired_bootstrap(labels, a, b) == (low, high)
    narrow = paired_bootstrap(labels, a, b, confidence=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_equal_predictors_have_no_interval_to_speak_of() -> None:
    labels = np.arange(10)
    assert paired_bootstrap(labels, labels, labels) == (0, 0)
    assert paired_bootstrap(labels, labels, (labels + 1) % 10) == (1, 1)


def test_several_seeds_count_by_their_share() -> None:
    labels = np.zeros(60, np.int64)
    rng = np.random.default_rng(1)
    three, one = (rng.random((3, 60)) < 0.3).astype(np.int64), (rng.random(60) < 0.4).astype(np.int64)
    low, high = paired_bootstrap(labels, three, one)
    shares = (three == 0).mean(0) - (one == 0)
    drawn = shares[rng.integers(0, 60, (10_000, 60))].mean(1)
    # Steps of 1 / 180, and the luck of two sets of 10,000 draws.
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.012)
    assert paired_bootstrap(labels, np.stack([one, one]), one) == (0, 0)


@pytest.mark.parametrize("options", [{"draws": 0}, {"confidence": 1.0}])
def test_an_impossible_bootstrap_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no interval"):
        paired_bootstrap(np.zeros(3, np.int64), np.zeros(3, np.int64), np.zeros(3, np.int64), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one length"):
        paired_bootstrap(np.zeros(3, np.int64), np.zeros(2, np.int64), np.zeros(3, np.int64))


def test_a_mean_of_one_value_has_its_interval() -> None:
    assert mean_interval([0.9], [wilson(90, 100)]) == pytest.approx(wilson(90, 100))


def test_a_mean_of_symmetric_intervals_has_that_of_their_standard_errors() -> None:
    values, errors = np.array([0.5, 0.7, 0.9]), np.array([0.01, 0.02, 0.03])
    half = 1.96 * float(np.sqrt(np.square(errors).sum())) / 3
    found = mean_interval(values.tolist(), [(v - 1.96 * e, v + 1.96 * e) for v, e in zip(values, errors, strict=True)])
    assert found == pytest.approx((values.mean() - half, values.mean() + half))


@pytest.mark.parametrize("shares", [(0.9, 0.7, 0.95), (0.99, 0.98, 0.6), (0.5, 0.5, 0.5)])
def test_the_interval_of_a_mean_accuracy_holds_it_about_as_often_as_it_says(shares: tuple[float, ...]) -> None:
    rng, sizes, held = np.random.default_rng(0), (153, 360, 60), 0
    for _ in range(4000):
        right = rng.binomial(sizes, shares)
        low, high = mean_interval(
            (right / sizes).tolist(), [wilson(float(own), n) for own, n in zip(right, sizes, strict=True)]
        )
        held += low <= np.mean(shares) <= high
    assert held / 4000 == pytest.approx(0.95, abs=0.015)


def test_a_mean_of_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="no mean of 0 values with 0 intervals"):
        mean_interval([], [])
    with pytest.raises(ValueError, match="no mean of 2 values with 1 intervals"):
        mean_interval([0.5, 0.6], [(0.4, 0.6)])
