"""Proportional-odds regression of ordered classes: one direction of the features, cut by ordered thresholds.

P(class <= k) = sigmoid(threshold_k - w x) (McCullagh 1980, "Regression models for ordinal data", J. R. Stat. Soc. B 42,
109-142). The objective is the mean negative log-likelihood + l2 / 2 * ||w||^2, with free thresholds; of two classes it
is that of the logistic probe. With a and b the upper and lower threshold of a row's class less w x, the likelihood
sigmoid(a) - sigmoid(b) is sigmoid(a) sigmoid(-b) (1 - e^(b - a)), and a - b does not depend on the row. So the loss is
a sum of convex terms that lose no digits, and its barrier keeps the thresholds in order (that it is convex: Pratt 1981,
"Concavity of the log likelihood", JASA 76, 103-106).

The solver is a truncated Newton's method, as in ``logistic/newton.py``, on features in the eigenbasis of their Gram
matrix, where the preconditioner of even curvature is diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import log_expit
from torch import Tensor
from torch.nn.functional import logsigmoid

from probeline.heads.checks import check_features, check_l2s, check_labelled
from probeline.heads.class_weights import check_weights
from probeline.heads.linear import Certificate
from probeline.heads.tensors import resident
from probeline.heads.threads import few_threads, hessian_operations
from probeline.types import DoubleArray, FloatArray, IntArray

TOLERANCE = 1e-6
"""By how much the objective may exceed its minimum, relative to itself plus 0.01 nats."""

MAX_ITERATIONS = 2000

_FLOOR = 0.01
_SAFETY = 0.1
"""Share of the tolerance that the estimated excess must meet: half the squared Newton decrement (Boyd and Vandenberghe
2004, "Convex Optimization", section 9.5.2)."""

_FORCING = 0.1
"""Largest share of a residual's size that a direction may leave."""

_STEPS = 60
"""Most Newton steps."""

_ENOUGH = 1e-4
"""Share of the promised descent that a step must achieve (Armijo's rule)."""

_HALVINGS = 40

_INSIDE = 0.9
"""Largest share of the way to where two thresholds meet."""

_BLOCK = 2048

_IMPROBABLE = 40.0
"""Nats by which a class without rows is below the others."""


@dataclass(frozen=True)
class OrdinalHead:
    """A proportional-odds regression on standardised features.

    Attributes
    ----------
    weight : float32 [D]
    thresholds : float64 [C - 1]
        Ascending, between the classes that had rows.
    present : int64 [C]
        The ranks, ascending, of the classes that had rows.
    ranks : int
        Of all classes, R.
    l2 : float
    certificate : Certificate
        Computed in float64 at the stored weights; its iterations are products with the Hessian.
    """

    weight: FloatArray
    thresholds: DoubleArray
    present: IntArray
    ranks: int
    l2: float
    certificate: Certificate


def log_probabilities(head: OrdinalHead, X: FloatArray) -> FloatArray:
    """Return the logarithms of the ranks' probabilities, float32 [n, R], for standardised rows float32 [n, D].

    A rank without rows has the lowest one of a row less 40.
    """
    check_features(X, columns=len(head.weight))
    along = X.astype(np.float64) @ head.weight.astype(np.float64)
    margins = head.thresholds - along[:, None]
    own = np.zeros((len(X), len(head.present)))
    own[:, :-1] += log_expit(margins)
    own[:, 1:] += log_expit(-margins)
    own[:, 1:-1] += np.log(-np.expm1(-np.diff(head.thresholds)))
    values = np.repeat(own.min(axis=1, keepdims=True) - _IMPROBABLE, head.ranks, axis=1)
    values[:, head.present] = own
    return values.astype(np.float32)


