"""The courses' head: a linear layer trained in mini-batches on cached embeddings."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from probeline.errors import Diverged
from probeline.heads.checks import check_features, check_labelled
from probeline.heads.tensors import resident

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SgdHead:
    """A linear head after its last epoch.

    Attributes
    ----------
    weight : float32 [K, D]
    bias : float32 [K]
    history : tuple of mappings
        Per epoch: epoch, train_loss, train_top1 (running, while it trains), seconds; with held-out rows also
        val_loss and val_top1.
    """

    weight: FloatArray
    bias: FloatArray
    history: tuple[dict[str, Any], ...]


def fit_sgd(
    X: FloatArray,
    y: IntArray,
    classes: int,
    *,
    optimizer: Literal["adam", "sgd"],
    lr: float,
    weight_decay: float,
    dropout: float,
    epochs: int,
    batch_size: int,
    seed: int,
    X_val: FloatArray | None = None,
    y_val: IntArray | None = None,
    device: str | torch.device = "cpu",
) -> SgdHead:
    """Train ``nn.Linear`` on the cross-entropy with Adam or SGD (momentum 0.9), the rate falling along half a cosine.

    Deterministic on a CPU by `seed`; the global random state stays as it is. The last epoch's weights are returned,
    never those of the epoch that held-out rows like best.

    Parameters
    ----------
    X : float32 [N, D]
        Standardised features.
    y : int64 [N]
    classes : int
        K.
    optimizer : {"adam", "sgd"}
    lr, weight_decay, dropout : float
        Weight decay is added to the gradient, as torch's Adam and SGD do; dropout, in [0, 1), acts on the features.
    epochs, batch_size, seed : int
    X_val, y_val : float32 [m, D] and int64 [m], optional
        Watched, never used.
    device : str or torch.device

    Raises
    ------
    Diverged
        The loss or a weight is not finite.
    ValueError
        Where an array or a number is not as described.
    """
    check_labelled(X, y, classes)
    if not (epochs >= 1 and batch_size >= 1 and 0 <= dropout < 1):
        raise ValueError(f"no training with {epochs} epochs, batches of {batch_size} and dropout {dropout}")
    generator = torch.Generator().manual_seed(seed)
    layer = _linear(X.shape[1], classes, generator).to(device)
    if optimizer == "adam":
        stepper: torch.optim.Optimizer = torch.optim.Adam(layer.parameters(), lr=lr, weight_decay=weight_decay)
    else:
        stepper = torch.optim.SGD(layer.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay)
    features, labels = resident(X, device), resident(y, device)
    held = None
    if X_val is not None and y_val is not None:
        check_features(X_val, columns=X.shape[1])
        check_labelled(X_val, y_val, classes)
        held = resident(X_val, device), resident(y_val, device)
    batches = math.ceil(len(y) / batch_size)
    history = []
    for epoch in range(epochs):
        started = time.perf_counter()
        order = torch.randperm(len(y), generator=generator).to(device)
        loss_sum, right = torch.zeros((), device=device), torch.zeros((), device=device)
        for place, rows in enumerate(torch.split(order, batch_size)):
            for group in stepper.param_groups:
                group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * (epoch + place / batches) / epochs))
            batch, target = features[rows], labels[rows]
            if dropout:
                kept = torch.rand(batch.shape, generator=generator).to(device) >= dropout
                batch = batch * kept / (1 - dropout)
            logits = layer(batch)
            loss = functional.cross_entropy(logits, target)
            stepper.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            stepper.step()
            loss_sum += loss.detach() * len(rows)
            right += (logits.argmax(1) == target).sum()
        entry = {"epoch": epoch + 1, "train_loss": float(loss_sum) / len(y), "train_top1": float(right) / len(y)}
        if held is not None:
            entry |= _watch(layer, *held)
        size = sum(float(parameter.detach().abs().sum()) for parameter in layer.parameters())
        if not math.isfinite(entry["train_loss"] + size):
            raise Diverged(
                "the head's training diverged", where=f"epoch {epoch + 1}", remedy=f"use a learning rate below {lr:g}"
            )
        history.append({**entry, "seconds": time.perf_counter() - started})
    weight, bias = (parameter.detach().cpu().numpy() for parameter in (layer.weight, layer.bias))
    return SgdHead(weight, bias, tuple(history))


def _linear(columns: int, classes: int, generator: torch.Generator) -> nn.Linear:
    """Return a layer as ``nn.Linear`` starts, drawn from `generator` alone."""
    layer = nn.Linear(columns, classes, device="meta").to_empty(device="cpu")  # leaves the global random state alone
    bound = 1 / math.sqrt(columns)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer


@torch.no_grad()
def _watch(layer: nn.Linear, X: Tensor, y: Tensor) -> dict[str, float]:
    logits = layer(X)
    loss = functional.cross_entropy(logits, y)
    return {"val_loss": float(loss), "val_top1": float((logits.argmax(1) == y).float().mean())}
