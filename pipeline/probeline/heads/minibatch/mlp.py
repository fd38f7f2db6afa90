"""A head with one hidden layer, trained in minibatches on cached features.

One head per call: unlike those of linear heads, its wide products already run at the processor's full rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from probeline.heads.checks import check_features
from probeline.heads.minibatch.training import (
    DROPOUT,
    ORDER,
    WEIGHTS,
    TrainedHead,
    TrainingSettings,
    check_lengths,
    factors,
    linear,
    load_rows,
    stream,
    weights_on,
)
from probeline.heads.tensors import resident
from probeline.types import FloatArray, IntArray

Activation = Literal["gelu", "relu"]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "relu": functional.relu}


@dataclass(frozen=True, eq=False)
class MlpSettings(TrainingSettings):
    """How one head of `width` hidden units is trained, by AdamW; weights decay, biases do not."""

    width: int = 512
    activation: Activation = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise ValueError(f"no training with width {self.width}")
        if self.activation not in _ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}, there are {', '.join(_ACTIVATIONS)}")


@dataclass(frozen=True)
class MlpHead(TrainedHead):
    """A head with a hidden layer of W units: weight float32 [W, D] and bias float32 [W]."""

    hidden_weight: FloatArray
    hidden_bias: FloatArray
    activation: Activation


def mlp_decision(head: MlpHead, X: FloatArray) -> FloatArray:
    """Return logits float32 [N, K] of features float32 [N, D], standardised as the head's fitting rows were."""
    check_features(X, columns=head.hidden_weight.shape[1])
    layers = [resident(array) for array in (head.hidden_weight, head.hidden_bias, head.weight, head.bias)]
    logits: FloatArray = _forward(resident(X.astype(np.float32, copy=False)), layers, head.activation).numpy()
    return logits


def fit_mlp(
    X: FloatArray,
    y: IntArray,
    classes: int,
    settings: MlpSettings,
    *,
    epochs: int,
    batch_size: int,
    validation: tuple[FloatArray, IntArray] | None = None,
    device: str | torch.device = "cpu",
) -> MlpHead:
    """Train a hidden layer and a linear one on the cross-entropy with AdamW, the rate falling along half a cosine.

    Deterministic on a CPU by the seed; the global random state stays as it is. The last epoch's weights are returned,
    never those of the best epoch on validation. Rows are read in the same order as by linear heads of that seed.
    """
    check_lengths(epochs, batch_size)
    (features, labels), monitored = load_rows(X, y, classes, validation, device)
    seed, dropout, activation = settings.seed, settings.dropout, settings.activation
    row_weights = weights_on(device, settings.row_weights, len(y))
    layers = _start(X.shape[1], settings.width, classes, seed, device)
    stepper = torch.optim.AdamW(
        [{"params": layers[::2], "weight_decay": settings.weight_decay}, {"params": layers[1::2], "weight_decay": 0.0}],
        lr=settings.lr,
    )
    batches = math.ceil(len(y) / batch_size)
    rates = settings.lr * factors("cosine", epochs * batches)
    order, masks = stream(seed, ORDER), stream(seed, DROPOUT)
    history: list[dict[str, Any]] = []
    diverged = None
    for epoch in range(epochs):
        started = time.perf_counter()
        shuffled = torch.randperm(len(y), generator=order).to(device)
        loss_sum, right = torch.zeros((), device=device), torch.zeros((), device=device)
        for number, rows in enumerate(torch.split(shuffled, batch_size), start=epoch * batches):
            for group in stepper.param_groups:
                group["lr"] = rates[number]
            kept = None
            if dropout:
                kept = torch.rand(len(rows), settings.width, generator=masks).ge_(dropout).div_(1 - dropout).to(device)
            logits = _forward(features[rows], layers, activation, kept)
            own = None if row_weights is None else row_weights[rows]
            loss = _loss(logits, labels[rows], settings.label_smoothing, own)
            stepper.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            stepper.step()
            loss_sum += loss.detach() * len(rows)
            right += (logits.argmax(1) == labels[rows]).sum()
        entry = {"epoch": epoch + 1, "train_loss": float(loss_sum) / len(y), "train_top1": float(right) / len(y)}
        if monitored is not None:
            entry |= _evaluate(layers, activation, *monitored)
        size = sum(float(layer.detach().abs().sum()) for layer in layers)
        if not math.isfinite(entry["train_loss"] + size):
            diverged = epoch + 1
            break
        history.append({**entry, "seconds": time.perf_counter() - started})
    hidden_weight, hidden_bias, weight, bias = (layer.detach().cpu().numpy() for layer in layers)
    return MlpHead(weight, bias, tuple(history), diverged, hidden_weight, hidden_bias, activation)


def _start(columns: int, width: int, classes: int, seed: int, device: str | torch.device) -> list[Tensor]:
    """Return weight and bias of both layers, as ``nn.Linear`` starts them."""
    generator = stream(seed, WEIGHTS)
    both = linear(columns, width, generator), linear(width, classes, generator)
    return [part.to(device).contiguous().requires_grad_() for layer in both for part in (layer[:, :-1], layer[:, -1])]


def _forward(X: Tensor, layers: list[Tensor], activation: Activation, kept: Tensor | None = None) -> Tensor:
    hidden_weight, hidden_bias, weight, bias = layers
    hidden = _ACTIVATIONS[activation](functional.linear(X, hidden_weight, hidden_bias))
    return functional.linear(hidden if kept is None else hidden * kept, weight, bias)


def _loss(logits: Tensor, labels: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    """Return the mean over rows of the cross-entropy times the rows' weights [b]."""
    if weights is None:
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    losses = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    return (losses * weights).mean()


@torch.no_grad()
def _evaluate(layers: list[Tensor], activation: Activation, X: Tensor, y: Tensor) -> dict[str, float]:
    logits = _forward(X, layers, activation)
    loss = functional.cross_entropy(logits, y)
    return {"val_loss": float(loss), "val_top1": float((logits.argmax(1) == y).float().mean())}
