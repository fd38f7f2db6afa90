"""Intervals and tests against published examples and against scipy's own implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from probeline.metrics.intervals import holm, mcnemar, wilson


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
