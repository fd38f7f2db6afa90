"""A head with one hidden layer, trained in minibatches on cached features.

One head per call: unlike those of linear heads, its wide products already run at the processor's full rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from probeline.heads.checks import check_features
from probeline.heads.minibatch.targets import Kind, OnVal, TargetObjective
from probeline.heads.minibatch.training import (
    DROPOUT,
    ORDER,
    WEIGHTS,
    Labelled,
    TrainedHead,
    TrainingSettings,
    check_lengths,
    factors,
    fuses,
    linear,
    load_rows,
    load_target_rows,
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


class Objective(Protocol):
    """What a head is trained to minimise."""

    counts: ClassVar[str | None]
    """Name of the share of rows that are right, in the history; None if none are counted."""

    def loss(self, output: Tensor, truth: Tensor, weights: Tensor | None) -> Tensor:
        """Return the mean loss of a minibatch, for outputs [b, K] and the weights of its rows [b]."""
        ...

    def count_right(self, output: Tensor, truth: Tensor) -> Tensor:
        """Return how many rows are right."""
        ...

    def measure(self, output: Tensor, truth: Tensor) -> dict[str, float]:
        """Return val_loss and other values of validation rows, by their names in the history."""
        ...


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Of classes; the share `smoothing` of the target is spread over all of them while a head is trained."""

    counts = "train_top1"

    smoothing: float

    def loss(self, output: Tensor, truth: Tensor, weights: Tensor | None) -> Tensor:
        if weights is None:
            return functional.cross_entropy(output, truth, label_smoothing=self.smoothing)
        losses = functional.cross_entropy(output, truth, label_smoothing=self.smoothing, reduction="none")
        return (losses * weights).mean()

    def count_right(self, output: Tensor, truth: Tensor) -> Tensor:
        return (output.argmax(1) == truth).sum()

    def measure(self, output: Tensor, truth: Tensor) -> dict[str, float]:
        loss = functional.cross_entropy(output, truth)
        return {"val_loss": float(loss), "val_top1": float((output.argmax(1) == truth).float().mean())}


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
    rows, monitored = load_rows(X, y, classes, validation, device)
    return _train(rows, monitored, classes, CrossEntropy(settings.label_smoothing), settings, epochs, batch_size)


def fit_mlp_targets(
    X: FloatArray,
    Y: FloatArray,
    kind: Kind,
    settings: MlpSettings,
    *,
    epochs: int,
    batch_size: int,
    validation: tuple[FloatArray, FloatArray, OnVal] | None = None,
    device: str | torch.device = "cpu",
) -> MlpHead:
    """Train the same head on several labels or on numbers, on the mean loss of the known ones.

    Parameters
    ----------
    X : float32 [N, D]
        Standardised features.
    Y : float32 [N, T]
        Labels 0 and 1, or standardised numbers; NaN where unknown.
    kind : Kind
        ``labels`` for the binary cross-entropy of each label's logit, ``numbers`` for the squared error.
    settings : MlpSettings
        Without weights of rows, and for numbers without label smoothing.
    validation : tuple, optional
        Features and targets of other rows, and what measures the outputs for them; read after each epoch, for the
        history alone.

    Raises
    ------
    ValueError
        An array or a setting is not as described.
    """
    check_lengths(epochs, batch_size)
    if settings.row_weights is not None or (kind == "numbers" and settings.label_smoothing):
        raise ValueError(f"no training of {kind} with weights of rows, or with numbers that are smoothed")
    rows, monitored = load_target_rows(X, Y, None if validation is None else validation[:2], device)
    known = float((~np.isnan(Y)).sum() / len(Y))
    if not known:
        raise ValueError("no target is known")
    objective = TargetObjective(kind, known, settings.label_smoothing, None if validation is None else validation[2])
    return _train(rows, monitored, Y.shape[1], objective, settings, epochs, batch_size)


def _train(
    train: Labelled,
    monitored: Labelled | None,
    outputs: int,
    objective: Objective,
    settings: MlpSettings,
    epochs: int,
    batch_size: int,
) -> MlpHead:
    """Return a head trained on rows where they are, with so many outputs."""
    features, labels = train
    device, count = features.device, len(labels)
    seed, dropout, activation = settings.seed, settings.dropout, settings.activation
    row_weights = weights_on(device, settings.row_weights, count)
    layers = _start(features.shape[1], settings.width, outputs, seed, device)
    stepper = torch.optim.AdamW(
        [{"params": layers[::2], "weight_decay": settings.weight_decay}, {"params": layers[1::2], "weight_decay": 0.0}],
        lr=settings.lr,
        fused=fuses(device),
    )
    batches = math.ceil(count / batch_size)
    rates = settings.lr * factors("cosine", epochs * batches)
    order, masks = stream(seed, ORDER), stream(seed, DROPOUT)
    history: list[dict[str, Any]] = []
    diverged = None
    for epoch in range(epochs):
        started = time.perf_counter()
        shuffled = torch.randperm(count, generator=order).to(device)
        loss_sum, right = torch.zeros((), device=device), torch.zeros((), device=device)
        for number, rows in enumerate(torch.split(shuffled, batch_size), start=epoch * batches):
            for group in stepper.param_groups:
                group["lr"] = rates[number]
            kept = None
            if dropout:
                kept = torch.rand(len(rows), settings.width, generator=masks).ge_(dropout).div_(1 - dropout).to(device)
            output = _forward(features[rows], layers, activation, kept)
            loss = objective.loss(output, labels[rows], None if row_weights is None else row_weights[rows])
            stepper.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            stepper.step()
            loss_sum += loss.detach() * len(rows)
            right += objective.count_right(output, labels[rows])
        entry: dict[str, Any] = {"epoch": epoch + 1, "train_loss": float(loss_sum) / count}
        if objective.counts is not None:
            entry[objective.counts] = float(right) / count
        size = sum(float(layer.detach().abs().sum()) for layer in layers)
        if monitored is not None:
            with torch.no_grad():
                entry |= objective.measure(_forward(monitored[0], layers, activation), monitored[1])
        if not math.isfinite(entry["train_loss"] + size + entry.get("val_loss", 0.0)):
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
