"""A range test's rates, its smoothing and end, and where it finds the loss to fall."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from probeline.metrics.lr_range import EARLY, HIGHEST, LOWEST, STEPS, descent, is_over, rising, smooth_curve, smoothed

RATES = rising()
STEP = math.log(RATES[1] / RATES[0])
AGE = 9
"""Steps: the mean age of what a mean that keeps 0.9 consists of, 0.9 / (1 - 0.9)."""


def place(rate: float) -> float:
    """Return the step that a rate is of."""
    return math.log(rate / LOWEST) / STEP


def fall(middle: float, width: float) -> list[float]:
    """Return losses that fall from 2 to 0.5 along a logistic curve, steepest at the step `middle`."""
    return [2 - 1.5 / (1 + math.exp(-(step - middle) / width)) for step in range(STEPS)]


def test_rates_rise_by_one_factor_from_the_lowest_to_the_highest() -> None:
    assert (RATES[0], RATES[-1], len(RATES)) == (LOWEST, HIGHEST, STEPS) == (1e-6, 10.0, 100)
    factors = [after / before for before, after in pairwise(RATES)]
    assert factors == pytest.approx([10 ** (7 / 99)] * 99, rel=1e-12)


def test_the_mean_is_weighted_by_age_and_the_weights_sum_to_one() -> None:
    values = np.random.default_rng(0).normal(size=30)
    for number, mean in enumerate(smoothed(values.tolist()), start=1):
        weights = 0.9 ** np.arange(number)[::-1]
        assert mean == pytest.approx((weights * values[:number]).sum() / weights.sum(), rel=1e-12)
    assert smoothed([math.pi] * 50) == [math.pi] * 50
    assert smoothed([]) == []


def test_a_loss_that_falls_evenly_stays_in_its_place() -> None:
    at, means = smooth_curve(RATES, [5 - 0.2 * math.log(rate) for rate in RATES])
    assert means == pytest.approx(5 - 0.2 * np.log(at), rel=1e-12)
    # The last mean is old by what the mean keeps, so far as the beginning lets it.
    assert place(float(at[-1])) == pytest.approx(STEPS - 1 - AGE, abs=0.1)


@pytest.mark.parametrize("middle", [30, 47, 60, 75])
@pytest.mark.parametrize("width", [0.3, 1.0, 2.0, 4.0, 6.0])
def test_the_steepest_place_is_found_and_never_beyond(middle: float, width: float) -> None:
    found = descent(RATES, fall(middle, width))
    assert found is not None
    # However abrupt the fall, its mean stands at most its age to the left.
    assert middle - AGE <= place(found.steepest) <= middle
    assert found.tenth == found.lowest / 10


def test_the_lowest_place_lies_before_the_loss_rises() -> None:
    losses = [loss + 0.1 * math.exp(step - 75) for step, loss in enumerate(fall(55, 3.0))]
    steps = next(number for number in range(1, STEPS + 1) if is_over(losses[:number]))
    # At step 78 the rise has 2 of loss: the mean is beyond four times its lowest, at least 0.5, within a few steps.
    assert 77 < steps < 85
    found = descent(RATES[:steps], losses[:steps])
    assert found is not None
    assert not found.at_end
    assert 55 < place(found.lowest) < 75
    whole = descent(RATES, losses)
    assert whole == found, "what comes after the end changes nothing"


def test_a_loss_that_still_falls_at_the_highest_rate_is_reported() -> None:
    found = descent(RATES, [5 - 0.2 * math.log(rate) for rate in RATES])
    assert found is not None
    assert found.at_end
    stopped = descent(RATES[:60], [5 - 0.2 * math.log(rate) for rate in RATES[:60]])
    assert stopped is not None
    assert not stopped.at_end, "it ended for another reason"


@pytest.mark.parametrize("seed", range(20))
def test_scatter_before_the_fall_is_no_slope(seed: int) -> None:
    noise = 0.1 * np.random.default_rng(seed).normal(size=STEPS)
    found = descent(RATES, (np.array(fall(60, 4.0)) + noise).tolist())
    assert found is not None
    # From 60 - 20 to 60 + 20 the logistic curve of width 4 does 98.7 % of its fall: 1 - 2 / (1 + e^5).
    assert 40 <= place(found.steepest) <= 80


@pytest.mark.parametrize(
    "losses",
    [
        [1.0] * STEPS,
        [1.0 + 0.01 * step for step in range(STEPS)],
        [1.0] * EARLY,
        [2.0 - 0.1 * step for step in range(EARLY)],
        [],
        [1.0, 0.5] * (STEPS // 2),
    ],
    ids=["level", "rising", "short", "short and falling", "empty", "scatter"],
)
def test_a_loss_that_never_falls_suggests_nothing(losses: list[float]) -> None:
    assert descent(RATES[: len(losses)], losses) is None


def test_a_test_ends_above_four_times_the_lowest_mean_or_where_the_loss_is_not_finite() -> None:
    assert not is_over([1.0])
    # The second mean is (0.9 + x) / 1.9 of 1 and x: four times the first at x = 6.7.
    assert not is_over([1.0, 6.69])
    assert is_over([1.0, 6.71])
    assert is_over([1.0, math.nan])
    assert is_over([math.inf])
