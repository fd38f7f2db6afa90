"""Weights of classes in every solver, against scikit-learn's and torch's own, and against rows that are repeated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.utils.class_weight import compute_sample_weight
from torch.nn import functional

from probeline.heads.class_weights import ClassWeights, row_weights
from probeline.heads.linear import Head, decision
from probeline.heads.logistic.path import fit_path
from probeline.heads.logistic.reference import fit_reference
from probeline.heads.minibatch import training
from probeline.heads.minibatch.mlp import MlpSettings, fit_mlp
from probeline.heads.minibatch.sgd import Setting, fit_sgd
from probeline.heads.ridge import fit_ridge

pytestmark = pytest.mark.usefixtures("one_thread")

WEIGHTS: list[ClassWeights] = ["balanced", {0: 3.0, 1: 0.5}]
L2S = [1e-3, 1e-1, 10.0]


def unbalanced(n: int, columns: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features that overlap, and labels of which the first class has half, the next a quarter and so on."""
    rng = np.random.default_rng([n, columns, classes])
    shares = 0.5 ** np.arange(1, classes + 1)
    y = np.concatenate([np.arange(classes), rng.choice(classes, n - classes, p=shares / shares.sum())])
    X = rng.standard_normal((n, columns)) + rng.standard_normal((classes, columns))[y]
    return ((X - X.mean(0)) / X.std(0)).astype(np.float32), y


def objective(X: np.ndarray, y: np.ndarray, weights: np.ndarray, head: Any, l2: float) -> float:
    """Return the weighted mean cross-entropy with the penalty, in float64; `weights` of any mean."""
    logits = decision(head, X.astype(np.float32)).astype(np.float64)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]
    return float(np.average(losses, weights=weights) + l2 / 2 * np.square(head.weight.astype(np.float64)).sum())


@pytest.mark.parametrize("weights", WEIGHTS)
def test_row_weights_have_the_proportions_of_scikit_learns(weights: ClassWeights) -> None:
    _, y = unbalanced(80, 3, 4)
    expected = compute_sample_weight(weights, y)
    found = row_weights(y, 6, weights)
    assert found.mean() == pytest.approx(1)
    np.testing.assert_allclose(found, expected / expected.mean())
    if weights == "balanced":
        np.testing.assert_allclose(found, expected)  # scikit-learn's have the mean 1 too
        np.testing.assert_allclose(np.bincount(y, found), len(y) / 4)


