"""Heads at some coefficients, with logits that are kept where memory allows, and else computed again block by block.

A product with the Hessian needs each row's probabilities. Kept, they take float32 [H, K, N], and so do the logits and
their change along a ray: three arrays that last, and some more for a moment. Of many classes and rows these exceed the
features. Then a product is three passes over a block instead of two: its logits, their change, and the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from probeline.heads.logistic.cross_entropy import (
    Evaluation,
    Rows,
    change_of,
    evaluate,
    evaluate_exactly,
    hessian_product,
    logits_of,
    optimise_bias,
    settle_bias,
    slope,
    variances,
)
from probeline.heads.logistic.memory import FEW, block_rows, keeps_logits

_STEP = 2048
"""Rows whose p (1 - p) is summed at once."""

_PIECE = 1 << 28
"""Bytes of logits in a piece of the rows that a class's curvature is measured on."""


@dataclass(frozen=True)
class Point:
    """Loss [H] and gradient [H, K, D + 1], float64, at coefficients `at`; `steepness` [H] is the mean p (1 - p)."""

    rows: Rows
    at: Tensor
    loss: Tensor
    gradient: Tensor
    steepness: Tensor
    kept: Evaluation | None
    memory: int

    def select(self, heads: Tensor) -> Point:
        """Return the point of some heads, by a mask or their indices."""
        kept = None if self.kept is None else self.kept.select(heads)
        of = (self.at, self.loss, self.gradient, self.steepness)
        at, loss, gradient, steepness = (each[heads] for each in of)
        return replace(self, at=at, loss=loss, gradient=gradient, steepness=steepness, kept=kept)

    def on(self, rows: Rows, at: Tensor) -> Point:
        """Return the same point for turned rows, whose coefficients are `at`."""
        return replace(self, rows=rows, at=at)

    def product(self, direction: Tensor) -> Tensor:
        """Return each head's Hessian of the loss times its direction, in the type of the direction."""
        if self.kept is not None:
            return hessian_product(self.rows, self.kept.probabilities, direction)
        product = torch.zeros_like(direction)
        for share, part, logits in _parts(self.rows, self.at, self.memory):
            product += hessian_product(part, _probabilities(logits), direction).mul_(share)
        return product

    def pieces(self, head: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield pieces of the rows with their probabilities [K, n] of one head."""
        size = 1 << 62 if self.kept is not None else block_rows(self.rows.logits, 1, self.memory)
        for piece, block in self.rows.pieces(min(size, block_rows(self.rows.logits, 1, _PIECE))):
            if self.kept is not None:
                yield piece, block.float(), self.kept.probabilities[head, :, piece]
            else:
                part = self.rows.part(piece, block)
                yield piece, block.float(), _probabilities(logits_of(part, self.at[head : head + 1]))[0]

    def probabilities(self, head: int) -> Tensor:
        """Return the probabilities [K, N] of one head, in new memory if those of all are not kept."""
        if self.kept is not None:
            return self.kept.probabilities[head]
        return evaluate(self.rows, logits_of(self.rows, self.at[head : head + 1])).probabilities[0]

    def ray(self, direction: Tensor) -> Ray:
        """Return the way from here along a direction."""
        change = None if self.kept is None else change_of(self.rows, direction)
        return Ray(self, direction, change)


@dataclass(frozen=True)
class Ray:
    """Directions [H, K, D + 1] from a point, with the change of its logits where those are kept."""

    point: Point
    direction: Tensor
    change: Tensor | None

    def slope(self, length: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first and second derivative [H] of the loss at so many directions from the point."""
        rows, kept = self.point.rows, self.point.kept
        if kept is not None and self.change is not None:
            return slope(rows, kept.logits, self.change, length)
        first, second = torch.zeros_like(length), torch.zeros_like(length)
        for share, part, logits in _parts(rows, self.point.at, self.point.memory):
            steps = slope(part, logits, change_of(part, self.direction), length)
            first += share * steps[0]
            second += share * steps[1]
        return first, second

    def end(self, length: Tensor) -> Tensor | None:
        """Return the logits there, in the memory of the point's own; None if they are not kept."""
        if self.point.kept is None or self.change is None:
            return None
        return self.point.kept.logits.add_(self.change.mul_(length.float()[:, None, None]))


@dataclass(frozen=True)
class ClassLosses:
    """The mean cross-entropies of heads on the same rows, as the solver asks for them; all have the same classes."""

    rows: Rows
    memory: int

    @property
    def direction_type(self) -> torch.dtype:
        # Of many classes the vectors exceed the processor's caches, and so few digits of a direction matter.
        return torch.float32 if self.rows.logits > FEW else torch.float64

    def on(self, rows: Rows) -> ClassLosses:
        return replace(self, rows=rows)

    def look(self, at: Tensor, logits: Tensor | None, *_: Tensor) -> Point:
        return look(self.rows, at, self.memory, logits)

    def with_optimal_bias(self, at: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return with_optimal_bias(self.rows, at, self.memory)

    def evaluate_exactly(self, at: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return evaluate_exactly(self.rows, at)


def look(rows: Rows, at: Tensor, memory: int, logits: Tensor | None = None) -> Point:
    """Return the point at these coefficients, by products in float32; `logits` are the ones there if known."""
    if logits is None and len(at) > 1 and torch.equal(at[:1].expand_as(at), at):  # as the first heads, which start at 0
        same = look(rows, at[:1], memory // len(at))
        return replace(same.select(at.new_zeros(len(at), dtype=torch.int64)), memory=memory)
    if keeps_logits(len(rows), rows.logits, len(at), memory):
        kept = evaluate(rows, logits_of(rows, at) if logits is None else logits)
        steepness = _steepness(rows, kept.probabilities)
        return Point(rows, at, kept.loss, kept.gradient, steepness, kept, memory)
    loss, gradient = torch.zeros_like(at[:, 0, 0]), torch.zeros_like(at)
    steepness = torch.zeros_like(loss)
    for share, part, there in _parts(rows, at, memory):
        found = evaluate(part, there)
        loss += share * found.loss
        gradient += share * found.gradient
        steepness += share * _steepness(part, found.probabilities)
    return Point(rows, at, loss, gradient, steepness, None, memory)


def with_optimal_bias(rows: Rows, at: Tensor, memory: int) -> tuple[Tensor, Tensor]:
    """Return the nearest float32 coefficients with the bias at its optimum, and the remaining excess [H] in nats.

    The bound on the gap requires that optimum, as the bias is not penalised.
    """
    at = at.float().double()
    remaining = []
    for head, logits in zip(at, _logits(rows, at, memory), strict=True):
        if logits is not None:
            bias, saved = optimise_bias(rows, logits, head[:, -1])
        else:
            bias, saved = settle_bias(rows, partial(_head_logits, rows, head[None].clone(), memory), head[:, -1])
        head[:, -1] = bias.float().double()
        remaining.append(saved)
    return at, at.new_tensor(remaining)


def _head_logits(rows: Rows, at: Tensor, memory: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield pieces of the rows with their logits [K, n] of one head, float64 [1, K, D + 1]."""
    for piece, block in rows.pieces(block_rows(rows.logits, 1, memory)):
        yield piece, logits_of(rows.part(piece, block), at)[0]


def _logits(rows: Rows, at: Tensor, memory: int) -> Iterator[Tensor | None]:
    """Yield each head's logits [K, N], or None if they are not kept."""
    if keeps_logits(len(rows), rows.logits, len(at), memory):
        yield from logits_of(rows, at)
    else:
        yield from [None] * len(at)


def _parts(rows: Rows, at: Tensor, memory: int) -> Iterator[tuple[float, Rows, Tensor]]:
    """Yield the rows in parts whose logits fit in memory, each with its share of the rows."""
    for piece, block in rows.pieces(block_rows(rows.logits, len(at), memory)):
        part = rows.part(piece, block)
        yield len(part) / len(rows), part, logits_of(part, at)


def _probabilities(logits: Tensor) -> Tensor:
    """Return probabilities [H, K, n] of more than two classes."""
    return logits.softmax(dim=1)


def _steepness(rows: Rows, probabilities: Tensor) -> Tensor:
    if rows.logits <= FEW:
        return variances(rows, probabilities).mean(dim=(1, 2)).double()
    steepness = torch.zeros(len(probabilities), dtype=torch.float64, device=probabilities.device)
    for start in range(0, len(rows), _STEP):
        piece = slice(start, start + _STEP)
        spread = probabilities[:, :, piece] - probabilities[:, :, piece].square()
        if rows.weights is not None:
            spread *= rows.weights[piece]
        steepness += spread.sum(dim=(1, 2))
    return steepness / (rows.logits * len(rows))