def fit_ordinal_path(
    X: FloatArray,
    ranks: IntArray,
    classes: int,
    l2s: Sequence[float],
    *,
    weights: DoubleArray | None = None,
    device: str | torch.device = "cpu",
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> list[OrdinalHead]:
    """Fit one head per l2, in their order; each starts from the next stronger one.

    Parameters
    ----------
    X : float32 [N, D]
        Standardised features.
    ranks : int64 [N]
        Places of the rows' classes in their order, in [0, classes). Places without rows are left out of the model.
    classes : int
        At least 2.
    l2s : sequence of float
        Positive, in any order.
    weights : float64 [N], optional
        Row weights of mean 1.
    device : str or torch.device
        Where the products run; the CPU instead of MPS, which has no float64.
    tolerance : float
        A head has converged if half its squared Newton decrement is at most a tenth of `tolerance` times its objective
        plus 0.01 nats.
    max_iterations : int
        Most products with the Hessian per l2.

    Returns
    -------
    list of OrdinalHead

    Raises
    ------
    ValueError
        An array or an l2 is not as described, or all rows have one rank.
    """
    check_labelled(X, ranks, classes)
    l2s = check_l2s(l2s)
    if weights is not None:
        check_weights(weights, len(ranks))
    present, own = np.unique(ranks, return_inverse=True)
    if len(present) < 2:
        raise ValueError("all rows have one rank")
    home = "cpu" if torch.device(device).type == "mps" else device
    with few_threads(hessian_operations(len(X), X.shape[1], 1)):
        features = resident(X, home).float()
        problem, basis = _turned(features, resident(own.astype(np.int64), home), len(present), weights)
        at = problem.start()
        heads: dict[float, OrdinalHead] = {}
        for l2 in sorted(set(l2s), reverse=True):
            at, iterations, converged = _minimise(problem, at, l2, tolerance, max_iterations)
            weight = (basis @ at.weight).float()
            objective, norm = problem.on(features).certify(_Values(weight.double(), at.thresholds), l2)
            certificate = Certificate(norm, objective, iterations, converged)
            stored = weight.cpu().numpy(), at.thresholds.cpu().numpy()
            heads[l2] = OrdinalHead(*stored, present, classes, l2, certificate)
    return [heads[l2] for l2 in l2s]


class _Values(NamedTuple):
    """Weights float64 [D] and thresholds float64 [T], or a vector of their shapes."""

    weight: Tensor
    thresholds: Tensor

    def plus(self, other: _Values, length: float = 1.0) -> _Values:
        return _Values(self.weight + length * other.weight, self.thresholds + length * other.thresholds)

    def times(self, factor: float) -> _Values:
        return _Values(factor * self.weight, factor * self.thresholds)

    def dot(self, other: _Values) -> float:
        return float(self.weight @ other.weight + self.thresholds @ other.thresholds)


@dataclass(frozen=True)
class _Point:
    """The curvature at some values: sigmoid' at both thresholds of each row, weighted [N], and of the gaps [T - 1]."""

    above: Tensor
    below: Tensor
    gaps: Tensor


@dataclass(frozen=True)
class _Problem:
    """Rows X float32 [N, D] with places y int64 [N] among T + 1 classes, and their shares of the mean, float64 [N]."""

    X: Tensor
    y: Tensor
    shares: Tensor
    spectrum: Tensor
    by_class: Tensor

    def on(self, X: Tensor) -> _Problem:
        return _Problem(X, self.y, self.shares, self.spectrum, self.by_class)

    def start(self) -> _Values:
        """Return weights of 0, and the thresholds of the classes' frequencies."""
        below = self.by_class.cumsum(0)[:-1]
        return _Values(self.X.new_zeros(self.X.shape[1], dtype=torch.float64), torch.logit(below))

    def along(self, weight: Tensor) -> Tensor:
        """Return X w, float64 [N], by products in float32."""
        return (self.X @ weight.float()).double()

    def margins(self, along: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor]:
        """Return both thresholds of each row less w x; those of the outermost classes are infinite."""
        ends = thresholds.new_tensor([math.inf])
        return torch.cat([thresholds, ends])[self.y] - along, torch.cat([-ends, thresholds])[self.y] - along

    def loss(self, along: Tensor, thresholds: Tensor) -> float:
        """Return the mean negative log-likelihood; infinite if thresholds are not in order."""
        gaps = thresholds.diff()
        if bool((gaps <= 0).any()):
            return math.inf
        above, below = self.margins(along, thresholds)
        between = self.by_class[1:-1] @ torch.log(-torch.expm1(-gaps))
        return -float(self.shares @ (logsigmoid(above) + logsigmoid(-below)) + between)

    def slopes(self, along: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivative of the loss by each row's w x [N], and by the thresholds [T]."""
        above, below = self.margins(along, thresholds)
        upper, lower = self.shares * torch.sigmoid(-above), self.shares * torch.sigmoid(below)
        between = self.by_class[1:-1] / torch.expm1(thresholds.diff())
        return upper - lower, self._by_threshold(-upper, lower) + _spread(between)

    def _by_threshold(self, above: Tensor, below: Tensor) -> Tensor:
        """Return the sum at each threshold of the rows below it, `above` [N], and of those above it, `below` [N]."""
        classes = len(self.by_class)
        return (
            torch.bincount(self.y, above, minlength=classes)[:-1] + torch.bincount(self.y, below, minlength=classes)[1:]
        )

    def point(self, along: Tensor, thresholds: Tensor) -> _Point:
        above, below = (torch.sigmoid(margin) for margin in self.margins(along, thresholds))
        gaps = thresholds.diff()
        bend = self.by_class[1:-1] * torch.exp(gaps) / torch.expm1(gaps).square()
        return _Point(self.shares * above * (1 - above), self.shares * below * (1 - below), torch.nan_to_num(bend))

    def gradient(self, at: _Values, along: Tensor, l2: float) -> _Values:
        by_row, by_threshold = self.slopes(along, at.thresholds)
        return _Values(self._transposed(by_row) + l2 * at.weight, by_threshold)

    def _transposed(self, by_row: Tensor) -> Tensor:
        return (by_row.float() @ self.X).double()

    def product(self, point: _Point, along: _Values, l2: float) -> _Values:
        """Return the Hessian times a direction, by products with X in float32."""
        zero = along.thresholds.new_zeros(1)
        moved = self.along(along.weight)
        above = point.above * (torch.cat([along.thresholds, zero])[self.y] - moved)
        below = point.below * (torch.cat([zero, along.thresholds])[self.y] - moved)
        between = _spread(-point.gaps * along.thresholds.diff())
        return _Values(l2 * along.weight - self._transposed(above + below), self._by_threshold(above, below) + between)

    def certify(self, at: _Values, l2: float) -> tuple[float, float]:
        """Return objective and norm of its gradient, in float64 throughout."""
        blocks = torch.split(self.X, _BLOCK)
        along = torch.cat([block.double() @ at.weight for block in blocks])
        objective = self.loss(along, at.thresholds) + l2 / 2 * float(at.weight @ at.weight)
        by_row, by_threshold = self.slopes(along, at.thresholds)
        weight = l2 * at.weight
        for block, slope in zip(blocks, torch.split(by_row, _BLOCK), strict=True):
            weight = weight + slope @ block.double()
        gradient = _Values(weight, by_threshold)
        return objective, math.sqrt(gradient.dot(gradient))


def _spread(by_gap: Tensor) -> Tensor:
    """Return the derivative by the thresholds [T] of what has the derivatives -`by_gap` [T - 1] by their gaps."""
    zero = by_gap.new_zeros(1)
    return torch.cat([by_gap, zero]) - torch.cat([zero, by_gap])


def _turned(features: Tensor, y: Tensor, classes: int, weights: DoubleArray | None) -> tuple[_Problem, Tensor]:
    """Return the rows in the eigenbasis of their Gram matrix, at most N columns, and this basis float64 [D, .]."""
    count, columns = features.shape
    shares = torch.full((count,), 1 / count, dtype=torch.float64, device=y.device)
    if weights is not None:
        shares = shares * resident(weights, str(y.device)).double()
        shares = shares / shares.sum()
    span = None
    X = features
    if columns > count:  # no solution has a part that is orthogonal to all rows
        span, triangle = torch.linalg.qr(features.double().T)
        X = triangle.T.float()
    gram = torch.zeros(X.shape[1], X.shape[1], dtype=torch.float64, device=y.device)
    for block in torch.split(X, _BLOCK):
        gram += block.T @ block
    values, basis = torch.linalg.eigh(gram / count)
    by_class = torch.bincount(y, shares, minlength=classes)
    problem = _Problem(X @ basis.float(), y, shares, values.clamp_min(0), by_class)
    return problem, basis if span is None else span @ basis


def _minimise(problem: _Problem, at: _Values, l2: float, tolerance: float, most: int) -> tuple[_Values, int, bool]:
    """Return the values at the minimum, the products with the Hessian, and whether the tolerance is met."""
    iterations = 0
    along = problem.along(at.weight)
    objective = problem.loss(along, at.thresholds) + l2 / 2 * float(at.weight @ at.weight)
    for _ in range(_STEPS):
        gradient = problem.gradient(at, along, l2)
        point = problem.point(along, at.thresholds)
        allowed = _SAFETY * tolerance * (objective + _FLOOR)
        direction, products = _direction(problem, point, gradient, l2, allowed, most - iterations)
        iterations += products
        decrease = -gradient.dot(direction)
        if decrease / 2 <= allowed:
            return at, iterations, True
        length = _longest(at.thresholds.diff(), direction.thresholds.diff())
        change = problem.along(direction.weight)
        for _ in range(_HALVINGS):
            there = at.plus(direction, length)
            reached = problem.loss(along + length * change, there.thresholds) + l2 / 2 * float(
                there.weight @ there.weight
            )
            if reached <= objective - _ENOUGH * length * decrease:
                break
            length /= 2
        else:  # rounding prevents progress
            return at, iterations, False
        at, along, objective = there, along + length * change, reached
        if iterations >= most:
            break
    return at, iterations, False


def _longest(gaps: Tensor, change: Tensor) -> float:
    """Return the length of a step, at most 1, that keeps the thresholds in order."""
    closing = change < 0
    if not bool(closing.any()):
        return 1.0
    return min(1.0, _INSIDE * float((gaps[closing] / -change[closing]).min()))


def _direction(
    problem: _Problem, point: _Point, gradient: _Values, l2: float, allowed: float, most: int
) -> tuple[_Values, int]:
    """Return the Newton direction by preconditioned conjugate gradients, and the products that it took."""
    steepness = float((point.above + point.below).sum())
    scale = steepness * problem.spectrum + l2
    block = _threshold_block(problem, point)

    def solve(residual: _Values) -> _Values:
        return _Values(residual.weight / scale, torch.cholesky_solve(residual.thresholds[:, None], block)[:, 0])

    residual = gradient.times(-1.0)
    direction = residual.times(0.0)
    solved = solve(residual)
    search, power = solved, residual.dot(solved)
    target = max(_FORCING**2 * power, 0.01 * allowed)
    products = 0
    while products < max(most, 1):
        products += 1
        product = problem.product(point, search, l2)
        curvature = search.dot(product)
        if not curvature > 0:  # rounding
            break
        direction = direction.plus(search, power / curvature)
        residual = residual.plus(product, -power / curvature)
        solved = solve(residual)
        power, past = residual.dot(solved), power
        if not power > target:
            break
        search = solved.plus(search, power / past)
    return direction, products


def _threshold_block(problem: _Problem, point: _Point) -> Tensor:
    """Return the Cholesky factor of the Hessian by the thresholds alone, float64 [T, T]."""
    diagonal = problem._by_threshold(point.above, point.below)
    gaps, zero = point.gaps, point.gaps.new_zeros(1)
    matrix = torch.diag(diagonal + torch.cat([gaps, zero]) + torch.cat([zero, gaps]))
    if len(gaps):
        matrix = matrix - torch.diag(gaps, 1) - torch.diag(gaps, -1)
    ridge = 1e-12 * float(matrix.diagonal().max())
    factor: Tensor = torch.linalg.cholesky(matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype).to(matrix))
    return factor
