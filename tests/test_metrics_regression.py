"""Scores of predicted numbers against scikit-learn's and scipy's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torchmetrics.functional.regression as torchmetrics
from scipy.stats import spearmanr
from sklearn import metrics as reference

from probeline.metrics import regression

T = 4


def made(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(2 if kind == "two" else 80, T)) * [1, 100, 1e-4, 5] + [0, 1e4, 3, -2]
    predictions = truth + rng.normal(size=truth.shape) * [0.5, 300, 1e-5, 5]
    if kind == "tied":
        truth, predictions = np.round(truth), np.round(predictions, -1)
        truth[:2] += [[0], [1]]
    elif kind == "float32":
        predictions = predictions.astype(np.float32)
    return truth, predictions


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["random", "tied", "two", "float32"])
def test_they_are_other_libraries(kind: str, seed: int) -> None:
    truth, predictions = made(kind, seed)
    for ours, mean, theirs in (
        (regression.mae_per_target, regression.mae, reference.mean_absolute_error),
        (regression.rmse_per_target, regression.rmse, reference.root_mean_squared_error),
    ):
        expected = theirs(truth, predictions, multioutput="raw_values")
        np.testing.assert_allclose(ours(truth, predictions), expected, rtol=1e-12)
        assert mean(truth, predictions) == pytest.approx(theirs(truth, predictions), rel=1e-12)
    varies = np.ptp(truth, axis=0) > 0
    expected = np.where(varies, reference.r2_score(truth, predictions, multioutput="raw_values"), np.nan)
    np.testing.assert_allclose(regression.r2_per_target(truth, predictions), expected, rtol=1e-9)
    assert regression.r2(truth, predictions) == pytest.approx(np.nanmean(expected), rel=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's, of constant targets
        ranks = np.array([spearmanr(truth[:, t], predictions[:, t]).statistic for t in range(T)])
    np.testing.assert_allclose(regression.spearman_per_target(truth, predictions), ranks, rtol=0, atol=1e-12)
    known = ranks[~np.isnan(ranks)]
    assert regression.spearman(truth, predictions) == pytest.approx(known.mean(), abs=1e-12)


def test_they_are_torchmetrics_too() -> None:
    truth, predictions = made("random")
    truth, predictions = truth / [1, 100, 1e-4, 5], predictions / [1, 100, 1e-4, 5]  # tiny variances are 0 there
    of = torch.from_numpy(predictions), torch.from_numpy(truth)
    expected = torchmetrics.r2_score(*of, multioutput="raw_values").numpy()
    np.testing.assert_allclose(regression.r2_per_target(truth, predictions), expected, rtol=1e-5)
    expected = torchmetrics.spearman_corrcoef(*of).numpy()
    np.testing.assert_allclose(regression.spearman_per_target(truth, predictions), expected, rtol=1e-5)


@pytest.mark.parametrize("value", [0.1, 1e6 + 0.1, 0.0])
def test_a_constant_target_has_no_r2_and_no_order(value: float) -> None:
    # The mean of 0.1 a thousand times is another number, so that a sum of squares would not be 0.
    truth, predictions = np.full((1000, 2), value), np.random.default_rng(0).normal(size=(1000, 2))
    assert np.isnan(regression.r2_per_target(truth, predictions)).all()
    assert regression.r2(truth, predictions) is regression.spearman(truth, predictions) is None
    assert regression.r2(truth, truth) is None
    truth[:, 1] = predictions[:, 1]
    assert regression.r2(truth, predictions) == 1
    assert regression.spearman(truth, predictions) == 1


def test_constant_predictions_have_an_r2_and_no_order() -> None:
    truth = np.arange(10.0)[:, None]
    constant = np.full_like(truth, truth.mean())
    assert regression.r2(truth, constant) == 0
    assert np.isnan(regression.spearman_per_target(truth, constant)).all()


def test_one_image_has_errors_alone() -> None:
    truth, predictions = np.array([[2.0]]), np.array([[5.0]])
    assert regression.mae(truth, predictions) == regression.rmse(truth, predictions) == 3
    assert regression.r2(truth, predictions) is regression.spearman(truth, predictions) is None


def test_values_of_float32_are_taken_apart_in_float64() -> None:
    truth = (1e6 + np.arange(50) / 16).astype(np.float32)[:, None]
    wide = truth.astype(np.float64)
    predictions = truth + np.float32(0.25)
    expected = reference.r2_score(wide, predictions.astype(np.float64))
    assert regression.r2(truth, predictions) == pytest.approx(expected, rel=1e-12)
    assert regression.mae(truth, predictions) == 0.25


def test_wrong_arrays_are_refused() -> None:
    truth, predictions = made("random")
    for bad in (truth[:, 0], truth[:5], truth.astype(np.int64), truth[:0]):
        with pytest.raises(ValueError, match="one shape"):
            regression.mae(bad, predictions)
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="not finite"):
            regression.spearman(truth, np.full_like(truth, value))
