"""Ridge regression against scikit-learn's and slow refits, with more rows than columns and with fewer."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from probeline.heads import ridge
from probeline.heads.linear import decision
from probeline.heads.ridge import fit_ridge, fit_ridge_targets, leave_one_out

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


def numbers(n: int, d: int, *, targets: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return features, the first column constant and two columns alike if there are as many, and targets."""
    rng = np.random.default_rng([n, d])
    X = rng.standard_normal((n, d)) + 2
    X[:, 0] = 3
    if d > 4:
        X[:, 4] = X[:, 3]
    Y = X @ rng.standard_normal((d, targets)) + rng.standard_normal((n, targets)) + 10 * np.arange(targets)
    return X.astype(np.float32), Y


SHAPES = [(90, 20), (20, 90), (30, 30), (31, 30), (30, 31), (6, 1), (2, 5), (2, 1)]


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_targets_that_are_numbers_are_scikit_learns(n: int, d: int) -> None:
    X, Y = numbers(n, d)
    for head in fit_ridge_targets(X, Y, L2S):
        model = Ridge(alpha=head.l2 * n, solver="svd").fit(X.astype(np.float64), Y)
        spread = np.linalg.norm(X - X.mean(0), 2) ** 2 / n
        tolerance = 10 * (spread + head.l2) / head.l2 * 2.0**-53 + 2.0**-24
        np.testing.assert_allclose(head.weight, model.coef_, rtol=0, atol=tolerance * np.abs(model.coef_).max() + 1e-12)
        size = np.abs(model.intercept_).max() + np.abs(X).sum(1).max() * np.abs(model.coef_).max()
        np.testing.assert_allclose(head.bias, model.intercept_, rtol=0, atol=tolerance * size)


@pytest.mark.parametrize(("n", "d"), [(90, 20), (20, 90)])
def test_indicators_as_targets_are_the_classes(n: int, d: int) -> None:
    X, y = data(n, d)
    indicators = (y[:, None] == np.arange(3)).astype(np.float64)
    for head, own in zip(fit_ridge_targets(X, indicators, L2S), fit_ridge(X, y, 3, L2S), strict=True):
        np.testing.assert_allclose(head.weight, own.weight, rtol=0, atol=1e-6 * np.abs(own.weight).max())
        np.testing.assert_allclose(head.bias, own.bias, rtol=0, atol=1e-5)


def refits(X: np.ndarray, Y: np.ndarray, l2: float) -> np.ndarray:
    """Return the prediction of each row by scikit-learn's fit on the others, with the penalty of all."""
    n, wide = len(X), X.astype(np.float64)
    rows = np.arange(n)
    fits = (Ridge(alpha=l2 * n, solver="svd").fit(wide[rows != row], Y[rows != row]) for row in rows)
    return np.concatenate([fit.predict(wide[[row]]).reshape(1, -1) for row, fit in zip(rows, fits, strict=True)])


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_leaving_one_out_is_refitting_without_it(n: int, d: int) -> None:
    X, Y = numbers(n, d)
    l2s = [1e-8, *L2S]
    for l2, found in zip(l2s, leave_one_out(X, Y, l2s), strict=True):
        assert found.dtype == np.float64
        # Rounding by 2^-53 of the largest eigenvalue, of some hundreds, over l2, in two solvers.
        tolerance = 1e-12 * (1 + np.linalg.norm(X - X.mean(0), 2) ** 2 / n / l2) * np.abs(Y).max()
        np.testing.assert_allclose(found, refits(X, Y, l2), rtol=0, atol=min(tolerance, 1e-3))


def test_leaving_one_out_is_scikit_learns() -> None:
    for n, d in ((90, 20), (20, 90)):
        X, Y = numbers(n, d)
        wide, l2s = X.astype(np.float64), [1e-3, 1e-1, 10.0]
        theirs = RidgeCV(alphas=[l2 * n for l2 in l2s], store_cv_results=True, scoring=None).fit(wide, Y)
        for number, found in enumerate(leave_one_out(X, Y, l2s)):
            np.testing.assert_allclose(np.square(found - Y), theirs.cv_results_[:, :, number], rtol=1e-6, atol=1e-9)


def test_a_row_that_alone_has_a_feature_is_left_out_exactly() -> None:
    # Its leverage is nearly 1: the fit passes through it, and without it the feature has no weight.
    for n, d in ((40, 6), (12, 30)):
        X, Y = numbers(n, d)
        X[:, 1] = 0
        X[3, 1] = 1000
        for l2, found in zip((1e-3, 1.0), leave_one_out(X, Y, (1e-3, 1.0)), strict=True):
            # 1e6 / 40 / 1e-3 of 2^-53.
            np.testing.assert_allclose(found, refits(X, Y, l2), rtol=0, atol=1e-6)


def test_equal_rows_predict_the_mean_of_the_others() -> None:
    Y = np.random.default_rng(0).standard_normal((5, 2))
    for d in (3, 9):
        (found,) = leave_one_out(np.ones((5, d), np.float32), Y, [1e-3])
        np.testing.assert_allclose(found, (Y.sum(0) - Y) / 4, rtol=1e-12)


def test_blocks_of_rows_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = numbers(90, 20)
    whole, heads = list(leave_one_out(X, Y, L2S)), fit_ridge_targets(X, Y, L2S)
    monkeypatch.setattr(ridge, "_BLOCK", 7)
    for one, other in zip(whole, leave_one_out(X, Y, L2S), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
    for head, other_head in zip(heads, fit_ridge_targets(X, Y, L2S), strict=True):
        np.testing.assert_allclose(head.weight, other_head.weight, rtol=1e-4, atol=1e-6)


def test_wrong_targets_are_refused() -> None:
    X, Y = numbers(9, 3)
    for bad in (Y[:5], Y[:, 0], Y.astype(np.float32), Y[:, :0]):
        with pytest.raises(ValueError, match="targets must be float64"):
            fit_ridge_targets(X, bad, L2S)
    with pytest.raises(ValueError, match="not finite"):
        fit_ridge_targets(X, np.full_like(Y, np.nan), L2S)
    with pytest.raises(ValueError, match="takes two"):
        list(leave_one_out(X[:1], Y[:1], L2S))
    with pytest.raises(ValueError, match="l2"):
        list(leave_one_out(X, Y, [0.0]))
    X[3, 1] = 1e12
    with pytest.raises(ValueError, match="too weak"):
        list(leave_one_out(X, Y, [1.0, 1e-3]))
