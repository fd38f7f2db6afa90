"""The l2-regularised logistic regression path: every l2 of a grid from one factorisation.

The objective is scikit-learn's, by the mean: cross-entropy / N + l2 / 2 * ||W||^2 with l2 = 1 / (C N) and a free bias;
two classes are one logit.

Boehning (1992, "Multinomial logistic regression algorithm", Ann. Inst. Statist. Math. 44, 197-200) bounds the Hessian
of the mean cross-entropy by c * X^T X / N for every class, with c = 1/2 (1/4 for one logit). In the eigenbasis of
X^T X / N, with eigenvalues s, the bound on the whole Hessian is diagonal for every l2 at once: c * s + l2. L-BFGS runs
in coordinates divided by its root, where no direction is much steeper than another; for c it takes the mean p (1 - p)
at its start, for where classes separate that is far below the bound, which would let a step take ten times as many. The
weights are rotated, not X. Centring X, by algebra alone, decouples the bias: one more coordinate, s = 1, no penalty.

One evaluation is two products with X. They run in float32, in blocks of rows whose results are summed in float64. Where
their rounding ends the descent early, the last steps are taken in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probeline.heads.checks import check_labelled
from probeline.heads.lbfgs import minimise
from probeline.heads.linear import Certificate, Head
from probeline.heads.tensors import resident

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

TOLERANCE = 1e-4
"""By how much the objective may exceed its minimum, as a part of itself."""

MAX_ITERATIONS = 1000

_BLOCK = 4096
"""Rows of a product: at 1,280 columns 21 MB, which may still be in a cache when the block is used again."""

_ROUNDS = ((torch.float32, 0.5), (torch.float32, 0.1), (torch.float64, 0.1), (torch.float64, 0.01))
"""Precision of the products, and the part of the tolerance aimed at: settling the bias and rounding take some back."""

_FLATTEST = 1e-6
"""Least mean p (1 - p) that steps are measured by."""

_SETTLED = 1e-9
"""Nats that the last Newton step of the bias may promise to save; what it leaves is far less, by their square."""

_NEWTON_STEPS = 20

_NOISE = {torch.float32: 1e-6, torch.float64: 1e-15}
"""Rounding of the objective, as a part of it."""


def fit_path(
    X: FloatArray,
    y: IntArray,
    classes: int,
    l2s: Sequence[float],
    *,
    device: str | torch.device = "cpu",
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> list[Head]:
    """Fit one head for each l2, from the strongest to the weakest, each started where the path so far leads.

    Parameters
    ----------
    X : float32 [N, D]
        Standardised features.
    y : int64 [N]
        Classes in [0, classes). A class without rows becomes improbable.
    classes : int
        K, at least 2.
    l2s : sequence of float
        Positive, in any order.
    device : str or torch.device
        Where the products run; the CPU instead of MPS, which has no float64.
    tolerance : float
        A head is converged where ``head.gap <= tolerance * objective``, so that a small l2 asks for a small gradient.
    max_iterations : int
        L-BFGS steps for each l2; a head that used them up is returned with ``converged=False``.

    Returns
    -------
    list of Head
        In the order of `l2s`.

    Raises
    ------
    ValueError
        Where an array or an l2 is not as described.
    """
    check_labelled(X, y, classes)
    if X.dtype != np.float32:
        raise ValueError(f"features must be float32, not {X.dtype}")
    if not l2s or not all(math.isfinite(l2) and l2 > 0 for l2 in l2s):
        raise ValueError(f"each l2 must be positive and finite, and there must be one: {list(l2s)}")
    home = "cpu" if torch.device(device).type == "mps" else device
    problem = _pose(resident(X, home), resident(y, home), 1 if classes == 2 else classes)
    path = [(math.inf, problem.mean.new_zeros(problem.rows, X.shape[1] + 1))]
    heads: dict[float, Head] = {}
    for l2 in sorted(set(l2s), reverse=True):
        coefficients = _lead_on(path, l2)
        iterations = 0
        for precision, share in _ROUNDS:
            coefficients, steps = _descend(
                problem, l2, coefficients, precision, goal=share * tolerance, max_steps=max_iterations - iterations
            )
            iterations += steps
            coefficients = _settle_bias(problem, coefficients)
            heads[l2] = _head(problem, l2, coefficients, iterations, tolerance)
            if heads[l2].certificate.converged or iterations >= max_iterations:
                break
        path.append((l2, coefficients))
    return [heads[l2] for l2 in l2s]


def certify(X: npt.NDArray[Any], y: IntArray, weight: FloatArray, bias: FloatArray, l2: float) -> tuple[float, float]:
    """Return a head's objective and the Euclidean norm of its gradient, in float64.

    Parameters
    ----------
    X : float32 or float64 [N, D]
    y : int64 [N]
    weight : float32 [K, D] or [1, D]
    bias : float32 [K] or [1]
    l2 : float
    """
    return _certify(resident(X), resident(y), torch.from_numpy(np.column_stack([weight, bias])), l2)


@dataclass(frozen=True)
class _Problem:
    """What the l2s of a path share. Coefficients are weights with the bias as their last column.

    Attributes
    ----------
    X : float32 [N, D]
    y : int64 [N]
    rows : int
        Rows of the coefficients: K, or 1 for two classes.
    mean : float64 [D]
    basis : float64 [D, R]
        Orthonormal eigenvectors of X^T X / N, X centred. R = min(N, D): they span X's rows, and so every solution.
    curvature : float64 [R + 1]
        The mean square of X along each vector of the basis, and 1 for the bias.
    """

    X: Tensor
    y: Tensor
    rows: int
    mean: Tensor
    basis: Tensor
    curvature: Tensor

    def rotated(self, coefficients: Tensor) -> Tensor:
        """Return coefficients [rows, D + 1] as coordinates [rows, R + 1] along the basis, the bias for centred X."""
        weight, bias = coefficients[:, :-1], coefficients[:, -1]
        return torch.cat([weight @ self.basis, (bias + weight @ self.mean)[:, None]], dim=1)

    def natural(self, rotated: Tensor) -> Tensor:
        """Return the coefficients that :meth:`rotated` turned."""
        weight = rotated[:, :-1] @ self.basis.T
        return torch.cat([weight, (rotated[:, -1] - weight @ self.mean)[:, None]], dim=1)

    def pulled_back(self, gradient: Tensor) -> Tensor:
        """Return a gradient by the coefficients as one by the rotated coordinates."""
        by_bias = gradient[:, -1:]
        return torch.cat([(gradient[:, :-1] - by_bias * self.mean) @ self.basis, by_bias], dim=1)


def _pose(X: Tensor, y: Tensor, rows: int) -> _Problem:
    n, columns = X.shape
    mean = X.mean(dim=0, dtype=torch.float64)
    if columns <= n:
        gram = torch.zeros(columns, columns, dtype=torch.float64, device=X.device)
        for block in torch.split(X, _BLOCK):
            gram += block.T @ block
        values, basis = torch.linalg.eigh(gram / n - torch.outer(mean, mean))
    else:
        span, triangle = torch.linalg.qr((X - mean).T)
        values, vectors = torch.linalg.eigh(triangle @ triangle.T / n)
        basis = span @ vectors
    curvature = torch.cat([values.clamp_min(0), values.new_ones(1)])
    return _Problem(X, y, rows, mean, basis, curvature)


def _lead_on(path: list[tuple[float, Tensor]], l2: float) -> Tensor:
    """Return where the line through the last two solutions, drawn over log l2, meets `l2`: it halves the work."""
    if len(path) == 1:
        return path[0][1]
    (l2_before, before), (l2_last, last) = path[-2:]
    pace = math.log(l2_last / l2) / math.log(l2_before / l2_last)
    return last + min(pace, 1) * (last - before)


def _descend(
    problem: _Problem, l2: float, start: Tensor, precision: torch.dtype, *, goal: float, max_steps: int
) -> tuple[Tensor, int]:
    """Return the coefficients that L-BFGS finds from `start`, and in how many steps."""
    penalty = torch.full_like(problem.curvature, l2)
    penalty[-1] = 0
    steepness = _bias_moments(problem, start)[1].diagonal().mean().clamp_min(_FLATTEST)
    scale = (steepness * problem.curvature + penalty).rsqrt()

    def evaluate(scaled: Tensor) -> tuple[float, Tensor, bool]:
        at = scaled * scale
        loss, gradient = _cross_entropy(problem.X, problem.y, problem.natural(at), precision)
        gradient = problem.pulled_back(gradient) + penalty * at
        objective = loss + 0.5 * float((penalty * at.square()).sum())
        good = float(gradient.square().sum()) <= 2 * l2 * goal * objective
        return objective, gradient * scale, good

    found, steps = minimise(evaluate, problem.rotated(start) / scale, noise=_NOISE[precision], max_steps=max_steps)
    return problem.natural(found * scale), steps


def _settle_bias(problem: _Problem, coefficients: Tensor) -> Tensor:
    """Return the coefficients with the bias at its optimum, where :attr:`Head.gap` needs it and no l2 holds it.

    Newton's method; a step that moves no two logits apart by more than 1 is sure to descend (Bach 2010,
    "Self-concordant analysis for logistic regression", Electron. J. Stat. 4, 384-414).
    """
    shares = torch.bincount(problem.y, minlength=problem.rows)[-problem.rows :].double() / len(problem.y)
    settled = coefficients.clone()
    for _ in range(_NEWTON_STEPS):
        expected, hessian = _bias_moments(problem, settled)
        step = torch.linalg.pinv(hessian, rtol=1e-10, hermitian=True) @ (shares - expected)
        settled[:, -1] += step / max(1.0, 2 * float(step.abs().max()))
        if float(step @ (shares - expected)) < _SETTLED:
            break
    return settled


def _bias_moments(problem: _Problem, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean probabilities [rows] and the Hessian by the bias [rows, rows], both float64."""
    expected = torch.zeros_like(coefficients[:, -1])
    pairs = torch.zeros(problem.rows, problem.rows, dtype=torch.float64, device=problem.X.device)
    for block in torch.split(problem.X, _BLOCK):
        chances = _logits(block, coefficients, torch.float64).softmax(dim=1)[:, -problem.rows :]
        expected += chances.sum(dim=0) / len(problem.X)
        pairs += chances.T @ chances / len(problem.X)
    return expected, torch.diag(expected) - pairs


