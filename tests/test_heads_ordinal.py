"""Proportional-odds regression: against the written-out likelihood, and against the logistic probe of two classes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from probeline.heads.logistic.path import fit_path
from probeline.heads.ordinal import OrdinalHead, fit_ordinal_path, log_probabilities
from probeline.types import DoubleArray, FloatArray, IntArray


def task(count: int, columns: int, classes: int, *, noise: float = 1.0, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """Return correlated features, standardised, and ranks of uneven frequencies that follow one direction."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, columns)) @ rng.normal(size=(columns, columns)) / columns**0.5
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    value = X @ rng.normal(size=columns) / columns**0.5 + noise * rng.logistic(size=count)
    cuts = np.quantile(value, np.linspace(0.15, 0.9, classes - 1))
    return X, np.searchsorted(cuts, value).astype(np.int64)


def objective(
    weight: DoubleArray, thresholds: DoubleArray, X: FloatArray, y: IntArray, l2: float, shares: DoubleArray
) -> float:
    """Return the textbook form: the mean of -log(P(y <= k) - P(y <= k - 1)), and the penalty."""
    below = expit(np.concatenate([[-np.inf], thresholds, [np.inf]])[None, :] - (X.astype(float) @ weight)[:, None])
    likelihood = below[np.arange(len(y)), y + 1] - below[np.arange(len(y)), y]
    return float(-(shares * np.log(likelihood)).sum() + l2 / 2 * weight @ weight)


def lowest(X: FloatArray, y: IntArray, classes: int, l2: float, shares: DoubleArray) -> tuple[float, DoubleArray]:
    """Return the minimum by scipy over weights, the first threshold, and the logarithms of the gaps."""
    columns = X.shape[1]

    def unpacked(values: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        steps = np.concatenate([values[columns : columns + 1], np.exp(values[columns + 1 :])])
        return values[:columns], np.cumsum(steps)

    start = np.concatenate([np.zeros(columns), [-1.0], np.zeros(classes - 2)])
    found = minimize(
        lambda values: objective(*unpacked(values), X, y, l2, shares),
        start,
        method="BFGS",
        options={"gtol": 1e-8, "maxiter": 5000},
    )
    return float(found.fun), np.concatenate(unpacked(found.x))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("count", "columns", "classes"), [(300, 6, 4), (40, 12, 3), (200, 3, 7), (15, 20, 3)])
def test_the_minimum_is_that_of_the_written_out_likelihood(
    count: int, columns: int, classes: int, weighted: bool
) -> None:
    X, y = task(count, columns, classes)
    weights = np.random.default_rng(1).uniform(0.3, 3, count) if weighted else np.ones(count)
    weights /= weights.mean()
    shares = weights / count
    l2s = [1e-2, 1.0, 1e-3]
    for l2, head in zip(l2s, fit_ordinal_path(X, y, classes, l2s, weights=weights if weighted else None), strict=True):
        judge, values = lowest(X, y, classes, l2, shares)
        own = objective(head.weight.astype(float), head.thresholds, X, y, l2, shares)
        assert head.certificate.converged
        assert head.l2 == l2
        assert head.certificate.objective == pytest.approx(own, rel=1e-9)
        assert own - judge <= 1e-6 * (judge + 0.01) + 1e-8
        np.testing.assert_allclose(head.weight, values[:columns], atol=3e-3)
        np.testing.assert_allclose(head.thresholds, values[columns:], atol=3e-3)


def test_the_gradient_of_the_certificate_is_that_of_differences() -> None:
    X, y = task(100, 4, 4)
    (head,) = fit_ordinal_path(X, y, 4, [0.1], max_iterations=1)  # far from the optimum
    assert not head.certificate.converged
    shares, at = np.full(100, 0.01), np.concatenate([head.weight.astype(float), head.thresholds])
    slopes = []
    for unit in 1e-5 * np.eye(len(at)):
        ends = [objective(there[:4], there[4:], X, y, 0.1, shares) for there in (at + unit, at - unit)]
        slopes.append((ends[0] - ends[1]) / 2e-5)
    assert head.certificate.gradient_norm == pytest.approx(np.linalg.norm(slopes), rel=1e-5)


