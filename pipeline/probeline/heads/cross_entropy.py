"""The mean cross-entropy of a linear head over many rows, and its derivatives, in blocks of rows.

Coefficients are float64 [K, D + 1], the bias last; K = 1 for two classes, whose first one has the logit 0. Products
with X run in a precision of the caller's choice, their results are summed over the blocks in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK = 2048
"""Rows of a product: at 1,280 columns 10 MB, which may still be in a cache when the block is used again."""

_SETTLED = 1e-9
"""Nats that the last Newton step of the bias may promise to save; what it leaves is far less, by their square."""

_NEWTON_STEPS = 20


@dataclass(frozen=True)
class Rows:
    """Labelled rows.

    Attributes
    ----------
    X : float32 or float64 [N, D]
    y : int64 [N]
    logits : int
        K, or 1 for two classes.
    """

    X: Tensor
    y: Tensor
    logits: int


@dataclass(frozen=True)
class Place:
    """What there is to see at some coefficients.

    Attributes
    ----------
    logits : float64 [N, K]
    chances : float32 [N, K]
        Probability of each class that has a logit.
    loss : float
        Mean cross-entropy, nats.
    gradient : float64 [K, D + 1]
        Of the loss by the coefficients.
    """

    logits: Tensor
    chances: Tensor
    loss: float
    gradient: Tensor


def logits_of(rows: Rows, coefficients: Tensor, precision: torch.dtype) -> Tensor:
    """Return logits float64 [N, K] of coefficients [K, D + 1]."""
    weight = coefficients[:, :-1].to(precision).T
    return (
        torch.cat([(block.to(precision) @ weight).double() for block in torch.split(rows.X, _BLOCK)])
        + coefficients[:, -1]
    )


def look(rows: Rows, logits: Tensor, precision: torch.dtype) -> Place:
    """Return loss and gradient where the logits are these, float64 [N, K]."""
    loss = logits.new_zeros(())
    gradient = logits.new_zeros(rows.logits, rows.X.shape[1] + 1)
    chances = torch.empty_like(logits, dtype=torch.float32)
    for block, labels, some, said in zip(
        torch.split(rows.X, _BLOCK),
        torch.split(rows.y, _BLOCK),
        torch.split(chances, _BLOCK),
        torch.split(logits, _BLOCK),
        strict=True,
    ):
        log_chances = _log_chances(said)
        loss -= log_chances.gather(1, labels[:, None]).sum()
        residual = log_chances.exp_()
        some.copy_(residual[:, -rows.logits :])
        residual.scatter_add_(1, labels[:, None], -torch.ones_like(residual[:, :1]))
        residual = residual[:, -rows.logits :]
        gradient[:, :-1] += residual.to(precision).T @ block.to(precision)
        gradient[:, -1] += residual.sum(dim=0)
    return Place(logits, chances, float(loss) / len(logits), gradient / len(logits))


def curve(rows: Rows, chances: Tensor, direction: Tensor) -> Tensor:
    """Return the Hessian of the loss times a direction [K, D + 1], float64, of products in the precision of X."""
    product = torch.zeros_like(direction)
    weight, bias = direction[:, :-1].to(rows.X.dtype).T, direction[:, -1].to(rows.X.dtype)
    for block, likely in zip(torch.split(rows.X, _BLOCK), torch.split(chances, _BLOCK), strict=True):
        change = torch.addmm(bias, block, weight)
        change = likely * (change - (likely * change).sum(dim=1, keepdim=True))
        product[:, :-1] += change.T @ block
        product[:, -1] += change.sum(dim=0)
    return product / len(rows.X)


def slope(rows: Rows, logits: Tensor, change: Tensor) -> tuple[float, float]:
    """Return the first and second derivative of the loss along a change of the logits [N, K]."""
    first, second = logits.new_zeros(()), logits.new_zeros(())
    for likely, labels, moved in zip(
        _chances(rows, logits), torch.split(rows.y, _BLOCK), torch.split(change, _BLOCK), strict=True
    ):
        mean = (likely * moved).sum(dim=1)
        second += (likely * moved.square()).sum() - mean.square().sum()
        first += mean.sum() - _with_zero(moved).gather(1, labels[:, None]).sum()
    return float(first) / len(logits), float(second) / len(logits)


def settled_bias(rows: Rows, logits: Tensor, bias: Tensor) -> Tensor:
    """Return the bias [K], float64, that has the least loss beside the weights of these logits.

    Newton's method; a step that moves no two logits apart by more than 1 is sure to descend (Bach 2010,
    "Self-concordant analysis for logistic regression", Electron. J. Stat. 4, 384-414).
    """
    count = len(logits)
    shares = torch.bincount(rows.y, minlength=rows.logits)[-rows.logits :].double() / count
    settled = bias.clone()
    for _ in range(_NEWTON_STEPS):
        expected = torch.zeros_like(bias)
        pairs = bias.new_zeros(rows.logits, rows.logits)
        for likely in _chances(rows, logits + (settled - bias)):
            expected += likely.sum(dim=0) / count
            pairs += likely.T @ likely / count
        step = torch.linalg.pinv(torch.diag(expected) - pairs, rtol=1e-10, hermitian=True) @ (shares - expected)
        settled += step / max(1.0, 2 * float(step.abs().max()))
        if float(step @ (shares - expected)) < _SETTLED:
            break
    return settled


def _chances(rows: Rows, logits: Tensor) -> Iterator[Tensor]:
    for block in torch.split(logits, _BLOCK):
        yield _log_chances(block).exp_()[:, -rows.logits :]


def _log_chances(logits: Tensor) -> Tensor:
    return _with_zero(logits).log_softmax(dim=1)


def _with_zero(logits: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits
