"""The l2-regularised logistic regression path: every l2 of a grid.

The objective is scikit-learn's, by the mean: cross-entropy / N + l2 / 2 * ||W||^2 with l2 = 1 / (C N) and a free bias;
two classes are one logit. The solver is in ``newton.py``; what makes it fast is in ``preconditioner.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from probeline.heads.checks import check_features, check_l2s, check_labelled
from probeline.heads.linear import Certificate, Head
from probeline.heads.logistic.cross_entropy import Rows, evaluate_exactly, resident_rows
from probeline.heads.logistic.memory import FEW, MANY, MEMORY, turns_rows
from probeline.heads.logistic.newton import Solution, minimise, penalised
from probeline.heads.logistic.preconditioner import SPREAD, STRONG, Preconditioner
from probeline.heads.tensors import resident
from probeline.heads.threads import SMALL_PRODUCT, few_threads, hessian_operations
from probeline.types import AnyArray, FloatArray, IntArray

TOLERANCE = 1e-6
"""By how much the objective may exceed its minimum, relative to itself plus 0.01 nats."""

MAX_ITERATIONS = 1000

_EARLY = 3.0
"""Least l2, in mean eigenvalues of the features' covariance, for which starts from zero are as good as extrapolated
ones, where a product with the Hessian is a large one."""

_WINDOW = 2
"""Weaker values of l2 that are solved at once: the fewer, the nearer the next ones start to their solutions."""

_STRIDE = 10**1.5
"""Largest factor between successive l2 below the strong ones; a larger one is split."""

ROUGH = 1e-3
"""Tolerance at intermediate values."""

_BATCH = 1 << 30
"""Bytes that a batch of heads may take: four arrays of logits in float32, and some ten of coefficients in float64."""

_IMPROBABLE = 40.0
"""Logits by which a class without rows is below the lowest bias: its probability is at most 4e-18."""

_CURVE = 4
"""Solutions that a start is extrapolated from; through three of them, a path took 242 products instead of 218."""

_CLOSE = 10.0
"""Largest factor between their l2, beyond which a cubic is worse than a parabola."""

KNOWN = 8
"""Most recent solutions kept for extrapolation: some may be too close to each other."""

_SPACING = 0.01
"""Least difference of their log l2."""


def fit_path(
    X: FloatArray,
    y: IntArray,
    classes: int,
    l2s: Sequence[float],
    *,
    weights: FloatArray | None = None,
    device: str | torch.device = "cpu",
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> list[Head]:
    """Fit one head per l2: the strong ones all at once, then the weaker ones from an extrapolation of the path so far.

    Logits of more than 32 classes take at most ``MEMORY`` bytes (``memory.py``, which computes the peak of a fit).

    Parameters
    ----------
    X : float32 [N, D]
        Standardised features.
    y : int64 [N]
        Classes in [0, classes). A class without rows becomes improbable; of more than 256 classes it has no weights,
        and a bias that is 40 below the lowest, if three or more have rows.
    classes : int
        K, at least 2.
    l2s : sequence of float
        Positive, in any order.
    weights : float32 [N], optional
        Row weights, not negative; only their proportions matter.
    device : str or torch.device
        Where the products run; the CPU instead of MPS, which has no float64.
    tolerance : float
        A head has converged if its objective exceeds its minimum by no more than `tolerance` times itself plus 0.01
        nats (see ``newton.py`` for how that is estimated).
    max_iterations : int
        Most products with the Hessian per l2; a head that used them up is returned with ``converged=False``.

    Returns
    -------
    list of Head
        In the order of `l2s`.

    Raises
    ------
    ValueError
        An array or an l2 is not as described.
    """
    fitted = walk_path(
        X, y, classes, l2s, weights=weights, device=device, tolerance=tolerance, max_iterations=max_iterations
    )
    return in_order(fitted, l2s)


def walk_path(
    X: FloatArray,
    y: IntArray,
    classes: int,
    l2s: Sequence[float],
    *,
    weights: FloatArray | None = None,
    device: str | torch.device = "cpu",
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Iterator[list[Head]]:
    """Yield the heads of :func:`fit_path` from the strongest l2 to the weakest, each window as soon as it is solved.

    A head does not depend on weaker ones: whoever stops here has the same heads as if all had been solved.

    Parameters
    ----------
    X, y, classes, l2s, weights, device, tolerance, max_iterations
        As for :func:`fit_path`.

    Raises
    ------
    ValueError
        An array or an l2 is not as described.
    """
    check_labelled(X, y, classes)
    if X.dtype != np.float32:
        raise ValueError(f"features must be float32, not {X.dtype}")
    home = "cpu" if torch.device(device).type == "mps" else device
    relative = _relative(weights, len(y), home)
    present = np.unique(y if weights is None else y[weights > 0])
    if classes > MANY and 2 < len(present) < classes:
        # Its bias has no optimum but minus infinity, which steps in float32 pursue.
        numbers = np.searchsorted(present, y).clip(max=len(present) - 1)
        among = walk_path(
            X,
            numbers,
            len(present),
            l2s,
            weights=weights,
            device=device,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )
        for window in among:
            yield [_with_absent(head, present, classes) for head in window]
        return
    rows = resident_rows(resident(X, home), resident(y, home), 1 if classes == 2 else classes, relative)
    yield from _walk_rows(rows, l2s, tolerance, max_iterations)


def fit_path_from(
    X: FloatArray,
    y: IntArray,
    offset: FloatArray,
    l2s: Sequence[float],
    *,
    weights: FloatArray | None = None,
    device: str | torch.device = "cpu",
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> list[Head]:
    """Fit what a linear map adds to given logits: one head per l2 as :func:`fit_path`, the logits being their sum.

    The penalty is l2 / 2 * ||W||^2 of what is added. If the given logits are those of a map W0 on the same features,
    that is l2 / 2 * ||W' - W0||^2 of the sum W'.

    Parameters
    ----------
    offset : float32 [N, K]
        The given logits of each row. Each of the K classes has a row.
    X, y, l2s, weights, device, tolerance, max_iterations
        As for :func:`fit_path`.

    Raises
    ------
    ValueError
        An array or an l2 is not as described.
    """
    classes = offset.shape[-1]
    check_labelled(X, y, classes)
    check_features(offset)
    if X.dtype != np.float32 or offset.dtype != np.float32 or len(offset) != len(y):
        raise ValueError(f"features and logits must be float32 of one length, not {X.dtype}, {offset.dtype}")
    if len(np.unique(y)) < classes:
        raise ValueError(f"each of {classes} classes must have a row")
    home = "cpu" if torch.device(device).type == "mps" else device
    given = offset[:, 1:] - offset[:, :1] if classes == 2 else offset
    rows = resident_rows(
        resident(X, home),
        resident(y, home),
        given.shape[1],
        _relative(weights, len(y), home),
        resident(np.ascontiguousarray(given.T), home),
    )
    return in_order(_walk_rows(rows, l2s, tolerance, max_iterations), l2s)


def in_order(walk: Iterable[Sequence[Head]], l2s: Sequence[float]) -> list[Head]:
    """Return the heads of all windows in the order of their `l2s`."""
    heads = {head.l2: head for window in walk for head in window}
    return [heads[l2] for l2 in l2s]


def _walk_rows(rows: Rows, l2s: Sequence[float], tolerance: float, max_iterations: int) -> Iterator[list[Head]]:
    """Yield the heads of each window, fitted on rows in memory."""
    count, columns = len(rows), rows.columns
    threads = partial(few_threads, hessian_operations(count, columns, rows.logits * len(l2s)))
    within, span = rows, None
    if columns > count:
        # No solution has a part that is orthogonal to all rows: few rows are a problem with as few columns.
        (features,) = rows.blocks()
        with threads():
            span, triangle = torch.linalg.qr(features.double().T)
        within = resident_rows(triangle.T.float().contiguous(), rows.y, rows.logits, rows.weights, rows.offset)
    solving = solve_path(
        within,
        l2s,
        tolerance=tolerance,
        max_iterations=max_iterations,
        is_turned=rows.logits > MANY and turns_rows(count, columns),
        memory=MEMORY,
    )
    while True:
        with threads():  # while it is solved, not while its heads are in use elsewhere
            window = next(solving, None)
            if window is not None and span is not None:
                window = _spanning(window, span, rows)
        if window is None:
            return
        yield window


def solve_path(
    rows: Rows,
    l2s: Sequence[float],
    *,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    is_turned: bool = False,
    memory: int = MEMORY,
) -> Iterator[list[Head]]:
    """Yield what :func:`walk_path` does, for rows that need not be in memory.

    With `is_turned`, they are copied into the eigenbasis of their covariance. That pays if there are many classes: a
    product of coefficients with the eigenvectors costs K D^2 for each step, one of the rows N D^2 once; and it takes as
    much memory as they do. Logits of more than 32 classes take at most `memory` bytes; if they need more, they are
    computed again, block by block, at each product with the Hessian, which then costs half as much again.
    """
    l2s = check_l2s(l2s)
    preconditioner = Preconditioner(rows, memory=memory)
    turned, scale = preconditioner.turned() if is_turned else None, preconditioner.scale
    if turned is not None:
        preconditioner = turned.preconditioner
    solved: dict[float, Tensor] = {}
    nothing = torch.zeros(rows.logits, rows.columns + 1, dtype=torch.float64, device=rows.y.device)
    is_large = hessian_operations(len(rows), rows.columns, rows.logits) > SMALL_PRODUCT
    strong = (_EARLY if is_large and rows.logits <= FEW else STRONG) * scale
    for window in windows(sorted(set(l2s), reverse=True), strong, most_at_once(rows, rows.logits)):
        l2 = torch.tensor(window, dtype=torch.float64, device=rows.y.device)
        requested = window[0] in l2s
        solution = minimise(
            rows,
            l2,
            torch.stack([extrapolate(solved, value, nothing) for value in window]),
            preconditioner,
            turned,
            tolerance=tolerance if requested else ROUGH,
            max_products=max_iterations,
            memory=memory,
        )
        solved = dict([*solved.items(), *zip(window, solution.coefficients, strict=True)][-KNOWN:])
        if requested:
            yield _heads(window, solution)


def _with_absent(head: Head, present: IntArray, classes: int) -> Head:
    """Return a head on some of the classes, their numbers ascending, as one on all of them."""
    weight = np.zeros((classes, head.weight.shape[1]), np.float32)
    bias = np.full(classes, head.bias.min() - _IMPROBABLE, np.float32)
    weight[present], bias[present] = head.weight, head.bias
    return replace(head, weight=weight, bias=bias)


def _spanning(heads: Sequence[Head], span: Tensor, rows: Rows) -> list[Head]:
    """Return heads on the coordinates of `rows` along `span`, float64 [D, N], as heads on the rows themselves."""
    within = torch.from_numpy(np.stack([head.weight for head in heads])).to(span)
    weights = (within @ span.T).float()
    biases = torch.from_numpy(np.stack([head.bias for head in heads])).to(weights)
    certificates = _certify(rows, weights, biases, [head.l2 for head in heads])
    return [
        replace(
            head,
            weight=weight,
            certificate=replace(head.certificate, objective=objective, gradient_norm=norm),
        )
        for head, weight, objective, norm in zip(heads, weights.cpu().numpy(), *certificates, strict=True)
    ]


def _heads(l2s: Sequence[float], solution: Solution) -> list[Head]:
    values = solution.coefficients.float().cpu().numpy()
    facts = (solution.gradient_norm, solution.objective, solution.products, solution.converged)
    certificates = map(Certificate, *(fact.tolist() for fact in facts))
    return [
        Head(value[:, :-1].copy(), value[:, -1].copy(), l2, certificate)
        for l2, value, certificate in zip(l2s, values, certificates, strict=True)
    ]


def most_at_once(rows: Rows, logits: int) -> int:
    """Return how many values of l2 may be solved at once if each has so many logits."""
    return max(1, _BATCH // (logits * (4 * 4 * len(rows) + 10 * 8 * (rows.columns + 1))))


def windows(l2s: list[float], strong: float, most: int) -> Iterator[list[float]]:
    """Yield the values to solve at once, in descending order, with others between them if they are too far apart.

    These are at most `most`, and at most two of those below `strong`.
    """
    count = sum(l2 >= strong for l2 in l2s)
    for start in range(0, count, most):
        yield l2s[start : min(start + most, count)]
    last = min(strong, l2s[count - 1]) if count else strong
    while count < len(l2s):
        window = [l2 for l2 in l2s[count : count + min(_WINDOW, most)] if l2 * SPREAD >= l2s[count]]
        strides = math.ceil(math.log(last / window[0]) / math.log(_STRIDE))
        for stride in range(1, strides):
            yield [last * (window[0] / last) ** (stride / strides)]
        yield window
        last = window[-1]
        count += len(window)


def _relative(weights: AnyArray | None, count: int, device: str | torch.device) -> Tensor | None:
    """Return weights float32 [N] of mean 1."""
    if weights is None:
        return None
    total = weights.sum(dtype=np.float64)
    if weights.shape != (count,) or not np.isfinite(total) or weights.min() < 0 or not total > 0:
        raise ValueError(f"weights must be [{count}], finite, not negative, and not all 0, not {list(weights.shape)}")
    return resident((weights * (count / total)).astype(np.float32), device)


def certify(
    X: AnyArray, y: IntArray, weight: FloatArray, bias: FloatArray, l2: float, *, weights: AnyArray | None = None
) -> tuple[float, float]:
    """Return a head's objective and the Euclidean norm of its gradient, in float64; `weights` [N] are the rows'."""
    rows = resident_rows(resident(X), resident(y), len(weight), _relative(weights, len(y), "cpu"))
    objectives, norms = _certify(rows, torch.from_numpy(weight)[None], torch.from_numpy(bias)[None], [l2])
    return objectives[0], norms[0]


def _certify(rows: Rows, weight: Tensor, bias: Tensor, l2s: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return objectives and the norms of their gradients for weights float32 [H, K, D] and biases [H, K]."""
    at = torch.cat([weight, bias[..., None]], dim=2).double()
    objectives, gradients = penalised(*evaluate_exactly(rows, at), at, at.new_tensor(l2s))
    return objectives.tolist(), torch.linalg.vector_norm(gradients, dim=(1, 2)).tolist()


def extrapolate(solved: dict[float, Tensor], l2: float, nothing: Tensor) -> Tensor:
    """Return the value at `l2` of the curve over log l2 through the last solutions; `nothing` if there is none.

    That is a cubic through four within a decade, else a parabola through three. It goes no further ahead than these are
    apart, where a curve would be unreliable.
    """
    known: list[float] = []
    for earlier in reversed(solved):
        if len(known) < _CURVE and not any(abs(math.log(earlier / other)) < _SPACING for other in known):
            known.insert(0, earlier)
    if len(known) == _CURVE and known[0] > _CLOSE * known[-1]:
        known.pop(0)
    if not known:
        return nothing
    if known[-1] <= l2 or len(known) < 3:
        return solved[known[-1]]
    at = [math.log(earlier) for earlier in known]
    target = max(math.log(l2), 2 * at[-1] - at[0])
    parts = [
        math.prod((target - other) / (here - other) for other in at if other != here) * solved[earlier]
        for here, earlier in zip(at, known, strict=True)
    ]
    return torch.stack(parts).sum(dim=0)
