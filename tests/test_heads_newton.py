"""The solver's parts: derivatives by differences, inverses by products, and what it does when it must stop early."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from probeline.heads import preconditioner as preconditioning
from probeline.heads.cross_entropy import Place, Rows, curve, logits_of, look, settled_bias, slope
from probeline.heads.newton import minimise, penalised
from probeline.heads.preconditioner import Preconditioner

L2 = 1e-3


def rows(count: int, columns: int, logits: int, *, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    X = torch.from_numpy(rng.standard_normal((count, columns)) @ rng.standard_normal((columns, columns))).float()
    y = torch.from_numpy(rng.integers(max(2, logits), size=count))
    return Rows(X + 0.5, y, logits)


def coefficients(given: Rows, *, seed: int = 1, scale: float = 0.1) -> Tensor:
    return scale * torch.from_numpy(np.random.default_rng(seed).standard_normal((given.logits, given.X.shape[1] + 1)))


def seen(given: Rows, at: Tensor) -> Place:
    return look(given, logits_of(given, at, torch.float64), torch.float64)


def hessian_times(given: Rows, at: Tensor, direction: Tensor, l2: float) -> Tensor:
    """Central differences of the penalised gradient, right to about 1e-9 of its size."""
    ahead = penalised(seen(given, at + 1e-5 * direction), at + 1e-5 * direction, l2)[1]
    behind = penalised(seen(given, at - 1e-5 * direction), at - 1e-5 * direction, l2)[1]
    return (ahead - behind) / 2e-5


@pytest.mark.parametrize("logits", [1, 3])
@pytest.mark.parametrize("count", [50, 5000])
def test_products_with_the_hessian_are_those_of_the_gradient_s_differences(logits: int, count: int) -> None:
    given = rows(count, 6, logits)
    at, direction = coefficients(given), coefficients(given, seed=2)
    product = curve(given, seen(given, at).chances, direction)
    # float32 products: about 6e-8 a term, and the terms do not cancel by more than some ten.
    torch.testing.assert_close(product, hessian_times(given, at, direction, 0.0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("logits", [1, 3])
def test_slope_is_that_of_the_loss(logits: int) -> None:
    given = rows(5000, 6, logits)
    at, direction = coefficients(given), coefficients(given, seed=2)
    logit, change = (logits_of(given, place, torch.float64) for place in (at, direction))
    first, second = slope(given, logit, change)
    losses = [seen(given, at + step * direction).loss for step in (-1e-4, 0.0, 1e-4)]
    # Central differences with a step h of a smooth function: rounding 1e-16 / h and 4e-16 / h^2, truncation h^2.
    assert first == pytest.approx((losses[2] - losses[0]) / 2e-4, abs=1e-7)
    assert second == pytest.approx((losses[2] - 2 * losses[1] + losses[0]) / 1e-8, abs=1e-6)


@pytest.mark.parametrize("logits", [1, 3])
def test_a_settled_bias_has_no_slope(logits: int) -> None:
    given = rows(500, 6, logits)
    at = coefficients(given, scale=1.0)
    at[:, -1] = settled_bias(given, logits_of(given, at, torch.float64), at[:, -1])
    # The last Newton step promised to save less than 1e-9 nats: the slope was below 1e-4, and is its square after.
    assert float(seen(given, at).gradient[:, -1].abs().max()) < 1e-7


def improved(given: Rows, at: Tensor, l2: float) -> Preconditioner:
    preconditioner = Preconditioner(given)
    preconditioner.spend(int(preconditioner.patience(l2)))
    assert preconditioner.patience(l2) == 0
    preconditioner.improve(l2, seen(given, at).chances)
    assert preconditioner.patience(l2) > 0
    return preconditioner


def test_one_logit_s_matrix_of_all_rows_is_the_hessian() -> None:
    given = rows(40, 6, 1)
    at, wanted = coefficients(given), coefficients(given, seed=2)
    preconditioner = improved(given, at, L2)
    found = preconditioner.solve(hessian_times(given, at, wanted, L2), L2, math.nan)
    # The ridge for rounding is 1e-6 of the largest curvature, here some hundred times the smallest.
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize(("count", "logits"), [(60, 1), (60, 4), (400, 4), (5, 3)])
def test_an_inverse_is_symmetric_and_positive(count: int, logits: int, adapted: bool) -> None:
    given = rows(count, 6, logits)
    at = coefficients(given)
    preconditioner = improved(given, at, L2) if adapted else Preconditioner(given)
    one, other = (hessian_times(given, at, coefficients(given, seed=seed), L2) for seed in (3, 4))
    if logits > 1:
        one, other = one - one.mean(dim=0), other - other.mean(dim=0)
    solved = [preconditioner.solve(residual, L2, 0.1) for residual in (one, other)]
    assert float((one * solved[0]).sum()) > 0
    scale = float(torch.linalg.vector_norm(one) * torch.linalg.vector_norm(solved[1]))
    assert abs(float((one * solved[1]).sum() - (other * solved[0]).sum())) < 1e-5 * scale


def test_matrices_of_the_rows_in_doubt_need_fewer_products(monkeypatch: pytest.MonkeyPatch) -> None:
    given = rows(2000, 40, 5)
    noise = torch.from_numpy(np.random.default_rng(5).standard_normal((2000, 5)))
    given = Rows(given.X, (logits_of(given, coefficients(given), torch.float64) + 0.2 * noise).argmax(dim=1), 5)
    start = torch.zeros(5, 41, dtype=torch.float64)
    products = {}
    for most in (0, 1 << 30):
        monkeypatch.setattr(preconditioning, "_MOST_BYTES", most)
        preconditioner = Preconditioner(given)
        assert math.isinf(preconditioner.patience(1e-6)) == (most == 0)
        found = minimise(given, 1e-6, start, preconditioner, tolerance=1e-4, max_products=5000)
        assert found.gradient_norm**2 <= 2 * 1e-6 * 1e-4 * found.objective
        products[most] = found.products
    assert products[1 << 30] < products[0] / 2


def test_inverses_follow_the_l2_once_that_pays() -> None:
    given = rows(400, 6, 4)
    at = coefficients(given)
    preconditioner = improved(given, at, 1e-1)
    residual = hessian_times(given, at, coefficients(given, seed=3), 0.0)
    residual -= residual.mean(dim=0)
    stale = preconditioner.solve(residual, 1e-4, math.nan)
    assert preconditioner.patience(1e-4) < preconditioner.patience(1e-1)
    preconditioner.spend(int(preconditioner.patience(1e-4)))
    preconditioner.improve(1e-4, seen(given, at).chances)
    fresh = preconditioner.solve(residual, 1e-4, math.nan)
    assert torch.linalg.vector_norm(fresh) > torch.linalg.vector_norm(stale)  # a weaker ridge gives longer steps


def test_it_stops_where_it_is_told_and_says_how_far_it_came() -> None:
    given = rows(300, 6, 3)
    start = torch.zeros(3, 7, dtype=torch.float64)
    for allowed in (0, 1, 5):
        found = minimise(given, 1e-4, start, Preconditioner(given), tolerance=1e-12, max_products=allowed)
        assert found.products == allowed
        objective, gradient = penalised(seen(given, found.coefficients), found.coefficients, 1e-4)
        assert found.objective == pytest.approx(objective, rel=1e-14)
        assert found.gradient_norm == pytest.approx(float(torch.linalg.vector_norm(gradient)), rel=1e-9)
        assert torch.equal(found.coefficients, found.coefficients.float().double())
