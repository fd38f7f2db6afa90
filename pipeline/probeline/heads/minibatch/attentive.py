"""Attentive probes: learned queries pool the tokens of a frozen net, a linear layer classifies what they pooled.

The default is efficient probing (Psomas et al. 2025, "Attention, please! Revisiting attentive probing for masked image
modeling"): M queries attend to the tokens as they are, without a projection of keys, and each pools a group of
the channels of the values. With ``keys="projected"`` keys are projected, and one query with several heads is the
cross-attention of V-JEPA's attentive probe (Bardes et al. 2024, "Revisiting Feature Prediction for Learning Visual
Representations from Video"), without its output projection, residual and MLP. docs/design/attentive.md says what
differs from both.

For tokens x_t in R^D, t = 1..T, standardised by channel; query m with H heads, whose channel groups have D / H channels
each; and D' pooled channels in M x H groups:

    a_mht = softmax over t of  q_mh . k_th / sqrt(D / H)      k_t = x_t, or K x_t; q_mh, k_th: their h-th channel groups
    z     = concatenation over m, h of  V_mh sum_t a_mht x_t  V_mh: [D' / (M H), D], the (m, h)-th rows of V
    logits = W LayerNorm(z) + b

Tokens are pooled before they are projected, which is the same by linearity: M H products of length D for each token
instead of D'. Likewise a projection of keys is applied to the queries: q . (K x) = (K^T q) . x.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from probeline.heads.minibatch.tokens import LabelledTokens, Standardizer, TokenRows, epoch_order, rows_at_once
from probeline.heads.minibatch.training import (
    ORDER,
    WEIGHTS,
    TrainedHead,
    TrainingSettings,
    check_lengths,
    factors,
    fuses,
    linear,
    stream,
    weights_on,
)
from probeline.heads.standardize import Scaler
from probeline.types import FloatArray

Keys = Literal["tokens", "projected"]

_FIRST_QUERY = 0.02
"""Standard deviation of the first queries: attention begins as good as even."""


@dataclass(frozen=True, eq=False)
class AttentiveSettings(TrainingSettings):
    """How one head of `queries` with `heads` each is trained, by AdamW.

    `dim` is D', 0 for the largest number up to D that the heads of all queries divide. Projections and the linear layer
    decay; queries, biases and the norm do not.
    """

    queries: int = 8
    heads: int = 1
    dim: int = 0
    keys: Keys = "tokens"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1 or self.heads < 1 or self.dim < 0 or self.keys not in get_args(Keys):
            raise ValueError(
                f"no training with queries {self.queries}, heads {self.heads}, dim {self.dim}, {self.keys}"
            )


def pooled_dim(settings: AttentiveSettings, channels: int) -> int:
    """Return D' of a head on tokens of D channels.

    Raises
    ------
    ValueError
        The heads do not divide D, or those of all queries D'.
    """
    groups = settings.queries * settings.heads
    dim = settings.dim or max(groups, channels // groups * groups)
    if channels % settings.heads:
        raise ValueError(f"{settings.heads} heads do not divide the {channels} channels of the tokens")
    if dim % groups:
        raise ValueError(f"{settings.queries} queries with {settings.heads} heads do not divide {dim} pooled channels")
    return dim


@dataclass(frozen=True)
class AttentiveHead(TrainedHead):
    """A head of M queries with H heads: weight float32 [K, D'] and bias [K] of its linear layer, and

    query float32 [M, D], value [D', D], key [D, D] or without a projection [0, D], norm_weight and norm_bias [D'].
    `scaler` has mean and std [D] of the tokens that it was fitted on.
    """

    query: FloatArray
    value: FloatArray
    key: FloatArray
    norm_weight: FloatArray
    norm_bias: FloatArray
    heads: int
    scaler: Scaler


class _Pooling:
    """The trained values of one head, as tensors."""

    def __init__(self, settings: AttentiveSettings, channels: int, classes: int, device: str | torch.device) -> None:
        generator = stream(settings.seed, WEIGHTS)
        dim, self.heads = pooled_dim(settings, channels), settings.heads
        query = torch.empty(settings.queries, channels).normal_(0, _FIRST_QUERY, generator=generator)
        value = linear(channels, dim, generator)[:, :-1]
        classifier = linear(dim, classes, generator)
        key = linear(channels, channels if settings.keys == "projected" else 0, generator)[:, :-1]
        first = (query, value, key, torch.ones(dim), torch.zeros(dim), classifier[:, :-1], classifier[:, -1])
        self.tensors = [tensor.to(device).contiguous().requires_grad_() for tensor in first]
        query, value, key, norm_weight, norm_bias, weight, bias = self.tensors
        decaying, others = [value, key, weight], [query, norm_weight, norm_bias, bias]
        self.stepper = torch.optim.AdamW(
            [
                {"params": [tensor for tensor in decaying if tensor.numel()], "weight_decay": settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings.lr,
            fused=fuses(torch.device(device)),
        )
        self.loss_sum, self.right = torch.zeros((), device=device), torch.zeros((), device=device)

    def logits(self, x: Tensor) -> Tensor:
        """Return logits [n, K] of standardised tokens [n, T, D]."""
        return attend(x, self.tensors, self.heads)

    def arrays(self) -> list[FloatArray]:
        """Return the values as arrays."""
        return [tensor.detach().cpu().numpy() for tensor in self.tensors]

    def size(self) -> float:
        """Return the sum of the absolute values."""
        return sum(float(tensor.detach().abs().sum()) for tensor in self.tensors)


def attend(x: Tensor, tensors: Sequence[Tensor], heads: int) -> Tensor:
    """Return logits [n, K] of standardised tokens [n, T, D]; the tensors are in the order of `AttentiveHead`'s fields.

    That is query, value, key, norm_weight, norm_bias, weight, bias.
    """
    query, value, key, norm_weight, norm_bias, weight, bias = tensors
    queries, channels = query.shape
    width = channels // heads
    # The h-th head of a query sees the h-th group of channels: of the tokens, or of their projection.
    groups = query.view(queries, heads, width)
    if len(key):
        asked = torch.einsum("mhw,hwd->mhd", groups, key.view(heads, width, channels))
    else:
        eye = torch.eye(heads, dtype=x.dtype, device=x.device)
        asked = torch.einsum("mhw,hg->mhgw", groups, eye).reshape(queries, heads, channels)
    asked = asked.reshape(queries * heads, channels) / math.sqrt(width)
    attention = torch.softmax(asked @ x.transpose(1, 2), dim=-1)
    gathered = attention @ x
    pooled = torch.einsum("ngd,gpd->ngp", gathered, value.view(queries * heads, -1, channels)).flatten(1)
    return functional.linear(functional.layer_norm(pooled, pooled.shape[1:], norm_weight, norm_bias), weight, bias)


def fit_attentive(
    train: LabelledTokens,
    classes: int,
    settings: Sequence[AttentiveSettings],
    *,
    scaler: Scaler,
    epochs: int,
    batch_size: int,
    validation: LabelledTokens | None = None,
    device: str | torch.device = "cpu",
) -> list[AttentiveHead]:
    """Train a head for each setting on the cross-entropy with AdamW, the rate falling along half a cosine.

    All heads are trained side by side, so that each minibatch is read once; they must have one seed and the same row
    weights. A minibatch is converted to float32 in chunks whose gradients are summed, so that memory is bounded by the
    chunk and by what the reader keeps. Deterministic on a CPU by the seed; the global random state stays as it is. The
    last epoch's values are returned, never those of the best epoch on validation. A head that diverges does not affect
    the others.

    Parameters
    ----------
    train : LabelledTokens
        Not standardised; `scaler` does that.
    validation : LabelledTokens, optional
        Read after each epoch, for the history alone.

    Raises
    ------
    ValueError
        Labels that do not fit, settings of several seeds, or heads that do not divide the channels.
    """
    check_lengths(epochs, batch_size)
    train.check(classes)
    if validation is not None:
        validation.check(classes)
    tokens = train.tokens
    rows, _, channels = tokens.shape
    if len({setting.seed for setting in settings}) != 1:
        raise ValueError("heads of several seeds do not read the same minibatches")
    heads = [_Pooling(setting, channels, classes, device) for setting in settings]
    standardize, labels = Standardizer(scaler, device), torch.from_numpy(train.y.copy())
    row_weights = weights_on(device, settings[0].row_weights, rows)
    batches = math.ceil(rows / batch_size)
    cosine = factors("cosine", epochs * batches)
    order, step = stream(settings[0].seed, ORDER), rows_at_once(tokens)
    history: list[list[dict[str, Any]]] = [[] for _ in settings]
    diverged: list[int | None] = [None] * len(settings)
    for epoch in range(epochs):
        started = time.perf_counter()
        for head in heads:
            head.loss_sum.zero_()
            head.right.zero_()
        shuffled = epoch_order(tokens, order)
        for number in range(batches):
            batch = shuffled[number * batch_size : (number + 1) * batch_size]
            for head in heads:
                head.stepper.zero_grad()
            for start in range(0, len(batch), step):
                chunk = batch[start : start + step]
                x, target = standardize(tokens.read(chunk)), labels[chunk].to(device)
                weights = None if row_weights is None else row_weights[torch.from_numpy(chunk).to(device)]
                for head in heads:
                    _add_gradient(head, x, target, weights, len(batch))
            for head, setting in zip(heads, settings, strict=True):
                for group in head.stepper.param_groups:
                    group["lr"] = setting.lr * cosine[epoch * batches + number]
                head.stepper.step()
        measured = [
            {"train_loss": float(head.loss_sum) / rows, "train_top1": float(head.right) / rows} for head in heads
        ]
        if validation is not None:
            on_val = _evaluate(heads, standardize, validation)
            measured = [{**own, **others} for own, others in zip(measured, on_val, strict=True)]
        seconds = time.perf_counter() - started
        for index, (head, own) in enumerate(zip(heads, measured, strict=True)):
            if diverged[index] is None and not math.isfinite(own["train_loss"] + head.size()):
                diverged[index] = epoch + 1
            elif diverged[index] is None:
                history[index].append({"epoch": epoch + 1, **own, "seconds": seconds})
        if None not in diverged:
            break
    return [
        _as_head(head, tuple(past), when, scaler) for head, past, when in zip(heads, history, diverged, strict=True)
    ]


def _add_gradient(head: _Pooling, x: Tensor, target: Tensor, weights: Tensor | None, rows: int) -> None:
    """Add the gradient of the mean over a minibatch of so many rows for a chunk of it, its losses times `weights`."""
    logits = head.logits(x)
    losses = functional.cross_entropy(logits, target, reduction="none")
    loss = (losses if weights is None else losses * weights).sum()
    (loss / rows).backward()  # type: ignore[no-untyped-call]
    head.loss_sum += loss.detach()
    head.right += (logits.argmax(1) == target).sum()


@torch.no_grad()
def _evaluate(
    heads: Sequence[_Pooling], standardize: Standardizer, validation: LabelledTokens
) -> list[dict[str, float]]:
    tokens, y = validation.tokens, validation.y
    rows, step = len(y), rows_at_once(tokens)
    losses, right = [0.0] * len(heads), [0] * len(heads)
    for start in range(0, rows, step):
        chunk = np.arange(start, min(start + step, rows))
        x = standardize(tokens.read(chunk))
        target = torch.from_numpy(y[chunk]).to(x.device)
        for index, head in enumerate(heads):
            logits = head.logits(x)
            losses[index] += float(functional.cross_entropy(logits, target, reduction="sum"))
            right[index] += int((logits.argmax(1) == target).sum())
    return [{"val_loss": loss / rows, "val_top1": count / rows} for loss, count in zip(losses, right, strict=True)]


def _as_head(
    head: _Pooling, history: tuple[dict[str, Any], ...], diverged: int | None, scaler: Scaler
) -> AttentiveHead:
    query, value, key, norm_weight, norm_bias, weight, bias = head.arrays()
    return AttentiveHead(weight, bias, history, diverged, query, value, key, norm_weight, norm_bias, head.heads, scaler)


@torch.no_grad()
def attentive_decision(heads: Sequence[AttentiveHead], tokens: TokenRows) -> list[FloatArray]:
    """Return the logits float32 [N, K] of each head; every row is read once, and standardised as for the first head.

    All heads must have one scaler.
    """
    rows, step = tokens.shape[0], rows_at_once(tokens)
    if any(head.scaler is not heads[0].scaler for head in heads):
        raise ValueError("heads of several scalers do not read the same tokens")
    standardize = Standardizer(heads[0].scaler, "cpu")
    layers = [[torch.from_numpy(array.copy()) for array in _layers(head)] for head in heads]
    logits = [np.empty((rows, len(head.bias)), np.float32) for head in heads]
    for start in range(0, rows, step):
        chunk = np.arange(start, min(start + step, rows))
        x = standardize(tokens.read(chunk))
        for head, tensors, own in zip(heads, layers, logits, strict=True):
            own[chunk] = attend(x, tensors, head.heads).numpy()
    return logits


def _layers(head: AttentiveHead) -> tuple[FloatArray, ...]:
    return (head.query, head.value, head.key, head.norm_weight, head.norm_bias, head.weight, head.bias)