def test_two_classes_are_the_logistic_probe() -> None:
    X, y = task(400, 20, 2)
    for ordinal, probe in zip(fit_ordinal_path(X, y, 2, [1e-1, 1e-3]), fit_path(X, y, 2, [1e-1, 1e-3]), strict=True):
        assert ordinal.certificate.objective == pytest.approx(probe.certificate.objective, rel=1e-6)
        np.testing.assert_allclose(ordinal.weight, probe.weight[0], atol=1e-3)
        assert -ordinal.thresholds[0] == pytest.approx(probe.bias[0], abs=1e-3)


def test_turned_ranks_turn_the_head() -> None:
    X, y = task(300, 8, 5)
    (head,), (turned,) = fit_ordinal_path(X, y, 5, [1e-2]), fit_ordinal_path(X, 4 - y, 5, [1e-2])
    np.testing.assert_allclose(turned.weight, -head.weight, atol=1e-3)
    np.testing.assert_allclose(turned.thresholds, -head.thresholds[::-1], atol=1e-3)


def test_probabilities_are_those_of_the_model() -> None:
    X, y = task(120, 5, 4)
    (head,) = fit_ordinal_path(X, y, 4, [1e-2])
    logits = log_probabilities(head, X)
    assert logits.shape == (120, 4)
    assert logits.dtype == np.float32
    below = expit(head.thresholds - (X.astype(float) @ head.weight.astype(float))[:, None])
    np.testing.assert_allclose(np.exp(logits), np.diff(below, axis=1, prepend=0, append=1), atol=1e-6)
    np.testing.assert_allclose(np.exp(logits.astype(float)).sum(axis=1), 1, atol=1e-5)
    # a row far from all thresholds has logarithms that are finite and in order
    far = log_probabilities(head, 1e4 * np.sign(head.weight)[None].astype(np.float32))
    assert np.isfinite(far).all()
    assert (np.diff(far[0]) > 0).all()


def test_a_rank_without_rows_is_improbable_and_changes_nothing_else() -> None:
    X, y = task(200, 5, 3)
    apart = np.array([0, 2, 4])[y]
    (head,), (plain,) = fit_ordinal_path(X, apart, 6, [1e-2]), fit_ordinal_path(X, y, 3, [1e-2])
    np.testing.assert_array_equal(head.weight, plain.weight)
    logits = log_probabilities(head, X)
    np.testing.assert_array_equal(logits[:, [0, 2, 4]], log_probabilities(plain, X))
    assert (logits[:, [1, 3, 5]].max(axis=1) < logits[:, [0, 2, 4]].min(axis=1) - 39).all()
    assert set(logits.argmax(axis=1)) <= {0, 2, 4}


@pytest.mark.parametrize("kind", ["separable", "constant columns", "rare rank", "many ranks"])
def test_odd_data_converges(kind: str) -> None:
    X, y = task(400, 10, 4, noise=0.0 if kind == "separable" else 1.0)
    classes = 4
    if kind == "constant columns":
        X[:, 3:6] = 0
        X[:, 7] = X[:, 8]
    if kind == "rare rank":
        y = np.where((y == 2) & (np.arange(400) > 20), 3, y)
    if kind == "many ranks":
        X, y = task(400, 10, 60)
        classes = 60
    heads: list[OrdinalHead] = fit_ordinal_path(X, y, classes, [1e3, 1e-2, 1e-5])
    for head in heads:
        assert head.certificate.converged
        assert (np.diff(head.thresholds) > 0).all()
    # strong to weak: the data are fitted better and better
    losses = [head.certificate.objective - head.l2 / 2 * float(head.weight @ head.weight) for head in heads]
    assert losses[0] > losses[1] > losses[2]


def test_other_arrays_are_refused() -> None:
    X, y = task(50, 5, 3)
    with pytest.raises(ValueError, match="one rank"):
        fit_ordinal_path(X, np.ones_like(y), 3, [1.0])
    with pytest.raises(ValueError, match="outside"):
        fit_ordinal_path(X, y, 2, [1.0])
    with pytest.raises(ValueError, match="positive"):
        fit_ordinal_path(X, y, 3, [-1.0])
    with pytest.raises(ValueError, match="weights must be"):
        fit_ordinal_path(X, y, 3, [1.0], weights=np.ones(49))
