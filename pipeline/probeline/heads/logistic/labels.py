"""Logistic regressions of several labels on the same rows, each label on the rows where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from probeline.heads.checks import check_features, check_l2s
from probeline.heads.linear import CERTAIN, Certificate
from probeline.heads.logistic.cross_entropy import Rows, resident_rows
from probeline.heads.logistic.label_losses import LabelLosses
from probeline.heads.logistic.label_preconditioner import LabelPreconditioner
from probeline.heads.logistic.newton import Solution, descend, penalised
from probeline.heads.logistic.path import (
    KNOWN,
    MAX_ITERATIONS,
    ROUGH,
    TOLERANCE,
    extrapolate,
    most_at_once,
    windows,
)
from probeline.heads.logistic.preconditioner import STRONG, Preconditioner
from probeline.heads.tensors import resident
from probeline.heads.threads import few_threads, hessian_operations
from probeline.types import AnyArray, BoolArray, FloatArray

_HEADS = 96
"""Heads of a product, beyond which more of them at once save nothing: the next values start nearer to their optimum."""


@dataclass(frozen=True)
class LabelHead:
    """A logistic regression for each label: weight float32 [L, D] and bias float32 [L], all with one l2.

    The certificate has the sum of the labels' objectives, and the norm of all their gradients together.
    """

    weight: FloatArray
    bias: FloatArray
    l2: float
    certificate: Certificate


def fit_label_path(
    X: FloatArray,
    Y: FloatArray,
    l2s: Sequence[float],
    *,
    device: str | torch.device = "cpu",
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> list[LabelHead]:
    """Fit one head per l2, in their order: all labels at once, from the strongest l2 to the weakest.

    Each label has the objective of :func:`probeline.heads.logistic.path.fit_path` on the rows where it is known, with
    its own steps of Newton's method; a label that has converged leaves the batch. Every product with X is of all labels
    that remain.

    Parameters
    ----------
    X : float32 [N, D]
        Standardised features.
    Y : float32 [N, L]
        0, 1, or NaN for unknown. A label whose known rows are all 0 or all 1, or that has none, has a weight of 0 and
        the bias -40 or +40, and no part in the certificate.
    l2s : sequence of float
        Positive, in any order.
    device : str or torch.device
        Where the products run; the CPU instead of MPS, which has no float64.
    tolerance : float
        A label has converged if its objective exceeds its minimum by no more than `tolerance` times itself plus 0.01
        nats (see ``newton.py`` for how that is estimated).
    max_iterations : int
        Most products with the Hessian per label and l2.

    Returns
    -------
    list of LabelHead

    Raises
    ------
    ValueError
        An array or an l2 is not as described.
    """
    check_features(X)
    l2s = check_l2s(l2s)
    if X.dtype != np.float32:
        raise ValueError(f"features must be float32, not {X.dtype}")
    known = _check_label_rows(Y, len(X))
    present, varies = (Y == 1).any(axis=0), (Y == 1).any(axis=0) & (Y == 0).any(axis=0)
    bias = np.where(present, CERTAIN, -CERTAIN).astype(np.float32)
    if not varies.any():
        nothing = Certificate(0.0, 0.0, 0, True)
        return [LabelHead(np.zeros((Y.shape[1], X.shape[1]), np.float32), bias.copy(), l2, nothing) for l2 in l2s]
    home = "cpu" if torch.device(device).type == "mps" else device
    with few_threads(hessian_operations(len(X), X.shape[1], int(varies.sum()) * len(l2s))):
        features = resident(X, home)
        rows = _features_alone(features)
        losses = _losses(rows, Y[:, varies], known[:, varies], home)
        span, within = None, losses
        if X.shape[1] > len(X):  # no solution has a part that is orthogonal to all rows
            span, triangle = torch.linalg.qr(features.double().T)
            within = losses.on(_features_alone(triangle.T.float().contiguous()))
        solutions = _solve_path(within, sorted(set(l2s), reverse=True), tolerance, max_iterations)
        fitted = {}
        for l2, solution in solutions.items():
            weight, own = np.zeros((Y.shape[1], X.shape[1]), np.float32), bias.copy()
            if span is not None:
                solution = _spanning(solution, span, losses, l2)
            coefficients = solution.coefficients[:, 0].float().cpu().numpy()
            weight[varies], own[varies] = coefficients[:, :-1], coefficients[:, -1]
            fitted[l2] = LabelHead(weight, own, l2, _together(solution))
    return [fitted[l2] for l2 in l2s]


def _check_label_rows(Y: AnyArray, count: int) -> BoolArray:
    """Return which labels are known [N, L]; ValueError unless the others are 0 or 1."""
    if Y.ndim != 2 or len(Y) != count or Y.dtype.kind != "f" or not Y.shape[1]:
        raise ValueError(f"labels must be floating point [{count}, L], not {Y.dtype} {list(Y.shape)}")
    known: BoolArray = ~np.isnan(Y)
    if not np.isin(Y[known], (0, 1)).all():
        raise ValueError("labels must be 0, 1, or NaN where unknown")
    return known


def _features_alone(X: Tensor) -> Rows:
    """Return rows whose labels are elsewhere."""
    return resident_rows(X, torch.zeros(len(X), dtype=torch.int64, device=X.device), 1)


def _losses(rows: Rows, Y: FloatArray, known: BoolArray, device: str | torch.device) -> LabelLosses:
    signs = resident(np.ascontiguousarray(np.where(Y == 1, -1, 1).T.astype(np.float32)), device)
    weights = None
    if not known.all():
        weights = resident(np.ascontiguousarray((known * (len(Y) / known.sum(axis=0))).T.astype(np.float32)), device)
    return LabelLosses(rows, signs, weights, torch.arange(Y.shape[1], device=signs.device))


def _solve_path(losses: LabelLosses, l2s: list[float], tolerance: float, most_products: int) -> dict[float, Solution]:
    """Return the solution of all labels at each l2; `l2s` descend."""
    rows, labels = losses.rows, len(losses.label)
    even = Preconditioner(rows, is_even=True)
    turned = even.turned()
    preconditioner = LabelPreconditioner(turned.preconditioner, turned.rows, labels)
    solved: dict[float, Tensor] = {}
    solutions: dict[float, Solution] = {}
    nothing = torch.zeros(labels, 1, rows.columns + 1, dtype=torch.float64, device=losses.signs.device)
    most = min(most_at_once(rows, labels), max(2, _HEADS // labels))
    for window in windows(l2s, STRONG * even.scale, most):
        requested = window[0] in l2s
        solution = descend(
            replace(losses, label=losses.label.repeat(len(window))),
            torch.tensor(window, dtype=torch.float64, device=nothing.device).repeat_interleave(labels),
            torch.cat([extrapolate(solved, l2, nothing) for l2 in window]),
            preconditioner,
            turned,
            tolerance if requested else ROUGH,
            most_products,
        )
        parts = dict(zip(window, _split(solution, labels), strict=True))
        solved = dict([*solved.items(), *((l2, part.coefficients) for l2, part in parts.items())][-KNOWN:])
        if requested:
            solutions |= parts
    return solutions


def _split(solution: Solution, labels: int) -> list[Solution]:
    """Return the solutions of each l2, of which all have so many labels."""
    parts = (torch.split(getattr(solution, field.name), labels) for field in fields(solution))
    return [Solution(*part) for part in zip(*parts, strict=True)]


def _spanning(solution: Solution, span: Tensor, losses: LabelLosses, l2: float) -> Solution:
    """Return a solution on the coordinates of rows along `span`, float64 [D, N], as one on the rows themselves."""
    within = solution.coefficients
    at = torch.cat([within[..., :-1] @ span.T, within[..., -1:]], dim=2).float().double()
    loss, slope = losses.evaluate_exactly(at, losses.label)
    objective, gradient = penalised(loss, slope, at, at.new_full((len(at),), l2))
    return replace(
        solution,
        coefficients=at,
        objective=objective,
        gradient_norm=torch.linalg.vector_norm(gradient, dim=(1, 2)),
    )


def _together(solution: Solution) -> Certificate:
    return Certificate(
        gradient_norm=float(torch.linalg.vector_norm(solution.gradient_norm)),
        objective=float(solution.objective.sum()),
        iterations=int(solution.products.max()),
        converged=bool(solution.converged.all()),
    )
