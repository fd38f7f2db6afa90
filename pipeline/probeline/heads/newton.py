"""Truncated Newton's method for one l2-regularised logistic regression.

Each step solves for the Newton direction by preconditioned conjugate gradients, no further than the step is worth
(Nocedal and Wright 2006, "Numerical Optimization", algorithm 7.1; the forcing terms are choice 2 of Eisenstat and
Walker 1996, "Choosing the forcing terms in an inexact Newton method", SIAM J. Sci. Comput. 17, 16-32), and then looks
for the lowest point along it, which takes no further product with X: two points of a ray tell the logits of all.

Nearly all products with X are those with the Hessian. They run in float32, as errors in them only cost steps. The
gradient decides what is found: in float32 while that can tell the way, in float64 for the last look, which is the
certificate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from probeline.heads.cross_entropy import Place, Rows, curve, logits_of, look, settled_bias, slope
from probeline.heads.preconditioner import Preconditioner

_FORCING = 0.1
"""Most of the gradient that a step may leave, the first excepted: it goes for the goal at once, as starts are warm."""

_SLACK = 0.5
"""Part of the tolerance that is aimed at in float32, for the rounding of its gradient."""

_FLAT = 0.1
"""Part of its slope that the lowest point of a ray may have left."""

_TRIALS = 20
"""Places that are tried along a ray."""

_PATIENCE = 3
"""Looks in a row without headway after which rounding has taken over."""

_NOISE = {torch.float32: 1e-6, torch.float64: 1e-14}
"""Rounding of the objective, as a part of it."""


@dataclass(frozen=True)
class Found:
    """Where the solver ended.

    Attributes
    ----------
    coefficients : float64 [K, D + 1]
        Values of float32.
    objective : float
    gradient_norm : float
        Both of float64 products.
    products : int
        With the Hessian.
    """

    coefficients: Tensor
    objective: float
    gradient_norm: float
    products: int


def minimise(
    rows: Rows, l2: float, start: Tensor, preconditioner: Preconditioner, *, tolerance: float, max_products: int
) -> Found:
    """Descend from `start`, float64 [K, D + 1], until the gap is within `tolerance` of the objective.

    Ends before where `max_products` are used up or rounding hides the way.
    """
    at = start
    precision = torch.float32
    products = idle = 0
    lowest = smallest = before = math.inf
    while True:
        at, place = _settle(rows, at, precision)
        objective, gradient = penalised(place, at, l2)
        norm = float(torch.linalg.vector_norm(gradient))
        idle = 0 if objective < lowest - _NOISE[precision] * abs(lowest) or norm < 0.5 * smallest else idle + 1
        lowest, smallest = min(lowest, objective), min(smallest, norm)
        good = norm**2 <= (_SLACK if precision == torch.float32 else 1) * 2 * l2 * tolerance * objective
        if good or idle >= _PATIENCE or products >= max_products:
            if precision == torch.float64:
                return Found(at, objective, norm, products)
            precision, idle, lowest, smallest, before = torch.float64, 0, math.inf, math.inf, math.inf
            continue
        goal = 0.3 * math.sqrt(2 * l2 * tolerance * objective)
        target = max(min(_FORCING, 0.9 * (norm / before) ** 2) * norm, goal)
        before = norm
        if preconditioner.patience(l2) <= 0:
            preconditioner.improve(l2, place.chances)
        room = int(min(max_products - products, preconditioner.patience(l2)))
        direction, used = _newton_step(rows, place.chances, gradient, l2, preconditioner, target=target, room=room)
        products += used
        at = at + _lowest(rows, place, at, gradient, direction, l2) * direction


def _settle(rows: Rows, at: Tensor, precision: torch.dtype) -> tuple[Tensor, Place]:
    """Return the nearest float32 coefficients with the bias at its optimum, and what is to see there.

    No l2 holds the bias, and the bound on the gap asks for its optimum.
    """
    at = at.float().double()
    logits = logits_of(rows, at, precision)
    settled = at.clone()
    settled[:, -1] = settled_bias(rows, logits, at[:, -1]).float().double()
    return settled, look(rows, logits + (settled[:, -1] - at[:, -1]), precision)


def penalised(place: Place, at: Tensor, l2: float) -> tuple[float, Tensor]:
    """Return the objective and its gradient, float64 [K, D + 1], at coefficients `at`."""
    gradient = place.gradient.clone()
    gradient[:, :-1] += l2 * at[:, :-1]
    return place.loss + 0.5 * l2 * float(at[:, :-1].square().sum()), gradient


def _newton_step(
    rows: Rows,
    chances: Tensor,
    gradient: Tensor,
    l2: float,
    preconditioner: Preconditioner,
    *,
    target: float,
    room: int,
) -> tuple[Tensor, int]:
    """Return a direction that leaves a gradient of norm `target` in the quadratic model, and the products it took."""
    steepness = float((chances * (1 - chances)).mean())
    direction = torch.zeros_like(gradient)
    residual = -gradient
    solved = preconditioner.solve(residual, l2, steepness)
    search = solved
    power = _dot(residual, solved)
    used = 0
    while used < room:
        bent = curve(rows, chances, search)
        bent[:, :-1] += l2 * search[:, :-1]
        used += 1
        curvature = _dot(search, bent)
        if not curvature > 0:  # rounding
            break
        direction = direction + power / curvature * search
        residual = residual - power / curvature * bent
        if float(torch.linalg.vector_norm(residual)) <= target:
            break
        solved = preconditioner.solve(residual, l2, steepness)
        power, past = _dot(residual, solved), power
        search = solved + power / past * search
    preconditioner.spend(used)
    return direction, used


def _lowest(rows: Rows, place: Place, at: Tensor, gradient: Tensor, direction: Tensor, l2: float) -> float:
    """Return how many directions away the objective is lowest: Newton's method on its slope, within brackets."""
    change = logits_of(rows, direction, torch.float32)
    steep = _dot(gradient, direction)
    tilt = l2 * _dot(at[:, :-1], direction[:, :-1])
    bend = l2 * _dot(direction[:, :-1], direction[:, :-1])
    near, far = 0.0, math.inf
    length = 1.0
    for _ in range(_TRIALS if steep < 0 else 0):
        first, second = slope(rows, place.logits + length * change, change)
        first, second = first + tilt + length * bend, second + bend
        if abs(first) <= -_FLAT * steep:
            return length
        near, far = (length, far) if first < 0 else (near, length)
        ahead = min(length - first / second, 4 * length)
        length = ahead if near < ahead < far else (near + far) / 2
    return near


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())
