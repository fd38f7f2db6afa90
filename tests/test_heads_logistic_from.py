"""What a linear map adds to given logits: the penalised optimum by scipy, with the solver's own ways of any size."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from probeline.heads.linear import Head
from probeline.heads.logistic import cross_entropy, path, point
from probeline.heads.logistic.path import fit_path, fit_path_from

pytestmark = pytest.mark.usefixtures("one_thread")


def task(n: int, columns: int, classes: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, labels, and a map that knows something of the classes: float32 [N, D], int64 [N], [K, D]."""
    rng = np.random.default_rng([seed, n, columns, classes])
    y = np.concatenate([np.arange(classes), rng.integers(classes, size=n - classes)])
    centres = rng.standard_normal((classes, columns)) / np.sqrt(columns) * 2
    X = (rng.standard_normal((n, columns)) + centres[y]).astype(np.float32)
    return X, y, (centres + 0.5 * rng.standard_normal(centres.shape) / np.sqrt(columns)).astype(np.float32)


def best(X: np.ndarray, y: np.ndarray, start: np.ndarray, l2: float, weights: np.ndarray) -> float:
    """Return the least mean cross-entropy + l2 / 2 ||W - W0||^2 by scipy in float64; two classes are one logit."""
    single = len(start) == 2
    start = (start[1:] - start[:1] if single else start).astype(np.float64)
    wide = X.astype(np.float64)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        at = flat.reshape(len(start), -1)
        logits = wide @ at[:, :-1].T + at[:, -1]
        logits = np.hstack([np.zeros_like(logits), logits]) if single else logits
        residual = softmax(logits, axis=1)
        residual[np.arange(len(y)), y] -= 1
        residual = (weights[:, None] * residual)[:, -len(start) :] / len(y)
        away = at[:, :-1] - start
        loss = (weights * (logsumexp(logits, axis=1) - logits[np.arange(len(y)), y])).mean()
        gradient = np.column_stack([residual.T @ wide + l2 * away, residual.sum(0)])
        return loss + l2 / 2 * np.square(away).sum(), gradient.ravel()

    first = np.column_stack([start, np.zeros(len(start))]).ravel()
    options = {"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-15, "gtol": 1e-9}
    return float(minimize(objective, first, jac=True, method="L-BFGS-B", options=options).fun)


L2S = [1e-3, 1e-1, 1.0, 1e4]
SHAPES = [(200, 10, 2), (200, 10, 4), (30, 80, 3), (30, 80, 2), (400, 12, 40)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "columns", "classes"), SHAPES)
def test_the_sum_is_at_the_minimum(n: int, columns: int, classes: int, weighted: bool) -> None:
    X, y, start = task(n, columns, classes)
    weights = np.random.default_rng(1).uniform(0.3, 3, n) if weighted else np.ones(n)
    weights /= weights.mean()
    given = weights.astype(np.float32) if weighted else None
    for head in fit_path_from(X, y, X @ start.T, L2S, weights=given):
        assert head.certificate.converged
        least = best(X, y, start, head.l2, weights)
        assert head.certificate.objective == pytest.approx(least, rel=2e-6, abs=2e-8)
        assert head.certificate.objective >= least - 1e-6


@pytest.mark.parametrize(("n", "columns", "classes"), [(300, 12, 5), (60, 90, 4)])
def test_the_ways_for_many_classes_agree(n: int, columns: int, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, start = task(n, columns, classes)
    offset = X @ start.T
    usual = fit_path_from(X, y, offset, L2S)
    monkeypatch.setattr(path, "MANY", 2)
    monkeypatch.setattr(cross_entropy, "_MANY", 2)
    turned = fit_path_from(X, y, offset, L2S)
    monkeypatch.setattr(point, "keeps_logits", lambda *_: False)  # computed again, block by block
    again = fit_path_from(X, y, offset, L2S)
    for one, *others in zip(usual, turned, again, strict=True):
        for other in others:
            assert other.certificate.objective == pytest.approx(one.certificate.objective, rel=2e-6, abs=2e-8)


def test_logits_of_zero_change_nothing() -> None:
    X, y, _ = task(150, 10, 3)
    for one, other in zip(
        fit_path_from(X, y, np.zeros((150, 3), np.float32), L2S), fit_path(X, y, 3, L2S), strict=True
    ):
        np.testing.assert_array_equal(one.weight, other.weight)
        np.testing.assert_array_equal(one.bias, other.bias)


def test_a_strong_penalty_leaves_the_given_logits_and_a_bias() -> None:
    X, y, start = task(200, 10, 4)
    (head,) = fit_path_from(X, y, X @ start.T, [1e6])
    assert np.abs(head.weight).max() < 1e-5
    shares = softmax((X @ start.T + head.bias).astype(np.float64), axis=1).mean(0)
    np.testing.assert_allclose(shares, np.bincount(y) / len(y), atol=1e-4)  # which the bias, not penalised, sees to


def test_what_it_does_not_take_is_refused() -> None:
    X, y, start = task(60, 5, 3)
    offset = X @ start.T
    for change in ({"offset": offset[:9]}, {"offset": offset.astype(np.float64)}, {"offset": offset * np.nan}):
        with pytest.raises(ValueError, match="features"):
            fit_path_from(X, y, **{"offset": offset, "l2s": [1.0], **change})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="each of 4 classes must have a row"):
        fit_path_from(X, y, np.zeros((60, 4), np.float32), [1.0])
    assert isinstance(fit_path_from(X, y, offset, [1.0])[0], Head)
