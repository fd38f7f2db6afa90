"""The mean cross-entropies of several labels on the same rows, each on the rows where it is known.

A head is a logistic regression of one label, so that a batch may have any labels at any l2. All of them share each pass
over X. A row counts with its margin, the logit of the wrong answer: its loss is log(1 + e^margin), and its residual
that of the wrong answer's probability, which for a certain row is not drowned by rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import softplus

from probeline.heads.logistic.cross_entropy import Rows

_BIAS_TOLERANCE = 1e-9
"""Nats that the last Newton step of a bias may promise to save; what remains is about its square."""

_BIAS_STEPS = 200
"""Most Newton steps of a bias: each moves it by at most 1, and rare labels need many."""

_TINY = 1e-30
"""Least curvature that a step of a bias divides by: that of a label that is certain everywhere."""


@dataclass(frozen=True)
class LabelLosses:
    """The losses of H heads; `rows` are the features, whose own labels are not read.

    Attributes
    ----------
    rows : Rows
    signs : float32 [L, N]
        By which a logit is multiplied for its margin: -1 where the image has the label, else 1.
    weights : float32 [L, N], optional
        0 where a label is unknown, and otherwise so that a label's are 1 on average; None if all are 1.
    label : int64 [H]
        Which label each head is of.
    """

    rows: Rows
    signs: Tensor
    weights: Tensor | None
    label: Tensor

    @property
    def direction_type(self) -> torch.dtype:
        return torch.float64

    def on(self, rows: Rows) -> Self:
        return replace(self, rows=rows)

    def _of(self, heads: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the signs and weights [h, N] of some heads."""
        label = self.label[heads]
        return self.signs[label], None if self.weights is None else self.weights[label]

    def look(self, at: Tensor, logits: Tensor | None, heads: Tensor) -> LabelPoint:
        """Return the point at coefficients [h, 1, D + 1]; `logits` are the margins [h, N] there if known."""
        signs, weights = self._of(heads)
        margins = _change(self.rows, at).mul_(signs) if logits is None else logits
        wrong = margins.sigmoid()
        curvature = torch.addcmul(wrong, wrong, wrong, value=-1)
        losses, residual = softplus(margins), wrong.mul_(signs)
        if weights is not None:
            for values in (losses, residual, curvature):
                values *= weights
        count = len(self.rows)
        loss = losses.sum(dim=1, dtype=torch.float64) / count
        gradient = _by_coefficient(self.rows, residual, torch.zeros_like(at)).div_(count)
        steepness = curvature.sum(dim=1, dtype=torch.float64) / count
        return LabelPoint(self.rows, signs, weights, loss, gradient, steepness, margins, curvature)

    def with_optimal_bias(self, at: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest float32 coefficients with the bias at its optimum, and the remaining excess [h] in nats.

        Newton's method; a step of at most 1 is sure to descend (Bach 2010, "Self-concordant analysis for logistic
        regression", Electron. J. Stat. 4, 384-414).
        """
        at = at.float().double()
        signs, weights = self._of(heads)
        margins, moved = _change(self.rows, at).mul_(signs), at.new_zeros(len(at))
        saved = moved
        for _ in range(_BIAS_STEPS):
            wrong = torch.addcmul(margins, signs, moved.float()[:, None]).sigmoid_()
            residual, curvature = wrong * signs, wrong - wrong.square()
            if weights is not None:
                residual, curvature = residual.mul_(weights), curvature.mul_(weights)
            slope = residual.sum(dim=1, dtype=torch.float64) / len(self.rows)
            bend = curvature.sum(dim=1, dtype=torch.float64) / len(self.rows)
            step = slope / bend.clamp_min(_TINY)
            saved = step * slope
            moved = moved - step.clamp(-1, 1)
            if bool((saved < _BIAS_TOLERANCE).all()):
                break
        at[:, 0, -1] = (at[:, 0, -1] + moved).float().double()
        return at, saved

    def evaluate_exactly(self, at: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss [h] and gradient [h, 1, D + 1] in float64 throughout."""
        signs, weights = self._of(heads)
        loss, gradient = torch.zeros_like(at[:, 0, 0]), torch.zeros_like(at)
        flat = at[:, 0]
        for piece, block in self.rows.pieces():
            wide, sign = block.double(), signs[:, piece]
            margins = torch.addmm(flat[:, -1:], flat[:, :-1], wide.T).mul_(sign)
            losses, residual = softplus(margins, threshold=700), margins.sigmoid().mul_(sign)
            if weights is not None:
                losses *= weights[:, piece]
                residual *= weights[:, piece]
            loss += losses.sum(dim=1)
            gradient[:, 0, :-1] += residual @ wide
            gradient[:, 0, -1] += residual.sum(dim=1)
        # float32 weights have a mean of nearly 1
        total = at.new_tensor(len(self.rows)) if weights is None else weights.sum(dim=1, dtype=torch.float64)
        return loss / total, gradient / total[..., None, None]


@dataclass(frozen=True)
class LabelPoint:
    """Heads at some coefficients: their losses [H], gradients [H, 1, D + 1] and mean p (1 - p) [H], all float64.

    `margins` and `curvature`, the rows' weighted p (1 - p), are float32 [H, N].
    """

    rows: Rows
    signs: Tensor
    weights: Tensor | None
    loss: Tensor
    gradient: Tensor
    steepness: Tensor
    margins: Tensor
    curvature: Tensor

    def select(self, heads: Tensor) -> LabelPoint:
        """Return the point of some heads, by a mask."""
        weights = None if self.weights is None else self.weights[heads]
        of = (self.signs, self.loss, self.gradient, self.steepness, self.margins, self.curvature)
        signs, loss, gradient, steepness, margins, curvature = (each[heads] for each in of)
        return LabelPoint(self.rows, signs, weights, loss, gradient, steepness, margins, curvature)

    def on(self, *_: Rows | Tensor) -> LabelPoint:
        """Return the same point for turned rows: nothing that even curvature needs depends on them."""
        return self

    def product(self, direction: Tensor) -> Tensor:
        """Return each head's Hessian of the loss times its direction [H, 1, D + 1], by products in float32."""
        product = torch.zeros_like(direction)
        for piece, change in _changes(self.rows, direction):
            change.mul_(self.curvature[:, piece[0]])
            _add(product, change, piece[1])
        return product.div_(len(self.rows))

    def ray(self, direction: Tensor) -> LabelRay:
        """Return the way from here along a direction."""
        return LabelRay(self, _change(self.rows, direction).mul_(self.signs))


@dataclass(frozen=True)
class LabelRay:
    """The change of the margins [H, N] along a direction from a point."""

    point: LabelPoint
    change: Tensor

    def slope(self, length: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first and second derivative [H] of the loss at so many directions from the point."""
        point, change, count = self.point, self.change, len(self.point.rows)
        wrong = torch.addcmul(point.margins, length.float()[:, None], change).sigmoid_()
        if point.weights is None:
            first = wrong * change
            second = first.mul(change).mul_(1 - wrong)
        else:
            first = wrong * change * point.weights
            second = first.mul(change).mul_(1 - wrong)
        return first.sum(dim=1, dtype=torch.float64) / count, second.sum(dim=1, dtype=torch.float64) / count

    def end(self, length: Tensor) -> Tensor:
        """Return the margins there, in the memory of the point's own."""
        return self.point.margins.addcmul_(self.change, length.float()[:, None])


def _changes(rows: Rows, coefficients: Tensor) -> Iterator[tuple[tuple[slice, Tensor], Tensor]]:
    """Yield pieces of the rows, with X float32 [n, D], and the logits [H, n] of coefficients [H, 1, D + 1] on them."""
    flat = coefficients[:, 0].float()
    weight, bias = flat[:, :-1].contiguous(), flat[:, -1:]
    for piece, block in rows.pieces():
        wide = block.float()
        yield (piece, wide), torch.addmm(bias, weight, wide.T)


def _change(rows: Rows, coefficients: Tensor) -> Tensor:
    """Return the logits float32 [H, N]."""
    logits = torch.empty(len(coefficients), len(rows), device=coefficients.device)
    for (piece, _), change in _changes(rows, coefficients):
        logits[:, piece] = change
    return logits


def _by_coefficient(rows: Rows, change: Tensor, total: Tensor) -> Tensor:
    """Return changes of the logits [H, N] times the rows, and their sum for the bias, in `total` [H, 1, D + 1]."""
    for piece, block in rows.pieces():
        _add(total, change[:, piece], block.float())
    return total


def _add(total: Tensor, change: Tensor, block: Tensor) -> None:
    total[:, 0, :-1] += change @ block
    total[:, 0, -1] += change.sum(dim=1)
