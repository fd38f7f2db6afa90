"""The curvature of many classes, in memory that is linear in their number: a centre, a scale and a few rows for each.

The curvature of class k is the sum of s_i x_i x_i^T / N with s_i = p_ik (1 - p_ik): a covariance around the class's own
centre, the mean of x by s, and the bias. The rows in doubt about a class lie near it, so that centres differ more than
covariances do: one spectrum, in the eigenbasis of all rows, serves all classes, times the mean s of each. Relative to
its own centre a class's bias is independent of its weights, and the approximation is diagonal.

The few rows with the largest s of a class have more weight than the many others, above all where a class has few rows.
What their s exceeds that of the next one is added exactly, by the identity of Sherman, Morrison and Woodbury (Golub
and Van Loan 2013, "Matrix Computations", section 2.1.4). A renewal costs two products with the Hessian or less.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from probeline.heads.logistic.cross_entropy import Rows, variances
from probeline.heads.logistic.memory import leading_rows

_SAMPLE = 16
"""Rows per column from which the spectrum is estimated: each value is then right to a third or so."""

_LEAST_SPECTRUM = 1e-2
"""Least value of the spectrum, relative to that of all rows."""

_LEAST_SCALE = 1e-4
"""Least mean p (1 - p) of a class, relative to the mean class."""

_ROUNDING = 1e-6
"""Relative ridge of the leading rows' matrix, for the rounding of its float32 products."""

Pieces = Iterable[tuple[slice, Tensor, Tensor]]
"""The rows in order: a slice, X float32 [n, D] and probabilities float32 [K, n]."""


class ClassCurvature:
    """Each class's curvature at some probabilities, and its inverse at an l2."""

    def __init__(self, rows: Rows, pieces: Pieces, spectrum: Tensor, basis: Tensor | None) -> None:
        """Measure it in one pass over the pieces, and one over the rows without products.

        `spectrum`, float64 [D], are the eigenvalues of the covariance of X, `basis`, float32 [D, D], its eigenvectors;
        None for the axes themselves.
        """
        self._basis = basis
        count, classes, columns = len(rows), rows.logits, rows.columns
        most = leading_rows(count, columns, classes)
        mass = torch.zeros(classes, dtype=torch.float64, device=rows.y.device)
        first = torch.zeros(classes, columns, dtype=torch.float64, device=rows.y.device)
        square, sampled = torch.zeros_like(spectrum), 0.0
        every = max(1, count // (_SAMPLE * columns))
        top = torch.full((classes, most + 1), -1.0, device=rows.y.device)
        places = torch.zeros(classes, most + 1, dtype=torch.int64, device=rows.y.device)
        for piece, block, probabilities in pieces:
            spread = variances(rows.part(piece, block), probabilities)
            mass += spread.sum(dim=1)
            first += spread @ block
            top, places = _merge(top, places, spread, piece.start)
            chosen = slice(-piece.start % every, None, every)
            doubt = spread[:, chosen].sum(dim=0)
            square += doubt @ self._turn(block[chosen]).square()
            sampled += float(doubt.sum())
        tiny = torch.finfo(torch.float64).tiny
        square *= mass.sum() / max(sampled, tiny)
        # What the leading rows exceed the next one by is taken out of the rest, and added to it by itself.
        excess = (top[:, :-1] - top[:, -1:]).clamp_min(0)
        leading = _gather(rows, places[:, :-1])
        mass -= excess.sum(dim=1)
        first -= torch.bmm(excess[:, None], leading)[:, 0]
        leading = self._turn(leading)
        square -= excess.flatten() @ leading.flatten(0, 1).square()
        mass.clamp_min_(float(mass.mean().clamp_min(tiny)) * _LEAST_SCALE)
        centre = self._turn((first / mass[:, None]).float())
        square -= (mass[:, None] * centre.square()).sum(dim=0)
        self._spectrum = torch.maximum(square / mass.sum(), _LEAST_SPECTRUM * spectrum).float()
        self._scale = (mass / count).float()
        self._centre = centre
        leading -= centre[:, None]
        weight = (excess / count).sqrt_()[..., None]
        self._leading = torch.cat([leading.mul_(weight), weight], dim=2)
        self._even = self._correction = leading.new_empty(0)

    def aim(self, l2: float) -> None:
        """Prepare the inverse at this l2."""
        weights = self._scale[:, None] * self._spectrum + l2
        self._even = torch.cat([weights, self._scale[:, None]], dim=1).reciprocal_()
        solved = self._leading * self._even[:, None]
        core = torch.bmm(self._leading, solved.transpose(1, 2)).double()
        core.diagonal(dim1=1, dim2=2).mul_(1 + _ROUNDING * core.shape[1]).add_(1)
        factor, failed = torch.linalg.cholesky_ex(core)
        correction = torch.linalg.solve_triangular(factor.float(), solved, upper=False)
        # Weights of many magnitudes leave rounding alone: the rows of such a class do not count one by one.
        self._correction = correction.masked_fill_((failed > 0)[:, None, None], 0)

    def solve(self, residual: Tensor) -> Tensor:
        """Return the inverse times a residual, float32 [H, K, D + 1]."""
        by_bias = residual[..., -1:]
        along = torch.cat([self._turn(residual[..., :-1]) - by_bias * self._centre, by_bias], dim=2)
        moved = along * self._even
        if self._correction.shape[1]:
            share = torch.bmm(self._correction, along.permute(1, 2, 0))
            moved -= torch.bmm(self._correction.transpose(1, 2), share).permute(2, 0, 1)
        weight, bias = moved[..., :-1], moved[..., -1:]
        bias = bias - (weight * self._centre).sum(dim=2, keepdim=True)
        return torch.cat([weight if self._basis is None else weight @ self._basis.T, bias], dim=2)

    def _turn(self, X: Tensor) -> Tensor:
        return X if self._basis is None else X @ self._basis


def _merge(top: Tensor, places: Tensor, spread: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """Return the largest values [K, m] of each class so far and their rows, with a piece [K, n] from row `start` on."""
    values, rows = spread.topk(min(top.shape[1], spread.shape[1]), dim=1)
    values, order = torch.cat([top, values], dim=1).topk(top.shape[1], dim=1)
    return values, torch.cat([places, rows + start], dim=1).gather(1, order)


def _gather(rows: Rows, places: Tensor) -> Tensor:
    """Return the rows float32 [K, m, D] at these places [K, m]."""
    found = torch.empty(places.numel(), rows.columns, device=places.device)
    places = places.flatten()
    for piece, block in rows.pieces(len(rows)):
        inside = (places >= piece.start) & (places < piece.start + len(block))
        found[inside] = block[places[inside] - piece.start].float()
    return found.view(rows.logits, -1 if len(places) else 0, rows.columns)