@pytest.mark.parametrize("bad", [{0: 0.0}, {1: -1.0}, {2: math.nan}, {0: math.inf}, {4: 1.0}, {-1: 1.0}])
def test_impossible_weights_are_refused(bad: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        row_weights(np.arange(4), 4, bad)


@pytest.mark.parametrize("bad", [np.zeros(9), np.ones(8), np.full(9, np.inf), np.full(9, np.nan)])
def test_solvers_refuse_what_is_no_weight_of_their_rows(bad: np.ndarray) -> None:
    X, y = unbalanced(9, 3, 3)
    narrow = bad.astype(np.float32)
    for fit in (
        lambda: fit_ridge(X, y, 3, [1.0], weights=bad),
        lambda: fit_sgd(X, y, 3, [Setting(lr=0.1, row_weights=narrow)], epochs=1, batch_size=3),
        lambda: fit_mlp(X, y, 3, MlpSettings(lr=0.1, row_weights=narrow), epochs=1, batch_size=3),
    ):
        with pytest.raises(ValueError, match="weights must be"):
            fit()


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("n", "columns", "classes"), [(200, 12, 2), (200, 12, 4), (40, 90, 3), (300, 20, 40)])
def test_the_exact_path_is_scikit_learns_weighted_regression(
    weights: ClassWeights, n: int, columns: int, classes: int
) -> None:
    X, y = unbalanced(n, columns, classes)
    own = row_weights(y, classes, weights)
    for head in fit_path(X, y, classes, L2S, weights=own.astype(np.float32)):
        total = compute_sample_weight(weights, y).sum()
        model = LogisticRegression(C=1 / (head.l2 * total), class_weight=weights, tol=1e-9, max_iter=20_000)
        model.fit(X.astype(np.float64), y)
        other = Head(model.coef_, model.intercept_, head.l2, head.certificate)
        least = objective(X, y, own, other, head.l2)
        assert head.certificate.converged
        assert head.certificate.objective == pytest.approx(objective(X, y, own, head, head.l2), rel=1e-6)
        assert head.certificate.objective == pytest.approx(least, rel=2e-6, abs=2e-8)
        plain = LogisticRegression(C=1 / (head.l2 * n), tol=1e-9, max_iter=20_000).fit(X.astype(np.float64), y)
        assert (
            objective(X, y, own, Head(plain.coef_, plain.intercept_, head.l2, head.certificate), head.l2) > least + 1e-6
        )


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("classes", [2, 4])
def test_the_reference_is_scikit_learns_with_class_weight(weights: ClassWeights, classes: int) -> None:
    X, y = unbalanced(150, 8, classes)
    X = X.astype(np.float64)
    own, total = row_weights(y, classes, weights), compute_sample_weight(weights, y).sum()
    head = fit_reference(X, y, 0.01, weights=own, tolerance=1e-8)
    model = LogisticRegression(C=1 / (0.01 * total), class_weight=weights, tol=1e-8, max_iter=10_000).fit(X, y)
    np.testing.assert_allclose(head.weight, model.coef_, atol=1e-4)
    np.testing.assert_allclose(head.bias, model.intercept_, atol=1e-4)
    assert head.certificate.objective == pytest.approx(objective(X, y, own, head, 0.01), rel=1e-6)
    assert head.certificate.gradient_norm < 1e-4


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("n", "columns"), [(90, 20), (20, 90)])
def test_ridge_is_scikit_learns_classifier_with_class_weight(
    weights: ClassWeights, n: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probeline.heads.ridge._BLOCK", 37)  # blocks change nothing but rounding
    X, y = unbalanced(n, columns, 3)
    own, sample = row_weights(y, 3, weights), compute_sample_weight(weights, y)
    for head in fit_ridge(X, y, 3, L2S, weights=7 * own):
        model = RidgeClassifier(alpha=head.l2 * sample.sum(), class_weight=weights, solver="cholesky")
        model.fit(X.astype(np.float64), y)
        # Its targets are 1 and -1, ours 1 and 0. A system of condition 1e5 in float64, returned in float32.
        np.testing.assert_allclose(head.weight, model.coef_ / 2, atol=1e-7 * max(1, np.abs(model.coef_).max()))
        np.testing.assert_allclose(head.bias, (model.intercept_ + 1) / 2, atol=1e-6)


def test_a_row_that_weighs_three_is_three_rows() -> None:
    X, y = unbalanced(60, 6, 3)
    repeats = np.array([1, 2, 3])[y]
    many, labels = np.repeat(X, repeats, axis=0), np.repeat(y, repeats)
    weights = row_weights(y, 3, {1: 2.0, 2: 3.0})
    for one, other in zip(fit_ridge(X, y, 3, L2S, weights=weights), fit_ridge(many, labels, 3, L2S), strict=True):
        np.testing.assert_allclose(one.weight, other.weight, atol=1e-6)
        np.testing.assert_allclose(one.bias, other.bias, atol=1e-6)
    exact = fit_path(X, y, 3, L2S, weights=weights.astype(np.float32))
    for one, other in zip(exact, fit_path(many, labels, 3, L2S), strict=True):
        assert one.certificate.objective == pytest.approx(other.certificate.objective, rel=2e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_minibatch_heads_take_torchs_steps_on_the_weighted_loss(smoothing: float) -> None:
    X, y = unbalanced(70, 5, 3)
    wide = X.astype(np.float64)
    own = row_weights(y, 3, "balanced").astype(np.float32)
    common: dict[str, Any] = {"lr": 0.05, "optimizer": "sgd", "schedule": "constant", "label_smoothing": smoothing}
    heads = fit_sgd(wide, y, 3, [Setting(**common, row_weights=own), Setting(**common)], epochs=2, batch_size=16)
    inputs, labels, weights = torch.from_numpy(wide), torch.from_numpy(y), torch.from_numpy(own).double()
    start = training.linear(5, 3, training.stream(0, training.WEIGHTS)).double()
    weight, bias = start[:, :-1].clone().requires_grad_(), start[:, -1].clone().requires_grad_()
    optimizer = torch.optim.SGD([weight, bias], lr=0.05, momentum=0.9)
    order, losses = training.stream(0, training.ORDER), []
    for _ in range(2):
        total = 0.0
        for rows in torch.split(torch.randperm(len(y), generator=order), 16):
            each = functional.cross_entropy(
                inputs[rows] @ weight.T + bias, labels[rows], reduction="none", label_smoothing=smoothing
            )
            loss = (weights[rows] * each).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / len(y))
    np.testing.assert_allclose(heads[0].weight, weight.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(heads[0].bias, bias.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose([epoch["train_loss"] for epoch in heads[0].history], losses, rtol=1e-5)
    assert np.abs(heads[1].weight - heads[0].weight).max() > 1e-3, "a head without weights is in a pass of its own"


def test_torchs_weighted_loss_is_the_one_without_smoothing() -> None:
    X, y = unbalanced(60, 5, 3)
    by_class = torch.tensor([row_weights(y, 3, "balanced")[y == label][0] for label in range(3)]).float()
    own = by_class.numpy()[y]
    settings = {"lr": 0.05, "width": 8}
    head = fit_mlp(X, y, 3, MlpSettings(**settings, row_weights=own), epochs=1, batch_size=60)
    layers = training.stream(0, training.WEIGHTS)
    first, second = training.linear(5, 8, layers), training.linear(8, 3, layers)
    hidden = functional.gelu(functional.linear(torch.from_numpy(X), first[:, :5], first[:, 5]))
    logits = functional.linear(hidden, second[:, :8], second[:, 8])
    # All rows are one minibatch, of which torch divides by the weights' sum, and their mean is 1.
    loss = functional.cross_entropy(logits, torch.from_numpy(y), weight=by_class)
    assert head.history[0]["train_loss"] == pytest.approx(float(loss), rel=1e-5)
    plain = fit_mlp(X, y, 3, MlpSettings(**settings), epochs=1, batch_size=60)
    assert np.abs(plain.weight - head.weight).max() > 1e-4
