"""The mean cross-entropy of many linear heads over the same rows, and its derivatives, in blocks of rows.

Every function takes a batch of H heads and reads X once: their weights are concatenated in one product. The
coefficients are float64 [H, K, D + 1], the bias last; K = 1 for two classes, whose first one has the logit 0. Logits
and probabilities are float32 [H, K, N]. Products with X run in a precision of the caller's choice, their results are
summed over the blocks in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_BLOCK = 2048
"""Rows of a product: at 1,280 columns 10 MB, which may still be cached when the block is used again."""

_BIAS_TOLERANCE = 1e-9
"""Nats that the last Newton step of the bias may promise to save; what remains is about its square."""

_BIAS_STEPS = 200
"""Most Newton steps of the bias: each moves a logit by at most 1, and rare classes need many."""

_MANY = 256
"""Classes above which no matrix of the products of two classes is made."""

_BIAS_PRODUCTS = 200
"""Most products with the curvature in a Newton step of many classes' biases."""

_BIAS_PRECISION = 1e-8
"""Share of the power of a slope that such a step may leave: it is right to a part in 10,000."""

_NO_CURVATURE = 1e-12
"""Least curvature, relative to the largest class."""

_BIAS_BLOCK = 1 << 24
"""Probabilities in memory at once while the bias is optimised."""


@dataclass(frozen=True)
class Rows:
    """Labelled rows, which need not all be in memory; y is int64 [N], `columns` D.

    `blocks` yields all rows of X in order, as float32 [n, D] on the device of y. `logits` is K, or 1 for two classes.
    `weights`, float32 [N], are 1 on average; None if all are 1. `offset`, float32 [K, N], is added to the logits of any
    coefficients; None if it is 0.
    """

    blocks: Callable[[], Iterator[Tensor]]
    columns: int
    y: Tensor
    logits: int
    weights: Tensor | None = None
    offset: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    def pieces(self, size: int = _BLOCK) -> Iterator[tuple[slice, Tensor]]:
        """Yield X in pieces of at most `size` rows, each with its slice of the rows."""
        start = 0
        for block in self.blocks():
            for piece in torch.split(block, size):
                yield slice(start, start + len(piece)), piece
                start += len(piece)

    def part(self, piece: slice, block: Tensor) -> Rows:
        """Return the rows of a piece as rows of their own, in memory; their weights need not be 1 on average."""
        weights = None if self.weights is None else self.weights[piece]
        offset = None if self.offset is None else self.offset[:, piece]
        return replace(self, blocks=lambda: iter((block,)), y=self.y[piece], weights=weights, offset=offset)


def resident_rows(
    X: Tensor, y: Tensor, logits: int, weights: Tensor | None = None, offset: Tensor | None = None
) -> Rows:
    """Return the rows of an X in memory, float32 or float64 [N, D]."""
    return Rows(lambda: iter((X,)), X.shape[1], y, logits, weights, offset)


@dataclass(frozen=True)
class Evaluation:
    """Loss float64 [H] in nats and its gradient float64 [H, K, D + 1], with logits and probabilities [H, K, N]."""

    logits: Tensor
    probabilities: Tensor
    loss: Tensor
    gradient: Tensor

    def select(self, heads: Tensor) -> Evaluation:
        """Return the evaluation of some heads, by a mask or their indices."""
        return Evaluation(self.logits[heads], self.probabilities[heads], self.loss[heads], self.gradient[heads])


def logits_of(rows: Rows, coefficients: Tensor) -> Tensor:
    """Return logits float32 [H, K, N]."""
    logits = change_of(rows, coefficients)
    return logits if rows.offset is None else logits.add_(rows.offset)


def change_of(rows: Rows, coefficients: Tensor) -> Tensor:
    """Return by how much logits change with these coefficients, float32 [H, K, N]."""
    heads, classes, _ = coefficients.shape
    logits = torch.empty(heads, classes, len(rows), device=coefficients.device)
    weight, bias = _wide(coefficients, torch.float32)
    for piece, block in rows.pieces():
        logits[:, :, piece] = torch.addmm(bias, weight, block.float().T).view(heads, classes, -1)
    return logits


