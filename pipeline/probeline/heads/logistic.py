"""The l2-regularised logistic regression path: every l2 of a grid, each from where the path so far leads.

The objective is scikit-learn's, by the mean: cross-entropy / N + l2 / 2 * ||W||^2 with l2 = 1 / (C N) and a free bias;
two classes are one logit. The solver is in ``newton.py``; what makes it fast is in ``preconditioner.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probeline.heads.checks import check_labelled
from probeline.heads.cross_entropy import Rows, logits_of, look
from probeline.heads.linear import Certificate, Head
from probeline.heads.newton import minimise, penalised
from probeline.heads.preconditioner import Preconditioner
from probeline.heads.tensors import resident

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

TOLERANCE = 1e-4
"""By how much the objective may exceed its minimum, as a part of itself."""

MAX_ITERATIONS = 1000


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
        Products with the Hessian for each l2; a head that used them up is returned with ``converged=False``.

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
    rows = Rows(resident(X, home), resident(y, home), 1 if classes == 2 else classes)
    preconditioner = Preconditioner(rows)
    path = [(math.inf, torch.zeros(rows.logits, X.shape[1] + 1, dtype=torch.float64, device=home))]
    heads: dict[float, Head] = {}
    for l2 in sorted(set(l2s), reverse=True):
        found = minimise(rows, l2, _lead_on(path, l2), preconditioner, tolerance=tolerance, max_products=max_iterations)
        path = [path[-1], (l2, found.coefficients)]
        converged = found.gradient_norm**2 <= 2 * l2 * tolerance * found.objective
        certificate = Certificate(found.gradient_norm, found.objective, found.products, converged)
        values = found.coefficients.float().cpu().numpy()
        heads[l2] = Head(values[:, :-1].copy(), values[:, -1].copy(), l2, certificate)
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
    rows = Rows(resident(X), resident(y), len(weight))
    at = torch.from_numpy(np.column_stack([weight, bias])).double()
    place = look(rows, logits_of(rows, at, torch.float64), torch.float64)
    objective, gradient = penalised(place, at, l2)
    return objective, float(torch.linalg.vector_norm(gradient))


def _lead_on(path: list[tuple[float, Tensor]], l2: float) -> Tensor:
    """Return where the line through the last two solutions, drawn over log l2, meets `l2`."""
    (l2_before, before), (l2_last, last) = path[0], path[-1]
    if math.isinf(l2_before):
        return last
    pace = math.log(l2_last / l2) / math.log(l2_before / l2_last)
    return last + min(pace, 1) * (last - before)
