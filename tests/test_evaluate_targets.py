"""Heads of several labels and of numbers, from arrays to scores: against scikit-learn on the same rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import mean_absolute_error, r2_score

import probeline
from probeline.errors import BadData, UnknownName
from probeline.evaluate.targets.methods import NearestTargets, StoredTargets, fit_known
from probeline.files.decode import BadRecord, decode, encode
from probeline.results.targets.score import Metric, TargetScore
from probeline.types import DoubleArray, FloatArray

rng = np.random.default_rng(0)


def made_numbers(n: int, noise: float = 0.5) -> tuple[FloatArray, DoubleArray]:
    """Return features [n, 20] and two linear targets of them with noise."""
    X = rng.normal(size=(n, 20)).astype(np.float32)
    Y = X.astype(np.float64) @ rng.normal(size=(20, 2)) + noise * rng.normal(size=(n, 2)) + [10, -3]
    return X, Y


def test_numbers_end_to_end_against_scikit_learn() -> None:
    X, Y = made_numbers(1400)
    test = np.arange(0, 1400, 5)
    val = np.arange(1, 1400, 10)
    result = probeline.probe_targets(X, Y, task="regression", test=test, val=val)
    score = result.scores[0]
    train = np.setdiff1d(np.arange(1400), np.concatenate([test, val]))
    mean, std = X[train].mean(0), X[train].std(0)
    scaled = (X - mean) / std
    oracle = Ridge(alpha=score.chosen["l2"] * len(train)).fit(scaled[train], Y[train])
    predicted = oracle.predict(scaled[test])
    # float32 features and weights: a part in a million of the targets' size
    np.testing.assert_allclose(result.predictions, predicted, atol=2e-4)
    assert result.metrics["r2"].value == pytest.approx(r2_score(Y[test], predicted), abs=1e-6)
    assert result.metrics["mae"].value == pytest.approx(mean_absolute_error(Y[test], predicted), abs=1e-5)
    on_val = {value["l2"]: value["r2"] for value in score.path}
    best = Ridge(alpha=score.chosen["l2"] * len(train)).fit(scaled[train], Y[train]).predict(scaled[val])
    assert on_val[score.chosen["l2"]] == max(on_val.values()) == pytest.approx(r2_score(Y[val], best), abs=1e-6)
    low, high = result.metrics["r2"].interval or (0, 0)
    assert low < (result.metrics["r2"].value or 0) < high
    assert score.chosen_by == "val (n=140)"


def test_few_rows_choose_by_leave_one_out_as_scikit_learn_does() -> None:
    X, Y = made_numbers(150, noise=3.0)
    test = np.arange(0, 150, 5)
    result = probeline.probe_targets(X, Y[:, 0], task="regression", test=test)
    score = result.scores[0]
    rest = np.setdiff1d(np.arange(150), test)
    assert score.chosen_by == f"leave-one-out (n={len(rest)})"
    scaled = (X[rest] - X[rest].mean(0)) / X[rest].std(0)
    l2s = [value["l2"] for value in score.path]
    oracle = RidgeCV(alphas=[l2 * len(rest) for l2 in l2s], scoring=None).fit(scaled.astype(np.float64), Y[rest, 0])
    assert score.chosen["l2"] * len(rest) == pytest.approx(oracle.alpha_)


@pytest.mark.parametrize("n", [150, 1400])
def test_a_feature_that_is_nearly_always_zero_does_not_decide_a_number(n: int) -> None:
    X, Y = made_numbers(n)
    X = np.column_stack([X, np.zeros(n, np.float32)])
    test, val = np.arange(0, n, 5), np.arange(1, n, 10)
    X[2, -1], X[test[0], -1] = 0.001, 1.0  # one train image has a little of it, a test image a thousand times as much
    result = probeline.probe_targets(X, Y, task="regression", test=test, val=val)
    train = np.setdiff1d(np.arange(n), np.concatenate([test, val]))
    scaled = ((X - X[train].mean(0)) / X[train].std(0)).clip(-10, 10)
    l2 = result.scores[0].chosen["l2"]
    oracle = Ridge(alpha=l2 * len(train)).fit(scaled[train], Y[train]).predict(scaled[test])
    np.testing.assert_allclose(result.predictions, oracle, atol=2e-4)
    assert (result.metrics["r2"].value or 0) > 0.9
    assert result.scores[0].options["limit"] == 10


def test_unknown_values_are_left_out_of_fits_and_metrics() -> None:
    X, Y = made_numbers(400)
    holed = Y.copy()
    holed[::3, 1] = np.nan
    (head,) = fit_known(X, holed, [0.01])
    known = ~np.isnan(holed[:, 1])
    alone = Ridge(alpha=0.01 * known.sum()).fit(X[known].astype(np.float64), Y[known, 1])
    np.testing.assert_allclose(head.weight[1], alone.coef_, atol=1e-5)
    test = np.arange(1, 400, 5)
    result = probeline.probe_targets(X, holed, task="regression", test=test, val=0.2)
    score = result.scores[0]
    truth = np.array(score.truth).reshape(-1, 2)
    assert np.isnan(truth[:, 1]).sum() == np.isnan(holed[test, 1]).sum() > 0
    assert score.per_target["images"][1] == (~np.isnan(holed[test, 1])).sum()
    kept = ~np.isnan(holed[test, 1])
    expected = r2_score(Y[test][kept, 1], result.predictions[kept, 1])
    assert score.per_target["r2"][1] == pytest.approx(expected, abs=1e-9)


def test_the_same_request_finds_its_score(tmp_path: Any, capsys: Any) -> None:
    X, Y = made_numbers(300)
    first = probeline.probe_targets(X, Y, task="regression", reports=tmp_path, name="made")
    again = probeline.probe_targets(X, Y, task="regression", reports=tmp_path, name="made", verbose=True)
    assert first.scores[0] == again.scores[0]
    other = probeline.probe_targets(X, Y + 1, task="regression", reports=tmp_path, name="made")
    assert other.scores[0].key != first.scores[0].key
    assert len(list(tmp_path.glob("*/targets/*/*.json"))) == 2


def test_neighbours_of_numbers_and_of_labels() -> None:
    X = np.eye(4, dtype=np.float32)
    Y = np.array([[1.0, np.nan], [3.0, 1.0], [5.0, 0.0], [7.0, 0.0]])
    queries = np.array([[1, 0.9, 0, 0]], np.float32)
    numbers = NearestTargets("regression").outputs(StoredTargets(X, Y, 2), queries)
    np.testing.assert_allclose(numbers, [[2.0, 1.0]])  # the unknown value does not count
    odds = NearestTargets("multi-label").outputs(
        StoredTargets(X, np.array([[1.0, 0], [1, 1], [0, 0], [0, 0]]), 2), queries
    )
    shares = 1 / (1 + np.exp(-odds))
    np.testing.assert_allclose(shares, [[1.0, 0.5]], atol=1e-3)


def test_what_is_refused() -> None:
    X, Y = made_numbers(60)
    with pytest.raises(UnknownName, match="method of regression"):
        probeline.probe_targets(X, Y, task="regression", method="logistic")
    with pytest.raises(BadData, match="nothing to tell apart"):
        probeline.probe_targets(X, np.ones(60), task="regression")
    with pytest.raises(BadData, match=r"probeline\.probe_targets"):
        probeline.probe(X, Y)


def changed(score: TargetScore, **fields: Any) -> Callable[[], TargetScore]:
    return lambda: decode(TargetScore, encode(replace(score, **fields)))


def test_a_record_that_does_not_agree_with_itself_is_refused() -> None:
    X, Y = made_numbers(120)
    score = probeline.probe_targets(X, Y, task="regression").scores[0]
    assert decode(TargetScore, encode(score)) == score
    outputs = (score.outputs[0] + 1, *score.outputs[1:])
    for fields in (
        {"outputs": outputs},
        {"outputs": score.outputs[1:]},
        {"thresholds": (0.5,)},
        {"selected_by": "map"},
        {"target_names": ("y",)},
        {"metrics": {**score.metrics, "mae": Metric(0.5)}},
        {"per_target": {"r2": (0.1,)}},
    ):
        with pytest.raises((BadRecord, ValueError)):
            changed(score, **fields)()
    packed = encode(score)
    packed["outputs"] = [0.0] * len(score.outputs)
    with pytest.raises(BadRecord, match="a packed column"):
        decode(TargetScore, packed)
