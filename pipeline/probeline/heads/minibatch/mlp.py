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

from probeline.heads.checks import check_features, check_labelled
from probeline.heads.minibatch.random_streams import DROPOUT, ORDER, WEIGHTS, linear, stream
from probeline.heads.minibatch.schedule import factors
from probeline.heads.tensors import resident
from probeline.types import FloatArray, IntArray

Activation = Literal["gelu", "relu"]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "relu": functional.relu}


@dataclass(frozen=True)
class MlpSettings:
    """How one head is trained.

    Attributes
    ----------
    lr, weight_decay : float
        Of AdamW; weights decay, biases do not.
    dropout : float
        Share of the hidden units in [0, 1) that is set to zero in each row of a minibatch.
    label_smoothing : float
        In [0, 1): the share of the target that is spread over all classes.
    width : int
        W, the hidden units.
    activation : {"gelu", "relu"}
    seed : int
        Decides the first weights, the order of the rows and the dropout; not negative.

    Raises
    ------
    ValueError
        A number or a name is not as described.
    """

    lr: float
    weight_decay: float
    dropout: float = 0.0
    label_smoothing: float = 0.0
    width: int = 512
    activation: Activation = "gelu"
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.lr < math.inf and self.weight_decay >= 0 and self.width >= 1 and self.seed >= 0):
            raise ValueError(
                f"no training with lr {self.lr}, weight decay {self.weight_decay}, width {self.width} "
                f"and seed {self.seed}"
            )
        if not (0 <= self.dropout < 1 and 0 <= self.label_smoothing < 1):
            raise ValueError(f"no training with dropout {self.dropout} and label smoothing {self.label_smoothing}")
        if self.activation not in _ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}, there are {', '.join(_ACTIVATIONS)}")


@dataclass(frozen=True)
class MlpHead:
    """A head with one hidden layer of W units after its last epoch.

    Attributes
    ----------
    hidden_weight : float32 [W, D]
    hidden_bias : float32 [W]
    weight : float32 [K, W]
    bias : float32 [K]
    activation : {"gelu", "relu"}
    history : tuple of mappings
        Per epoch: epoch, train_loss (nats, smoothed as asked) and train_top1, both while it trains, and seconds; with
        validation rows also val_loss (never smoothed) and val_top1.
    diverged : int or None
        The epoch in which the loss or a weight was no longer finite. The history ends before it, and the weights are
        of no use.
    """

    hidden_weight: FloatArray
    hidden_bias: FloatArray
    weight: FloatArray
    bias: FloatArray
    activation: Activation
    history: tuple[dict[str, Any], ...]
    diverged: int | None


def mlp_decision(head: MlpHead, X: FloatArray) -> FloatArray:
    """Return logits float32 [N, K] of features float32 [N, D], standardised as the head's fitting rows were.

    Raises
    ------
    ValueError
        `X` is not a finite array of the head's D columns.
    """
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

    Parameters
    ----------
    X : float32 [N, D]
        Standardised features.
    y : int64 [N]
    classes : int
        K.
    settings : MlpSettings
    epochs, batch_size : int
    validation : (float32 [m, D], int64 [m]), optional
        Rows that are monitored in the history and change nothing.
    device : str or torch.device

    Raises
    ------
    ValueError
        An array or a number is not as described.
    """
    check_labelled(X, y, classes)
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"no training with {epochs} epochs and batches of {batch_size}")
    monitored = None
    if validation is not None:
        X_val, y_val = validation
        check_features(X_val, columns=X.shape[1])
        check_labelled(X_val, y_val, classes)
        monitored = resident(X_val, device), resident(y_val, device)
    seed, dropout, activation = settings.seed, settings.dropout, settings.activation
    features, labels = resident(X, device), resident(y, device)
    layers = _start(X.shape[1], settings.width, classes, seed, device)
    stepper = torch.optim.AdamW(
        [{"params": layers[::2], "weight_decay": settings.weight_decay}, {"params": layers[1::2], "weight_decay": 0.0}],
        lr=settings.lr,
    )
    batches = math.ceil(len(y) / batch_size)
    rates = settings.lr * factors("cosine", epochs * batches)
    order, masks = (
        stream(seed, ORDER),
        stream(seed, DROPOUT),
    )
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
            loss = functional.cross_entropy(logits, labels[rows], label_smoothing=settings.label_smoothing)
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
    return MlpHead(hidden_weight, hidden_bias, weight, bias, activation, tuple(history), diverged)


def _start(columns: int, width: int, classes: int, seed: int, device: str | torch.device) -> list[Tensor]:
    """Return weight and bias of both layers, as ``nn.Linear`` starts them."""
    generator = stream(seed, WEIGHTS)
    both = linear(columns, width, generator), linear(width, classes, generator)
    return [part.to(device).contiguous().requires_grad_() for layer in both for part in (layer[:, :-1], layer[:, -1])]


def _forward(X: Tensor, layers: list[Tensor], activation: Activation, kept: Tensor | None = None) -> Tensor:
    hidden_weight, hidden_bias, weight, bias = layers
    hidden = _ACTIVATIONS[activation](functional.linear(X, hidden_weight, hidden_bias))
    return functional.linear(hidden if kept is None else hidden * kept, weight, bias)


@torch.no_grad()
def _evaluate(layers: list[Tensor], activation: Activation, X: Tensor, y: Tensor) -> dict[str, float]:
    logits = _forward(X, layers, activation)
    loss = functional.cross_entropy(logits, y)
    return {"val_loss": float(loss), "val_top1": float((logits.argmax(1) == y).float().mean())}
