"""Ridge regression against scikit-learn's, with more rows than columns and with fewer."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from probeline.heads.linear import decision
from probeline.heads.ridge import fit_ridge

L2S = (1e-4, 1e-2, 1.0, 100.0)


def data(n: int, d: int, *, classes: int = 3, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([n, d])
    y = np.arange(n, dtype=np.int64) % classes
    X = rng.standard_normal((n, d)) + 3 + 2 * rng.standard_normal((classes, d))[y]
    return X.astype(dtype), y


@pytest.mark.parametrize(("n", "d"), [(90, 20), (20, 90), (30, 30), (1, 4), (5, 1)])
def test_it_is_scikit_learns(n: int, d: int) -> None:
    X, y = data(n, d)
    targets = (y[:, None] == np.arange(3)).astype(np.float64)
    for head in fit_ridge(X, y, 3, L2S):
        model = Ridge(alpha=head.l2 * n, solver="cholesky").fit(X.astype(np.float64), targets)
        # Both solve a system of condition at most (largest eigenvalue + l2) / l2 in float64, so that they differ by
        # about that times 2^-53 of the weights; the float32 that is returned rounds by 2^-24 of each.
        spread = np.linalg.norm(X - X.mean(0), 2) ** 2 / n
        tolerance = 10 * (spread + head.l2) / head.l2 * 2.0**-53 + 2.0**-24
        assert head.weight.dtype == head.bias.dtype == np.float32
        assert head.weight.shape == (3, d)
        np.testing.assert_allclose(head.weight, model.coef_, rtol=0, atol=tolerance * np.abs(model.coef_).max())
        size = np.abs(model.intercept_).max() + np.abs(X).sum(1).max() * np.abs(model.coef_).max()
        np.testing.assert_allclose(head.bias, model.intercept_, rtol=0, atol=tolerance * size)


@pytest.mark.parametrize(("n", "d"), [(90, 20), (20, 90)])
def test_the_gradient_of_the_stated_objective_vanishes(n: int, d: int) -> None:
    X, y = data(n, d, dtype=np.float64)
    targets = (y[:, None] == np.arange(3)).astype(np.float64)
    for head in fit_ridge(X, y, 3, L2S):
        residual = X @ head.weight.T.astype(np.float64) + head.bias - targets
        gradient = residual.T @ X / n + head.l2 * head.weight
        # What rounding the weights to float32 leaves: 2^-24 of each, through the largest curvature.
        curvature = np.linalg.norm(X, 2) ** 2 / n + head.l2
        bound = 2.0**-24 * (curvature + np.abs(X).max() * d) * (np.linalg.norm(head.weight) + np.abs(head.bias).max())
        assert np.abs(gradient).max() < bound
        assert np.abs(residual.mean(0)).max() < bound


def test_blocks_change_nothing_but_rounding() -> None:
    X, y = data(90, 20)
    repeats = 200  # more rows than a block has, and the same objective: the mean over rows does not change
    many = fit_ridge(np.tile(X, (repeats, 1)), np.tile(y, repeats), 3, L2S)
    for one, other in zip(fit_ridge(X, y, 3, L2S), many, strict=True):
        np.testing.assert_allclose(one.weight, other.weight, rtol=1e-5, atol=1e-7)


def test_one_decomposition_serves_every_l2_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = data(90, 20)
    calls = []
    plain = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: calls.append(matrix.shape) or plain(matrix))
    heads = fit_ridge(X, y, 3, [1.0, 1e-3, 10.0])
    assert calls == [(20, 20)]
    assert [head.l2 for head in heads] == [1.0, 1e-3, 10.0]
    fit_ridge(X[:5], y[:5], 3, L2S)
    assert calls[1:] == [(5, 5)]


def test_it_separates_and_an_absent_class_scores_nothing() -> None:
    X, y = data(300, 10)
    (head,) = fit_ridge(X, y, 4, [1e-3])
    scores = decision(head, X)
    assert scores.shape == (300, 4)
    assert (scores.argmax(1) == y).mean() > 0.9
    np.testing.assert_array_equal(scores[:, 3], 0)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-4)


def test_two_classes_are_mirror_images() -> None:
    X, y = data(60, 8, classes=2)
    (head,) = fit_ridge(X, y, 2, [0.1])
    np.testing.assert_allclose(head.weight[0], -head.weight[1], atol=1e-7)
    assert head.bias.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("l2s", [[], [0.0], [-1.0], [float("inf")]])
def test_impossible_strengths_are_refused(l2s: list[float]) -> None:
    with pytest.raises(ValueError, match="l2"):
        fit_ridge(*data(9, 3), 3, l2s)
