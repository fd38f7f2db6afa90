"""The solver's parts: derivatives by differences, inverses by products, and what it does when it must stop early."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from probeline.heads.logistic import cross_entropy
from probeline.heads.logistic import preconditioner as preconditioning
from probeline.heads.logistic.cross_entropy import (
    Rows,
    evaluate,
    evaluate_exactly,
    hessian_product,
    logits_of,
    optimise_bias,
    resident_rows,
    slope,
)
from probeline.heads.logistic.newton import minimise, penalised
from probeline.heads.logistic.preconditioner import Preconditioner

L2 = 1e-3
WEIGHTED = pytest.mark.parametrize("weighted", [False, True])
LOGITS = pytest.mark.parametrize("logits", [1, 3])


def rows(count: int, columns: int, logits: int, *, seed: int = 0, weighted: bool = False) -> Rows:
    rng = np.random.default_rng(seed)
    X = torch.from_numpy(rng.standard_normal((count, columns)) @ rng.standard_normal((columns, columns))).float()
    y = torch.from_numpy(rng.integers(max(2, logits), size=count))
    weights = torch.from_numpy(rng.random(count)).float() if weighted else None
    return resident_rows(X + 0.5, y, logits, None if weights is None else weights / weights.mean())


def coefficients(given: Rows, *, heads: int = 2, seed: int = 1, scale: float = 0.1) -> Tensor:
    return scale * torch.from_numpy(
        np.random.default_rng(seed).standard_normal((heads, given.logits, given.columns + 1))
    )


def probabilities(given: Rows, at: Tensor) -> Tensor:
    return evaluate(given, logits_of(given, at)).probabilities


def l2_of(at: Tensor, l2: float) -> Tensor:
    return torch.full((len(at),), l2, dtype=torch.float64)


def gradient(given: Rows, at: Tensor, l2: float) -> Tensor:
    return penalised(*evaluate_exactly(given, at), at, l2_of(at, l2))[1]


def hessian_times(given: Rows, at: Tensor, direction: Tensor, l2: float) -> Tensor:
    """Central differences of the penalised gradient, right to about 1e-9 of its size."""
    return (gradient(given, at + 1e-5 * direction, l2) - gradient(given, at - 1e-5 * direction, l2)) / 2e-5


def by_hand(given: Rows, at: Tensor) -> Tensor:
    """Each head's loss, of torch's own cross-entropy in float64."""
    X = torch.cat(list(given.blocks())).double()
    weights = torch.ones(len(given)) if given.weights is None else given.weights
    losses = []
    for head in at:
        logits = X @ head[:, :-1].T + head[:, -1]
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1) if given.logits == 1 else logits
        each = torch.nn.functional.cross_entropy(logits, given.y, reduction="none")
        losses.append((each * weights).mean())
    return torch.stack(losses)


@WEIGHTED
@LOGITS
def test_loss_and_gradient_are_those_of_torch(logits: int, weighted: bool) -> None:
    given = rows(5000, 6, logits, weighted=weighted)
    at = coefficients(given).requires_grad_()
    wanted = by_hand(given, at)
    (slopes,) = torch.autograd.grad(wanted.sum(), at)
    exactly = evaluate_exactly(given, at.detach())
    torch.testing.assert_close(exactly[0], wanted.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(exactly[1], slopes, rtol=0, atol=1e-12)
    # float32 logits: about 6e-8 of a size of 1 to 10 a row, which do not all err to one side.
    roughly = evaluate(given, logits_of(given, at.detach()))
    torch.testing.assert_close(roughly.loss, wanted.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(roughly.gradient, slopes, rtol=0, atol=1e-5)


def test_rows_in_blocks_are_the_same_rows() -> None:
    given = rows(5000, 6, 3)
    (X,) = given.blocks()
    blocks = Rows(lambda: iter(torch.split(X, 700)), 6, given.y, 3)
    at = coefficients(given)
    assert [len(piece) for _, piece in blocks.pieces()] == [700] * 7 + [100]
    torch.testing.assert_close(evaluate_exactly(blocks, at), evaluate_exactly(given, at), rtol=1e-12, atol=1e-14)


@WEIGHTED
@LOGITS
@pytest.mark.parametrize("count", [50, 5000])
def test_products_with_the_hessian_are_those_of_the_gradient_s_differences(
    logits: int, count: int, weighted: bool
) -> None:
    given = rows(count, 6, logits, weighted=weighted)
    at, direction = coefficients(given), coefficients(given, seed=2)
    product = hessian_product(given, probabilities(given, at), direction)
    # float32 products: about 6e-8 a term, and the terms do not cancel by more than some ten.
    torch.testing.assert_close(product, hessian_times(given, at, direction, 0.0), rtol=0, atol=1e-5)


@WEIGHTED
@LOGITS
def test_slope_is_that_of_the_loss(logits: int, weighted: bool) -> None:
    given = rows(5000, 6, logits, weighted=weighted)
    at, direction = coefficients(given), coefficients(given, seed=2)
    first, second = slope(given, logits_of(given, at), logits_of(given, direction))
    losses = [by_hand(given, at + step * direction) for step in (-1e-4, 0.0, 1e-4)]
    # Central differences with a step h of a smooth function err by h^2; the slopes are of float32 logits.
    torch.testing.assert_close(first, (losses[2] - losses[0]) / 2e-4, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(second, (losses[2] - 2 * losses[1] + losses[0]) / 1e-8, rtol=1e-5, atol=1e-6)


@WEIGHTED
@LOGITS
def test_a_settled_bias_has_no_slope(logits: int, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    given = rows(500, 6, logits, weighted=weighted)
    at = coefficients(given, heads=1, scale=1.0)
    start = at[0, :, -1].clone()
    at[0, :, -1], saved = optimise_bias(given, logits_of(given, at)[0], start)
    assert saved < 1e-9
    if logits > 1:  # as it is done for many classes; what all biases share is nobody's
        monkeypatch.setattr(cross_entropy, "_MANY", 1)
        logits_there = logits_of(given, torch.cat([at[..., :-1], start[None, :, None]], dim=2))[0]
        many, saved = optimise_bias(given, logits_there, start)
        assert saved < 1e-9
        torch.testing.assert_close(many - many.mean(), at[0, :, -1] - at[0, :, -1].mean(), rtol=0, atol=1e-4)
        at[0, :, -1] = many
    # The last Newton step promised to save less than 1e-9 nats: the slope was below 1e-4, and is its square after.
    # Beside that stands the rounding of float32 probabilities, 6e-8 each.
    assert float(gradient(given, at, 0.0)[..., -1].abs().max()) < 1e-6


@pytest.mark.parametrize("count", [3.0, 40.0, 300.0])
def test_a_sample_stands_for_all_rows(count: float) -> None:
    spread = torch.rand(2000, generator=torch.Generator().manual_seed(0)).pow(6)
    weight = preconditioning.sample_rows(spread, count)
    step = float(spread.sum()) / count
    chosen = weight > 0
    # Each step of the sum picks a row, unless one row spans several.
    assert count / 2 < int(chosen.sum()) <= count
    assert torch.equal(weight[chosen], spread[chosen].clamp_min(step))
    assert chosen[spread >= step].all()
    # Any run of rows is represented to within the step that begins before it and the one that ends after it.
    for first, last in ((0, 2000), (0, 700), (900, 1000), (1500, 2000)):
        difference = float(weight[first:last].sum() - spread[first:last].sum())
        assert abs(difference) <= 2 * step + 1e-4 * float(spread.sum())


def test_a_sample_of_few_rows_is_all_of_them() -> None:
    spread = torch.tensor([0.25, 0.0, 0.1, 0.2])
    assert torch.equal(preconditioning.sample_rows(spread, 1e6), spread)
    assert torch.equal(preconditioning.sample_rows(torch.zeros(4), 8), torch.zeros(4))


@pytest.mark.parametrize("l2", [1e-6, 1e-2, 10.0])
def test_a_matrix_is_inverted_as_precisely_as_its_ridge(l2: float) -> None:
    rng = torch.Generator().manual_seed(1)
    X = torch.randn(300, 21, generator=rng) * torch.logspace(1, -3, 21)
    matrix = X.T @ X / 300
    wide = matrix.double()
    wide.diagonal()[:-1] += l2
    found = preconditioning.invert(matrix, l2).double()
    # The ridge is 1e-6 of the largest curvature of the columns at equal size, at most their number.
    share = torch.linalg.eigvals(found @ wide).real
    assert float(share.max()) < 1.001
    assert float(share.min()) > 1 - 21e-6 * float(wide.diagonal().max()) / (21e-6 * float(wide.diagonal().max()) + l2)


def improved(given: Rows, at: Tensor, l2: float) -> Preconditioner:
    preconditioner = Preconditioner(given)
    assert not preconditioner.is_due(l2_of(at, l2))
    preconditioner.spend(1 << 30)
    assert preconditioner.is_due(l2_of(at, l2))
    preconditioner.improve(l2_of(at, l2), probabilities(given, at))
    assert not preconditioner.is_due(l2_of(at, l2))
    return preconditioner


@WEIGHTED
def test_one_logit_s_matrix_is_the_hessian(monkeypatch: pytest.MonkeyPatch, weighted: bool) -> None:
    monkeypatch.setattr(preconditioning, "SAMPLED", 1e9)
    given = rows(40, 6, 1, weighted=weighted)
    at, wanted = coefficients(given, heads=1), coefficients(given, heads=1, seed=2)
    preconditioner = improved(given, at, L2)
    found = preconditioner.solve(hessian_times(given, at, wanted, L2), l2_of(at, L2), l2_of(at, math.nan))
    # The ridge for rounding is 1e-6 of the largest curvature, here some hundred times the smallest.
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@WEIGHTED
@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize(("count", "logits"), [(60, 1), (60, 4), (400, 4), (5, 3)])
def test_an_inverse_is_symmetric_and_positive(count: int, logits: int, adapted: bool, weighted: bool) -> None:
    given = rows(count, 6, logits, weighted=weighted)
    at = coefficients(given)
    preconditioner = improved(given, at, L2) if adapted else Preconditioner(given)
    one, other = (hessian_times(given, at, coefficients(given, seed=seed), L2) for seed in (3, 4))
    if logits > 1:
        one, other = one - one.mean(dim=1, keepdim=True), other - other.mean(dim=1, keepdim=True)
    solved = [preconditioner.solve(residual, l2_of(at, L2), l2_of(at, 0.1)) for residual in (one, other)]
    for head in range(len(at)):
        assert float((one[head] * solved[0][head]).sum()) > 0
        # An inverse's float32 entries are up to 1 / l2 large, and err by some 1e-7 of that.
        scale = float(torch.linalg.vector_norm(one[head]) * torch.linalg.vector_norm(other[head])) / L2
        assert abs(float((one[head] * solved[1][head] - other[head] * solved[0][head]).sum())) < 1e-6 * scale


def test_even_curvature_is_exact_where_all_chances_are_equal() -> None:
    given = rows(400, 6, 1)
    at, wanted = torch.zeros(2, 1, 7, dtype=torch.float64), coefficients(given, seed=2)
    residual = hessian_times(given, at, wanted, L2)
    found = Preconditioner(given).solve(residual, l2_of(at, L2), l2_of(at, 0.25))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)  # float32 products


def test_matrices_of_the_rows_in_doubt_need_fewer_products(monkeypatch: pytest.MonkeyPatch) -> None:
    given = rows(2000, 40, 5)
    noise = torch.from_numpy(np.random.default_rng(5).standard_normal((2000, 5)))
    labels = (logits_of(given, coefficients(given, heads=1))[0].T + 0.2 * noise).argmax(dim=1)
    given = Rows(given.blocks, given.columns, labels, 5)
    start = torch.zeros(1, 5, 41, dtype=torch.float64)
    l2 = l2_of(start, 1e-6)
    products = {}
    for most in (0, 1 << 30):
        monkeypatch.setattr(preconditioning, "_MOST_BYTES", most)
        found = minimise(given, l2, start, Preconditioner(given), tolerance=1e-4, max_products=5000)
        assert found.converged.all()
        products[most] = int(found.products)
    assert products[1 << 30] < products[0] / 2


def test_heads_far_apart_in_l2_share_no_matrix() -> None:
    given = rows(400, 6, 4)
    at = coefficients(given)
    preconditioner = improved(given, at, 1e-1)
    preconditioner.spend(1 << 30)
    far = torch.tensor([1e-1, 1e-4], dtype=torch.float64)
    assert not preconditioner.is_due(far)
    residual = coefficients(given, seed=3)
    preconditioner.aim(far)
    torch.testing.assert_close(
        preconditioner.solve(residual, far, l2_of(at, 0.1)),
        Preconditioner(given).solve(residual, far, l2_of(at, 0.1)),
        rtol=0,
        atol=0,
    )


def test_inverses_follow_the_l2() -> None:
    given = rows(400, 6, 4)
    at = coefficients(given)
    preconditioner = improved(given, at, 1e-1)
    residual = coefficients(given, seed=3)
    sizes = []
    for l2 in (1e-1, 1.1e-1, 1e-4):
        preconditioner.aim(l2_of(at, l2))
        sizes.append(float(torch.linalg.vector_norm(preconditioner.solve(residual, l2_of(at, l2), l2_of(at, 0.1)))))
    assert sizes[1] == sizes[0]  # near enough for the same inverse
    assert sizes[2] > sizes[0]  # a weaker ridge gives longer steps


def test_a_head_does_not_depend_on_its_company() -> None:
    given = rows(300, 6, 3)
    l2 = torch.tensor([1.0, 1e-1, 1e-2], dtype=torch.float64)
    start = torch.zeros(3, 3, 7, dtype=torch.float64)
    together = minimise(given, l2, start, Preconditioner(given), tolerance=1e-9, max_products=500)
    assert together.converged.all()
    for i in range(3):
        alone = minimise(given, l2[i : i + 1], start[:1], Preconditioner(given), tolerance=1e-9, max_products=500)
        # Each is within 1e-9 of the objective and 1e-8 of the same minimum.
        assert float(together.objective[i]) == pytest.approx(float(alone.objective), rel=1e-9, abs=1e-8)


def test_the_minimum_is_no_further_than_told() -> None:
    given = rows(2000, 10, 4)
    l2, start = l2_of(torch.zeros(1), 1e-2), torch.zeros(1, 4, 11, dtype=torch.float64)
    best = minimise(given, l2, start, Preconditioner(given), tolerance=1e-12, max_products=500)
    for steps in (2, 4, 8):
        found = minimise(given, l2, start, Preconditioner(given), tolerance=1e-12, max_products=steps)
        excess = float(found.objective - best.objective)
        assert excess <= float(found.excess)


def test_it_stops_where_it_is_told_and_says_how_far_it_came() -> None:
    given = rows(300, 6, 3)
    start = torch.zeros(1, 3, 7, dtype=torch.float64)
    l2 = l2_of(start, 1e-4)
    for allowed in (0, 1, 5):
        found = minimise(given, l2, start, Preconditioner(given), tolerance=1e-12, max_products=allowed)
        assert int(found.products) == allowed
        assert not found.converged
        objective, slopes = penalised(*evaluate_exactly(given, found.coefficients), found.coefficients, l2)
        torch.testing.assert_close(found.objective, objective, rtol=1e-14, atol=0)
        torch.testing.assert_close(found.gradient_norm, torch.linalg.vector_norm(slopes)[None], rtol=1e-9, atol=0)
        assert torch.equal(found.coefficients, found.coefficients.float().double())


def test_a_class_that_is_certain_everywhere_has_an_inverse() -> None:
    given = rows(50, 4, 3)
    certain = torch.zeros(1, 3, 50)
    certain[0, 0, :20] = 1
    certain[0, 1:, 20:] = 0.5
    l2 = torch.tensor([1e-30], dtype=torch.float64)
    preconditioner = Preconditioner(given)
    preconditioner.spend(10_000)
    preconditioner.improve(l2, certain)
    residual = gradient(given, torch.zeros(1, 3, 5, dtype=torch.float64), 1e-30)
    assert preconditioner.solve(residual, l2, l2).isfinite().all()
