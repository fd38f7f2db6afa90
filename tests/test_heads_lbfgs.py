"""The descent on functions whose minimum is known, with and without noise in the value."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from probeline.heads.lbfgs import Evaluate, minimise


def quadratic(curvature: Tensor, target: Tensor, *, goal: float, noise: float = 0.0) -> Evaluate:
    """1 + a quadratic with its minimum at `target`; the value is wrong by up to `noise`, the gradient is right."""

    def evaluate(at: Tensor) -> tuple[float, Tensor, bool]:
        gradient = curvature * (at - target)
        value = 1 + 0.5 * float((curvature * (at - target) ** 2).sum())
        jitter = math.sin(1e9 * float(at.sum()))
        return value + noise * jitter, gradient, float(gradient.norm()) <= goal

    return evaluate


@pytest.mark.parametrize("steepest", [1e-3, 1.0, 1e3])
def test_finds_the_minimum(steepest: float) -> None:
    curvature = steepest * torch.logspace(-2, 0, 40, dtype=torch.float64)
    target = torch.linspace(-3, 5, 40, dtype=torch.float64)
    found, steps = minimise(
        quadratic(curvature, target, goal=1e-9 * steepest), torch.zeros_like(target), noise=1e-15, max_steps=200
    )
    assert float((curvature * (found - target)).norm()) <= 1e-9 * steepest
    assert 1 < steps < 200


def test_noise_in_the_value_does_not_stop_it() -> None:
    curvature = torch.logspace(-2, 0, 40, dtype=torch.float64)
    target = torch.linspace(-3, 5, 40, dtype=torch.float64)
    evaluate = quadratic(curvature, target, goal=1e-7, noise=1e-7)
    found, _ = minimise(evaluate, torch.zeros_like(target), noise=2e-7, max_steps=200)
    # The value hides all gradients below sqrt(1e-7) or so; the slopes led on.
    assert float((curvature * (found - target)).norm()) <= 1e-7


def test_a_good_start_is_left_alone() -> None:
    target = torch.ones(3, dtype=torch.float64)
    found, steps = minimise(quadratic(target, target, goal=0), target, noise=0.0, max_steps=10)
    assert steps == 0
    assert torch.equal(found, target)


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_takes_no_more_steps_than_allowed(steps: int) -> None:
    curvature = torch.logspace(-4, 0, 40, dtype=torch.float64)
    evaluate = quadratic(curvature, torch.ones_like(curvature), goal=0)
    assert minimise(evaluate, torch.zeros_like(curvature), noise=0.0, max_steps=steps)[1] == steps


def test_ends_where_rounding_hides_the_way() -> None:
    curvature = torch.logspace(-2, 0, 40, dtype=torch.float64)
    evaluate = quadratic(curvature, torch.full_like(curvature, math.pi), goal=-1)
    _, steps = minimise(evaluate, torch.zeros_like(curvature), noise=1e-15, max_steps=10_000)
    assert steps < 1000


def test_a_function_that_is_far_steeper_than_promised() -> None:
    def evaluate(at: Tensor) -> tuple[float, Tensor, bool]:
        gradient = torch.tanh(at) + 1e-3 * at  # of log cosh: flat far out, bent at its minimum
        value = float((at.abs() + torch.log1p(torch.exp(-2 * at.abs())) + 5e-4 * at**2).sum())
        return value, 1e4 * gradient, float(gradient.abs().max()) <= 1e-8

    start = torch.tensor([50.0, -3.0, 0.1], dtype=torch.float64)
    found, _ = minimise(lambda at: (1e4 * evaluate(at)[0], *evaluate(at)[1:]), start, noise=1e-15, max_steps=200)
    assert float(found.abs().max()) < 1e-7


def test_a_gradient_that_leads_up_is_given_up() -> None:
    def evaluate(at: Tensor) -> tuple[float, Tensor, bool]:
        return float((at**2).sum()), -at, False

    start = torch.ones(2, dtype=torch.float64)
    found, steps = minimise(evaluate, start, noise=0.0, max_steps=100)
    assert steps == 0
    assert torch.equal(found, start)
