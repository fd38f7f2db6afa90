"""The temperature of logits: where the likelihood is highest, and what is said where it has no top."""

from __future__ import annotations

import math

import numpy as np
import pytest

from probeline.heads.temperature import LIMITS, fit_label_temperatures, fit_temperature
from probeline.metrics.scores import chances, nll


def drawn(n: int, *, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels drawn by the softmax of logits, and those logits times `sharpness`."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((n, 4))
    labels = (rng.random(n)[:, None] > chances(logits).cumsum(1)).sum(1).astype(np.int64).clip(max=3)
    return labels, (sharpness * logits).astype(np.float32)


@pytest.mark.parametrize("sharpness", [0.02, 1.0, 30.0])
def test_it_is_the_lowest_point_of_the_likelihood(sharpness: float) -> None:
    labels, logits = drawn(500, sharpness=sharpness)
    found = fit_temperature(labels, logits)
    lowest = nll(labels, logits / np.float64(found))
    for other in (0.99, 1.01):
        assert lowest < nll(labels, logits / np.float64(found * other))
    # Labels come from temperature `sharpness`; 500 of them tell it to about 1 / sqrt(500) = 4.5 %, here within 3 sd.
    assert found == pytest.approx(sharpness, rel=0.15)


def test_scaling_the_logits_scales_the_temperature() -> None:
    labels, logits = drawn(100)
    assert fit_temperature(labels, 8 * logits) == pytest.approx(8 * fit_temperature(labels, logits), rel=1e-6)
    moved = logits + np.arange(100, dtype=np.float32)[:, None]
    assert fit_temperature(labels, moved) == pytest.approx(fit_temperature(labels, logits), rel=1e-4)


@pytest.mark.parametrize("margin", [0.3, 5.0, 60.0])
def test_rows_that_are_all_right_are_believed_as_laplace_would(margin: float) -> None:
    labels = np.arange(20) % 3
    logits = np.where(np.arange(3) == labels[:, None], margin, 0).astype(np.float32)
    found = fit_temperature(labels, logits)
    assert chances(logits, found)[np.arange(20), labels].mean() == pytest.approx(21 / 22)
    assert math.isfinite(found)


def test_beyond_the_limits_is_the_limit() -> None:
    labels, logits = drawn(200)
    assert fit_temperature(labels, 1e5 * logits) == LIMITS[1]
    assert fit_temperature(labels, 1e-5 * logits) == LIMITS[0]
    assert fit_temperature(labels, -logits) == LIMITS[1], "worse than guessing: no heat is enough"
    assert fit_temperature(labels, np.zeros((200, 4), np.float32)) == 1


def test_a_class_infinitely_far_does_no_harm() -> None:
    labels, logits = drawn(200)
    logits[:, 3] = np.finfo(np.float32).min
    assert 0.5 < fit_temperature(labels % 3, logits) < LIMITS[1]


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        fit_temperature(np.zeros(3, np.int64), np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(np.zeros(2, np.int64), np.full((2, 4), np.inf, np.float32))


def test_each_label_has_the_temperature_of_two_classes() -> None:
    rng = np.random.default_rng(3)
    logits = (3 * rng.standard_normal((4000, 5))).astype(np.float32)
    Y = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits / [1, 4, 0.5, 1, 1]))).astype(np.float64)
    Y[rng.random(Y.shape) < 0.2] = np.nan
    Y[:, 3], Y[:, 4] = np.nan, np.where(logits[:, 4] < 0, 0, np.nan)
    found = fit_label_temperatures(Y, logits)
    for label in (0, 1, 2, 4):
        known = ~np.isnan(Y[:, label])
        labels, own = Y[known, label].astype(np.int64), logits[known, label]
        assert found[label] == fit_temperature(labels, np.column_stack([0 * own, own]))
    # 3,200 entries determine a temperature to 1 / sqrt(3200 p (1 - p) (z / T)^2), 5 % of 4: here within 3 sd.
    np.testing.assert_allclose(found[:3], [1, 4, 0.5], rtol=0.16)
    assert found[3] == 1
    assert 0 < found[4] < 1, "negative and right every time: believed as Laplace would"
    with pytest.raises(ValueError, match="one shape"):
        fit_label_temperatures(Y[:, 1:], logits)
    with pytest.raises(ValueError, match="0, 1 or NaN"):
        fit_label_temperatures(Y + 1, logits)