def _head(problem: _Problem, l2: float, coefficients: Tensor, iterations: int, tolerance: float) -> Head:
    stored = coefficients.float()
    objective, norm = _certify(problem.X, problem.y, stored, l2)
    converged = norm**2 <= 2 * l2 * tolerance * objective
    values = stored.cpu().numpy()
    return Head(values[:, :-1].copy(), values[:, -1].copy(), l2, Certificate(norm, objective, iterations, converged))


def _certify(X: Tensor, y: Tensor, coefficients: Tensor, l2: float) -> tuple[float, float]:
    coefficients = coefficients.double()
    weight = coefficients[:, :-1]
    loss, gradient = _cross_entropy(X, y, coefficients, torch.float64)
    gradient[:, :-1] += l2 * weight
    return loss + 0.5 * l2 * float(weight.square().sum()), float(torch.linalg.vector_norm(gradient))


def _cross_entropy(X: Tensor, y: Tensor, coefficients: Tensor, precision: torch.dtype) -> tuple[float, Tensor]:
    """Return the mean cross-entropy and its gradient, float64 [rows, D + 1], with products in `precision`."""
    loss = torch.zeros((), dtype=torch.float64, device=X.device)
    gradient = torch.zeros_like(coefficients)
    for block, labels in zip(torch.split(X, _BLOCK), torch.split(y, _BLOCK), strict=True):
        logits = _logits(block, coefficients, precision)
        log_total = logits.logsumexp(dim=1, keepdim=True)
        loss += (log_total - logits.gather(1, labels[:, None])).sum()
        residual = (logits - log_total).exp()
        residual.scatter_add_(1, labels[:, None], -torch.ones_like(log_total))
        residual = residual[:, -len(coefficients) :]
        gradient[:, :-1] += residual.to(precision).T @ block.to(precision)
        gradient[:, -1] += residual.sum(dim=0)
    return float(loss) / len(X), gradient / len(X)


def _logits(block: Tensor, coefficients: Tensor, precision: torch.dtype) -> Tensor:
    """Return float64 [n, K], of a product in `precision`; class 0's column is 0 where there is one logit."""
    logits = (block.to(precision) @ coefficients[:, :-1].to(precision).T).double() + coefficients[:, -1]
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if len(coefficients) == 1 else logits
