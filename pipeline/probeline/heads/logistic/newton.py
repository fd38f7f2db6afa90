"""Truncated Newton's method for a batch of l2-regularised logistic regressions on the same rows.

Each step solves for the Newton directions by preconditioned conjugate gradients, no more precisely than the step is
worth (Nocedal and Wright 2006, "Numerical Optimization", algorithm 7.1; the forcing terms are choice 2 of Eisenstat and
Walker 1996, "Choosing the forcing terms in an inexact Newton method", SIAM J. Sci. Comput. 17, 16-32). Then it searches
for the lowest point along each, which takes no further product with X: the logits are linear along a ray. All heads
share each pass over X; those that are done leave the batch.

Nearly all products with X are those with the Hessian. They run in float32, as errors in them only cost steps. The
gradient decides the result: it is float32 while that is precise enough, and float64 for the last evaluation, the
certificate.

The excess of an objective over its minimum is estimated by half the squared Newton decrement, g^T H^-1 g / 2 (Boyd and
Vandenberghe 2004, "Convex Optimization", section 9.5.2), with the preconditioner in place of H^-1. The longest step of
the conjugate gradients shows how much too small that is, and so does the curvature lost since the preconditioner was
computed; a margin is added. The bound g^T g / (2 l2) (ibid., eq. 9.9) is used where it is smaller.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from probeline.heads.logistic.cross_entropy import Rows
from probeline.heads.logistic.memory import MEMORY
from probeline.heads.logistic.point import ClassLosses
from probeline.heads.logistic.preconditioner import Preconditioner, Turned

_FLOOR = 0.01
"""Nats added to the objective before the tolerance is taken, which would be needlessly strict near 0."""

_DOUBT = 10.0
"""Safety factor of the estimated excess."""

_SLACK = 0.5
"""Share of the tolerance that float32 aims at, for the rounding of its gradient."""

_FORCING = 0.1
"""Largest share of the gradient that a step may leave."""

_FLAT = 0.1
"""Share of its slope that may remain at the lowest point of a ray."""

_TRIALS = 20
"""Most trials along a ray."""

_PATIENCE = 3
"""Evaluations in a row without progress after which rounding dominates."""

_NOISE = {False: 1e-6, True: 1e-14}
"""Relative rounding of the objective; False in float32, True in float64."""


@dataclass(frozen=True)
class Solution:
    """The result of the solver for H heads, all by float64 products.

    The coefficients, float64 [H, K, D + 1], are values of float32. `excess` [H] is by how much the objective may exceed
    its minimum, `converged` whether that is within the tolerance, and `products` counts those with the Hessian.
    """

    coefficients: Tensor
    objective: Tensor
    gradient_norm: Tensor
    excess: Tensor
    products: Tensor
    converged: Tensor


class Inverse(Protocol):
    """An approximate inverse of the Hessians, as :class:`Preconditioner` describes it; `heads` [h] of the batch."""

    def aim(self, l2: Tensor, /) -> None: ...

    def improve(self, l2: Tensor, point: Any, heads: Tensor, /) -> None: ...

    def solve(self, residual: Tensor, l2: Tensor, steepness: Tensor, heads: Tensor, /) -> Tensor: ...

    def faded(self, steepness: Tensor, l2: Tensor, heads: Tensor, /) -> Tensor: ...

    def spend(self, products: int, heads: Tensor, /) -> None: ...

    def is_due(self, l2: Tensor, heads: Tensor, /) -> bool: ...


class Losses(Protocol):
    """The mean losses of H heads on the same rows; `heads`, int64 [h], are those that coefficients belong to.

    `direction_type` is the type of the vectors of the conjugate gradients.
    """

    @property
    def direction_type(self) -> torch.dtype: ...

    def on(self, rows: Rows) -> Self:
        """Return these losses on rows that are turned."""
        ...

    def look(self, at: Tensor, logits: Tensor | None, heads: Tensor, /) -> Any:
        """Return the point at coefficients [h, K, D + 1], by products in float32, like `point.Point`.

        `logits` are the end of a ray of the point before, if known.
        """
        ...

    def with_optimal_bias(self, at: Tensor, heads: Tensor, /) -> tuple[Tensor, Tensor]:
        """Return the nearest float32 coefficients with the best bias, and the remaining excess [h] in nats."""
        ...

    def evaluate_exactly(self, at: Tensor, heads: Tensor, /) -> tuple[Tensor, Tensor]:
        """Return loss [h] and gradient [h, K, D + 1] in float64 throughout."""
        ...


def minimise(
    rows: Rows,
    l2: Tensor,
    start: Tensor,
    preconditioner: Preconditioner,
    turned: Turned | None = None,
    *,
    tolerance: float,
    max_products: int,
    memory: int = MEMORY,
) -> Solution:
    """Descend from `start`, float64 [H, K, D + 1], at each `l2`, float64 [H].

    With `turned` rows, float32 works on these, and the preconditioner is theirs.

    A head stops when its objective exceeds its minimum by no more than `tolerance` times itself plus 0.01 nats, when
    `max_products` are used up, or when rounding prevents progress. Logits are kept if they fit in `memory` bytes.
    """
    return descend(ClassLosses(rows, memory), l2, start, preconditioner, turned, tolerance, max_products)


def descend(
    losses: Losses,
    l2: Tensor,
    start: Tensor,
    preconditioner: Inverse,
    turned: Turned | None,
    tolerance: float,
    max_products: int,
) -> Solution:
    """Return what :func:`minimise` does, for any losses of H heads."""
    descent = _Descent(losses, l2, start, preconditioner, tolerance, max_products)
    with contextlib.nullcontext() if turned is None else descent.on(turned):
        descent.run(exactly=False)
    descent.run(exactly=True)
    converged = descent.excess <= descent.allowed(descent.objective)
    return Solution(descent.at, descent.objective, descent.gradient_norm, descent.excess, descent.products, converged)


def penalised(loss: Tensor, gradient: Tensor, at: Tensor, l2: Tensor) -> tuple[Tensor, Tensor]:
    """Return the objectives [H] and their gradients, float64 [H, K, D + 1], at coefficients `at`."""
    gradient = gradient.clone()
    gradient[..., :-1] += l2[:, None, None] * at[..., :-1]
    return loss + 0.5 * l2 * at[..., :-1].square().sum(dim=(1, 2)), gradient


class _Descent:
    """The state of the solver for a batch of heads."""

    def __init__(
        self,
        losses: Losses,
        l2: Tensor,
        start: Tensor,
        preconditioner: Inverse,
        tolerance: float,
        max_products: int,
    ) -> None:
        self._losses, self._l2, self._preconditioner = losses, l2, preconditioner
        self._tolerance, self._max_products = tolerance, max_products
        self._turned: Turned | None = None  # if the preconditioner is of other rows than those at work
        self.at = start.clone()
        self.objective, self.gradient_norm, self.excess = (torch.zeros_like(l2) for _ in range(3))
        self.products = torch.zeros(len(l2), dtype=torch.int64, device=l2.device)
        self._steepness = torch.full_like(l2, 0.25)
        self._margin = torch.full_like(l2, _DOUBT)
        self._bias_excess = torch.zeros_like(l2)

    @contextlib.contextmanager
    def on(self, turned: Turned) -> Iterator[None]:
        """Work on turned rows, and turn the coefficients back at the end."""
        own = self._losses
        self._losses, self.at = own.on(turned.rows), turned.into(self.at)
        yield
        self._losses, self.at, self._turned = own, turned.back(self.at), turned

    def _solve(self, residual: Tensor, l2: Tensor, steepness: Tensor, heads: Tensor) -> Tensor:
        """Return the approximate inverse of the Hessian on the rows at work times a residual."""
        if self._turned is None:
            return self._preconditioner.solve(residual, l2, steepness, heads)
        return self._turned.back(self._preconditioner.solve(self._turned.into(residual), l2, steepness, heads))

    def allowed(self, objective: Tensor) -> Tensor:
        return self._tolerance * (objective + _FLOOR)

    def run(self, *, exactly: bool) -> None:
        """Take steps until no head gains from another one."""
        heads = torch.arange(len(self._l2), device=self._l2.device)
        lowest, smallest, before = (torch.full_like(self._l2, math.inf) for _ in range(3))
        idle = torch.zeros_like(self.products)
        logits = None
        while True:
            point, objective, gradient = self._evaluate(heads, logits, exactly=exactly)
            l2, steepness = self._l2[heads], self._steepness[heads]
            self._preconditioner.aim(l2)
            power = _dot(gradient, self._solve(gradient, l2, steepness, heads))
            progress = (objective < lowest[heads] - _NOISE[exactly] * objective) | (power < 0.25 * smallest[heads])
            idle[heads] = torch.where(progress, 0, idle[heads] + 1)
            lowest[heads] = torch.minimum(lowest[heads], objective)
            smallest[heads] = torch.minimum(smallest[heads], power)
            norm = torch.linalg.vector_norm(gradient, dim=(1, 2))
            margin = self._margin[heads] * self._preconditioner.faded(steepness, l2, heads)
            bound = norm.square() / (2 * l2)
            excess = torch.where(self.products[heads] > 0, torch.minimum(margin * power / 2, bound), bound)
            excess = excess + self._bias_excess[heads]
            self.objective[heads], self.gradient_norm[heads], self.excess[heads] = objective, norm, excess
            allowed = self.allowed(objective) * (1 if exactly else _SLACK)
            active = (excess > allowed) & (idle[heads] < _PATIENCE) & (self.products[heads] < self._max_products)
            if not active.any():
                return
            forcing = (0.9 * power / before[heads]).square().clamp_max(_FORCING**2)
            before[heads] = power
            goal = 2 * allowed / margin
            if not active.all():
                heads, gradient, power, goal, forcing = (of[active] for of in (heads, gradient, power, goal, forcing))
                point = None if point is None else point.select(active)
            if point is None:
                point = self._losses.look(self.at[heads], None, heads)
            logits = self._step(heads, point, gradient, torch.maximum(forcing * power, 0.1 * goal))

    def _evaluate(self, heads: Tensor, logits: Tensor | None, *, exactly: bool) -> tuple[Any, Tensor, Tensor]:
        """Return the point of the heads unless it is exact, their objectives and the objectives' gradients."""
        if exactly:
            self.at[heads], self._bias_excess[heads] = self._losses.with_optimal_bias(self.at[heads], heads)
            at = self.at[heads]
            return None, *penalised(*self._losses.evaluate_exactly(at, heads), at, self._l2[heads])
        at = self.at[heads]
        point = self._losses.look(at, logits, heads)
        self._steepness[heads] = point.steepness
        return point, *penalised(point.loss, point.gradient, at, self._l2[heads])

    def _step(self, heads: Tensor, point: Any, gradient: Tensor, target: Tensor) -> Tensor | None:
        """Take one step with each head; return the logits there if they are kept."""
        l2, at = self._l2[heads], self.at[heads]
        direction = self._direction(heads, point, gradient, target)
        weight, turn = at[..., :-1], direction[..., :-1]
        tilt, bend = l2 * _dot(weight, turn), l2 * _dot(turn, turn)
        ray = point.ray(direction)
        length = _line_search(ray, _dot(gradient, direction), tilt, bend)
        self.at[heads] = at + length[:, None, None] * direction
        end: Tensor | None = ray.end(length)
        return end

    def _direction(self, heads: Tensor, point: Any, gradient: Tensor, target: Tensor) -> Tensor:
        """Return directions [H, K, D + 1] that leave a residual of power `target` in their quadratic models."""
        preconditioner, turned = self._preconditioner, self._turned
        of_its_rows = point if turned is None else point.on(turned.rows, turned.into(self.at[heads]))
        preconditioner.improve(self._l2[heads], of_its_rows, heads)
        l2, steepness = self._l2[heads], self._steepness[heads]
        residual = -gradient.to(self._losses.direction_type)
        direction = torch.zeros_like(residual)
        solved = self._solve(residual, l2, steepness, heads)
        search = solved
        power = _dot(residual, solved)
        here = torch.arange(len(heads), device=heads.device)
        longest = torch.ones_like(power)
        while True:
            product = point.product(search)
            product[..., :-1] += l2.to(search.dtype)[:, None, None] * search[..., :-1]
            self.products[heads[here]] += 1
            preconditioner.spend(1, heads[here])
            curvature = _dot(search, product)
            length = torch.where(curvature > 0, power / curvature, 0)  # 0 for rounding
            longest[here] = torch.maximum(longest[here], length)
            self._margin[heads] = _DOUBT * longest
            length = length.to(search.dtype)[:, None, None]
            if len(here) == len(heads):
                direction += length * search
            else:
                direction[here] += length * search
            residual -= product.mul_(length)
            solved = self._solve(residual, l2, steepness, heads[here])
            power, past = _dot(residual, solved), power
            search = search.mul_((power / past).to(search.dtype)[:, None, None]).add_(solved)
            active = (power > target) & (curvature > 0) & (self.products[heads[here]] < self._max_products)
            if preconditioner.is_due(self._l2[heads], heads) or not active.any():
                return direction.double()
            if not active.all():
                here, l2, steepness, residual, search, power, target = (
                    of[active] for of in (here, l2, steepness, residual, search, power, target)
                )
                point = point.select(active)


def _line_search(ray: Any, steep: Tensor, tilt: Tensor, bend: Tensor) -> Tensor:
    """Return the step lengths [H] to the lowest objective along a ray: Newton's method on its slope, within brackets.

    `steep` is the objective's slope at the start, `tilt` and `bend` the two derivatives of the penalty there.
    """
    near = torch.zeros_like(steep)
    far = torch.full_like(near, math.inf)
    length = torch.ones_like(near)
    for _ in range(_TRIALS):
        first, second = ray.slope(length)
        first, second = first + tilt + length * bend, second + bend
        is_flat = (first.abs() <= -_FLAT * steep) | (steep >= 0)
        if is_flat.all():
            break
        near = torch.where(~is_flat & (first < 0), length, near)
        far = torch.where(~is_flat & (first >= 0), length, far)
        ahead = torch.minimum(length - first / second, 4 * length)
        ahead = torch.where((near < ahead) & (ahead < far), ahead, (near + far) / 2)
        length = torch.where(is_flat, length, ahead)
    return torch.where(steep < 0, torch.where(is_flat, length, near), 0)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2), dtype=torch.float64)
