"""An interval and a test of two shares of different images, against published values and scipy's implementations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from probeline.metrics.two_samples import fisher, newcombe


def test_published_intervals() -> None:
    # Newcombe 1998, Statistics in Medicine 17, 873-890, table II, method 10, contrasts a to h.
    assert newcombe((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert newcombe((9, 10), (3, 10)) == pytest.approx((0.1705, 0.8090), abs=5e-5)
    assert newcombe((6, 7), (2, 7)) == pytest.approx((0.0582, 0.8062), abs=5e-5)
    assert newcombe((5, 56), (0, 29)) == pytest.approx((-0.0381, 0.1926), abs=5e-5)
    assert newcombe((0, 10), (0, 20)) == pytest.approx((-0.1611, 0.2775), abs=5e-5)
    assert newcombe((10, 10), (0, 20)) == pytest.approx((0.6791, 1.0), abs=5e-5)


def test_the_order_of_the_groups_changes_the_sign_alone() -> None:
    low, high = newcombe((40.5, 50), (30, 60), 0.99)
    assert newcombe((30, 60), (40.5, 50), 0.99) == pytest.approx((-high, -low))
    assert low < 40.5 / 50 - 0.5 < high


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 1), st.floats(0, 1))
def test_fishers_test_is_scipys(n: int, other_n: int, share: float, other: float) -> None:
    right, other_right = round(share * n), round(other * other_n)
    table = [[right, n - right], [other_right, other_n - other_right]]
    assert fisher(right, n, other_right, other_n) == pytest.approx(fisher_exact(table).pvalue, rel=1e-8, abs=1e-300)


def test_fishers_test_of_many_images_is_scipys() -> None:
    table = [[7_700, 300], [40_000, 2_000]]
    assert fisher(7_700, 8_000, 40_000, 42_000) == pytest.approx(fisher_exact(table).pvalue, rel=1e-6)


@pytest.mark.parametrize("counts", [(-1, 5, 1, 5), (6, 5, 1, 5), (1, 5, 0, 0), (0, 0, 1, 5)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no test"):
        fisher(*counts)