def evaluate(rows: Rows, logits: Tensor) -> Evaluation:
    """Return loss and gradient at these logits, by products in float32."""
    probabilities = torch.empty_like(logits)
    pieces = ((piece, block.float(), logits[:, :, piece]) for piece, block in rows.pieces())
    return Evaluation(logits, probabilities, *_loss_and_gradient(rows, len(logits), pieces, probabilities))


def evaluate_exactly(rows: Rows, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Return loss [H] and gradient [H, K, D + 1] in float64 throughout."""
    heads, classes, _ = coefficients.shape
    weight, bias = _wide(coefficients, torch.float64)
    wide = ((piece, block.double()) for piece, block in rows.pieces())

    def logits_of_piece(piece: slice, X: Tensor) -> Tensor:
        logits = torch.addmm(bias, weight, X.T).view(heads, classes, -1)
        return logits if rows.offset is None else logits.add_(rows.offset[:, piece])

    pieces = ((piece, X, logits_of_piece(piece, X)) for piece, X in wide)
    return _loss_and_gradient(rows, heads, pieces)


def hessian_product(rows: Rows, probabilities: Tensor, direction: Tensor) -> Tensor:
    """Return each head's Hessian of the loss times its direction [H, K, D + 1], by products in float32.

    The result has the type of the direction, in which the blocks are summed.
    """
    product = torch.zeros_like(direction)
    weight, bias = _wide(direction, torch.float32)
    for piece, block in rows.pieces():
        wide = block.float()
        piece_probabilities = probabilities[:, :, piece]
        change = torch.addmm(bias, weight, wide.T).view(piece_probabilities.shape)
        change *= piece_probabilities
        change -= piece_probabilities * change.sum(dim=1, keepdim=True)
        if rows.weights is not None:
            change *= rows.weights[piece]
        _add_product(product, change, wide)
    return product.div_(len(rows))


def variances(rows: Rows, probabilities: Tensor) -> Tensor:
    """Return p (1 - p) times the rows' weights, [..., N]."""
    spread = probabilities * (1 - probabilities)
    if rows.weights is not None:
        spread *= rows.weights
    return spread


def slope(rows: Rows, logits: Tensor, change: Tensor, length: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the first and second derivative [H] of the loss along a change of the logits [H, K, N].

    With `length` [H], they are those at so many changes from the logits.
    """
    first = torch.zeros(len(logits), dtype=torch.float64, device=logits.device)
    second = torch.zeros_like(first)
    for start in range(0, len(rows), _BLOCK):
        piece = slice(start, start + _BLOCK)
        here = logits[:, :, piece]
        if length is not None:
            here = here + length.to(here.dtype)[:, None, None] * change[:, :, piece]
        moved = _with_zero(change[:, :, piece])
        # Relative to the true class: what all classes share would drown the contribution of a certain row.
        moved = moved - moved.gather(1, rows.y[piece].expand(len(moved), 1, -1))
        weighted = _log_probabilities(here).exp_() * moved
        mean = weighted.sum(dim=1)
        steps = torch.stack([mean, (weighted * moved).sum(dim=1) - mean.square()])
        if rows.weights is not None:
            steps *= rows.weights[piece]
        along = steps.sum(dim=2, dtype=torch.float64)
        first += along[0]
        second += along[1]
    return first / len(rows), second / len(rows)


def optimise_bias(rows: Rows, logits: Tensor, bias: Tensor) -> tuple[Tensor, float]:
    """Return the bias [K], float64, of one head that minimises the loss, given the weights of these logits [K, N].

    Newton's method; a step that moves no two logits apart by more than 1 is sure to descend (Bach 2010,
    "Self-concordant analysis for logistic regression", Electron. J. Stat. 4, 384-414). Also returned is an upper bound
    of the remaining excess of the loss, in nats: what the last step promised to save.
    """
    if rows.logits > _MANY:
        return _optimise_many(rows, logits, bias)
    size = max(1, _BIAS_BLOCK // max(2, rows.logits))
    pieces = [slice(start, start + size) for start in range(0, len(rows), size)]
    return settle_bias(rows, lambda: ((piece, logits[:, piece]) for piece in pieces), bias)


def settle_bias(rows: Rows, pieces: Callable[[], Iterable[tuple[slice, Tensor]]], bias: Tensor) -> tuple[Tensor, float]:
    """Return what :func:`optimise_bias` does, from logits [K, n] of pieces of the rows, and matrices [K, K]."""
    count, classes = len(rows), max(2, rows.logits)
    weights = torch.ones(count, device=bias.device) if rows.weights is None else rows.weights
    settled, saved = bias.clone(), math.inf
    for _ in range(_BIAS_STEPS):
        slopes, together = bias.new_zeros(classes), bias.new_zeros(classes, classes)
        moved = (settled - bias).float()[:, None]
        for piece, logits in pieces():
            probabilities = _log_probabilities((logits + moved)[None])[0].exp_()
            together += (probabilities * weights[piece]) @ probabilities.T
            # The sum of the other classes, not 1 - p, which for a certain row is rounding alone.
            labels = rows.y[piece]
            wrong = probabilities.scatter_(0, labels[None], 0) * weights[piece]
            slopes -= wrong.sum(dim=1, dtype=torch.float64)
            slopes += torch.bincount(labels, wrong.sum(dim=0, dtype=torch.float64), minlength=classes)
        step, saved = _bias_step(slopes / count, together / count)
        settled += step[-rows.logits :]
        if saved < _BIAS_TOLERANCE:
            break
    return settled, saved


def _optimise_many(rows: Rows, logits: Tensor, bias: Tensor) -> tuple[Tensor, float]:
    """Return what :func:`optimise_bias` does for many classes: without a matrix of the products of two classes.

    Each Newton step is solved for by conjugate gradients, whose products with the curvature cost no more than one of
    the probabilities with a vector. A row counts relative to its true class: what all classes share would drown the
    contribution of a certain row.
    """
    settled, saved = bias.clone(), math.inf
    for _ in range(_BIAS_STEPS):
        curvature = _BiasCurvature(rows, logits + (settled - bias).float()[:, None])
        step = curvature.solve(curvature.slopes)
        saved = float(step @ curvature.slopes)
        settled += step / max(1.0, 2 * float(step.abs().max()))
        if saved < _BIAS_TOLERANCE:
            break
    return settled, saved


class _BiasCurvature:
    """The loss's second derivative along the biases of all classes, at logits [K, N]; `slopes` [K] is minus the first.

    The slopes are the share of each class less its mean probability, and sum to 0.
    """

    def __init__(self, rows: Rows, logits: Tensor) -> None:
        self._labels, self._count = rows.y, len(rows)
        self._weights = rows.weights
        # The sum of the other classes, not 1 - p, which for a certain row is rounding alone.
        self._others = logits.log_softmax(dim=0).exp_().scatter_(0, rows.y[None], 0)
        self._wrong = self._others.sum(dim=0, dtype=torch.float64)
        self._mass = self._weighted(self._others).sum(dim=1, dtype=torch.float64)
        self.slopes = (self._by_label(self._wrong) - self._mass) / self._count
        squares: Tensor = torch.linalg.vecdot(self._weighted(self._others), self._others, dim=1).double()
        own = self._by_label(self._wrong * (1 - self._wrong))
        self._diagonal = ((self._mass - squares).clamp_min(0) + own) / self._count
        self._ridge = _NO_CURVATURE * self._diagonal.max().clamp_min(torch.finfo(torch.float64).tiny)
        self._diagonal += self._ridge

    def _by_label(self, values: Tensor) -> Tensor:
        """Return the weighted sum of values [N] over the rows of each class, float64 [K]."""
        return torch.bincount(self._labels, self._weighted(values), minlength=len(self._others))

    def _weighted(self, values: Tensor) -> Tensor:
        """Return values [..., N] times the rows' weights."""
        return values if self._weights is None else values * self._weights

    def product(self, along: Tensor) -> Tensor:
        """Return the curvature times a direction, float64 [K]."""
        of_label = along[self._labels]
        mean = (self._others.T @ along.float()).double() - self._wrong * of_label
        rest = self._others @ self._weighted(of_label + mean).float()
        own = self._by_label((1 - self._wrong) * mean)
        return (self._mass * along - rest.double() - own) / self._count + self._ridge * along

    def solve(self, residual: Tensor) -> Tensor:
        """Return the direction [K] of sum 0 whose product is nearly `residual`, by conjugate gradients."""
        direction = torch.zeros_like(residual)
        search = solved = residual / self._diagonal
        power = first = float(residual @ solved)
        for _ in range(_BIAS_PRODUCTS):
            if not power > _BIAS_PRECISION * first:
                break
            product = self.product(search)
            curvature = float(search @ product)
            if not curvature > 0:  # rounding
                break
            direction += power / curvature * search
            residual = residual - power / curvature * product
            solved = residual / self._diagonal
            power, past = float(residual @ solved), power
            search = solved + power / past * search
        return direction - direction.mean()


def _bias_step(slopes: Tensor, together: Tensor) -> tuple[Tensor, float]:
    """Return the next step of all classes' biases [C], none by more than 1/2, and what a whole one would save.

    `slopes`, float64 [C], are the share of each class less its mean probability, and sum to 0; `together`, float64
    [C, C], are the mean products of two classes' probabilities.
    """
    # The curvature's rows sum to 0, which gives p (1 - p) without subtracting nearly equal numbers.
    curvature = -together
    curvature.fill_diagonal_(0)
    curvature -= torch.diag(curvature.sum(dim=1))
    # Moving all classes by the same amount changes nothing: with a curvature added that part of the step stays 0.
    scale = curvature.diagonal().max().clamp_min(torch.finfo(curvature.dtype).tiny)
    curvature += scale / len(slopes) + torch.diag(torch.full_like(slopes, _NO_CURVATURE * float(scale)))
    step = torch.linalg.solve(curvature, slopes)
    saved = float(step @ slopes)
    if len(slopes) == 2:
        step = step - step[0]
    return step / max(1.0, 2 * float(step.abs().max())), saved


def _loss_and_gradient(
    rows: Rows, heads: int, pieces: Iterable[tuple[slice, Tensor, Tensor]], probabilities: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return loss [H] and gradient [H, K, D + 1], float64, from pieces of X with their logits [H, K, n].

    The probabilities, float32 [H, K, N], are filled in if they are given.
    """
    loss = torch.zeros(heads, dtype=torch.float64, device=rows.y.device)
    gradient = torch.zeros(heads, rows.logits, rows.columns + 1, dtype=torch.float64, device=rows.y.device)
    for piece, block, logits in pieces:
        labels = rows.y[piece].expand(heads, 1, -1)
        weights = None if rows.weights is None else rows.weights[piece].to(logits.dtype)
        log_probabilities = _log_probabilities(logits)
        losses = log_probabilities.gather(1, labels)
        loss -= (losses if weights is None else losses * weights).sum(dim=(1, 2), dtype=torch.float64)
        residual = log_probabilities.exp_()
        if probabilities is not None:
            probabilities[:, :, piece] = residual[:, -rows.logits :]
        # Minus the sum of the other classes, not p - 1, which for a certain row is rounding alone.
        residual.scatter_(1, labels, 0)
        residual.scatter_(1, labels, -residual.sum(dim=1, keepdim=True))
        residual = residual[:, -rows.logits :]
        _add_product(gradient, residual if weights is None else residual * weights, block)
    return loss / len(rows), gradient / len(rows)


def _add_product(product: Tensor, change: Tensor, block: Tensor) -> None:
    """Add a change of the logits [H, K, n] times the rows [n, D], and its sum for the bias, to [H, K, D + 1]."""
    heads, classes, count = change.shape
    flat = change.reshape(heads * classes, count)
    product[..., :-1] += (flat @ block).view(heads, classes, -1)
    product[..., -1] += flat.sum(dim=1).view(heads, classes)


def _wide(coefficients: Tensor, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the weights [H * K, D] and the biases [H * K, 1] of all heads, for one product."""
    flat = coefficients.reshape(-1, coefficients.shape[2]).to(precision)
    return flat[:, :-1].contiguous(), flat[:, -1:]


def _log_probabilities(logits: Tensor) -> Tensor:
    return _with_zero(logits).log_softmax(dim=1)


def _with_zero(logits: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits
