"""Linear layers trained in minibatches on cached features, many of them in one pass.

Heads that read the same minibatches share each gather of rows and two wide products: all their logits, and all their
gradients, which are written by hand (softmax minus target). Their optimizer is one update of one array. DINOv2's
linear evaluation trains its grid of heads on features in the same way (Oquab et al. 2023, "DINOv2", appendix B.3).
The other heads of a pass change a head by the rounding of float32 alone.
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

from probeline.heads.minibatch.training import (
    DROPOUT,
    ORDER,
    SCHEDULES,
    WEIGHTS,
    Labelled,
    Schedule,
    TrainedHead,
    TrainingSettings,
    check_lengths,
    factors,
    linear,
    load_rows,
    stream,
    weights_on,
)
from probeline.heads.threads import SMALL_STEP, few_threads
from probeline.types import DoubleArray, FloatArray, IntArray

Optimizer = Literal["sgd", "adam", "adamw"]

_WIDEST = 1024
"""Columns of a pass: its weights, gradients and moments at 1,280 features are 27 MB, which may fit into a cache."""

_BLOCK = 256
"""Least validation rows of a product: as many as run at the processor's full rate."""

_MOMENTUM = 0.9
_BETAS, _EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True, eq=False)
class Setting(TrainingSettings):
    """How one head is trained, on `rows`, int64 [n], and `columns`, such as those of one tap of several; None for all.

    Optimizers have torch's defaults, and SGD a momentum of 0.9. Weights and bias decay.
    """

    optimizer: Optimizer = "adam"
    schedule: Schedule = "cosine"
    rows: IntArray | None = None
    columns: slice | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimizer not in get_args(Optimizer):
            raise ValueError(f"unknown optimizer {self.optimizer!r}, there are {', '.join(get_args(Optimizer))}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"unknown schedule {self.schedule!r}, there are {', '.join(SCHEDULES)}")


def fit_sgd(
    X: FloatArray,
    y: IntArray,
    classes: int,
    settings: Sequence[Setting],
    *,
    epochs: int,
    batch_size: int,
    validation: tuple[FloatArray, IntArray] | None = None,
    device: str | torch.device = "cpu",
) -> list[TrainedHead]:
    """Train a linear layer on the cross-entropy for each setting, those that read the same minibatches in one pass.

    The order of the rows depends on the seed and the rows alone, so candidates of one seed are comparable.
    Deterministic on a CPU by the seeds; the global random state stays as it is. The last epoch's weights are returned,
    never those of the best epoch on validation. A head that diverges does not affect the others. The seconds of a
    history are those of all heads in its pass, and a label whose logit ties with the largest counts as right.

    `X`, float32 [N, D], is standardised.
    """
    check_lengths(epochs, batch_size)
    train, monitored = load_rows(X, y, classes, validation, device)
    for setting in settings:
        _check_part(setting, *X.shape)
    heads: dict[int, TrainedHead] = {}
    for indices in _passes(settings, X.shape[1], classes):
        same_batches = [settings[index] for index in indices]
        step = 4.0 * min(batch_size, len(y)) * X.shape[1] * classes * len(indices)
        with few_threads(step, SMALL_STEP):
            trained = _train(train, monitored, same_batches, classes=classes, epochs=epochs, batch_size=batch_size)
        heads.update(zip(indices, trained, strict=True))
    return [heads[index] for index in range(len(settings))]


def _check_part(setting: Setting, rows: int, columns: int) -> None:
    part = setting.rows
    if part is not None and not (
        part.dtype == np.int64 and part.ndim == 1 and part.size and part.min() >= 0 and part.max() < rows
    ):
        raise ValueError(f"the rows of a head must be int64 [n] within [0, {rows}), n at least 1")
    if setting.columns is not None and (not range(columns)[setting.columns] or setting.columns.step not in (None, 1)):
        raise ValueError(f"the columns of a head must be a part of {columns} without gaps, not {setting.columns}")


def _passes(settings: Sequence[Setting], columns: int, classes: int) -> list[list[int]]:
    """Return the indices of the settings, grouped by pass."""
    groups: dict[object, list[int]] = {}
    for index, setting in enumerate(settings):
        rows = None if setting.rows is None else setting.rows.tobytes()
        weights = None if setting.row_weights is None else setting.row_weights.tobytes()
        read_columns = (setting.columns or slice(None)).indices(columns)
        has_moments = setting.optimizer != "sgd"
        groups.setdefault((has_moments, setting.seed, setting.dropout, rows, weights, read_columns), []).append(index)
    most = max(1, _WIDEST // classes)
    return [group[start : start + most] for group in groups.values() for start in range(0, len(group), most)]


@torch.no_grad()
def _train(
    train: Labelled,
    monitored: Labelled | None,
    settings: Sequence[Setting],
    *,
    classes: int,
    epochs: int,
    batch_size: int,
) -> list[TrainedHead]:
    first = settings[0]  # all share its seed, dropout, rows, weights and columns
    columns = first.columns or slice(None)
    X, y = train[0][:, columns], train[1]
    weights = weights_on(X.device, first.row_weights, len(y))
    rows = torch.arange(len(y)) if first.rows is None else torch.from_numpy(first.rows.copy())
    batch_size = min(batch_size, len(rows))
    batches = math.ceil(len(rows) / batch_size)
    rates = _per_head([setting.lr * factors(setting.schedule, epochs * batches) for setting in settings], X).T
    heads = _Heads(settings, X, classes, batch_size)
    order, dropout = stream(first.seed, ORDER), stream(first.seed, DROPOUT)
    gathered = X.new_empty(batch_size, X.shape[1])
    history: list[list[dict[str, Any]]] = [[] for _ in settings]
    diverged: list[int | None] = [None] * len(settings)
    for epoch in range(epochs):
        started = time.perf_counter()
        heads.loss.zero_()
        heads.right.zero_()
        shuffled = rows[torch.randperm(len(rows), generator=order)].to(X.device)
        for number, batch_rows in enumerate(torch.split(shuffled, batch_size), start=epoch * batches):
            batch = torch.index_select(X, 0, batch_rows, out=gathered[: len(batch_rows)])
            if first.dropout:
                kept = torch.rand(batch.shape, generator=dropout).ge_(first.dropout).div_(1 - first.dropout)
                batch.mul_(kept.to(X.device))
            heads.step(batch, y[batch_rows], rates[number], None if weights is None else weights[batch_rows])
        metrics: dict[str, list[float]] = {
            "train_loss": (heads.loss / len(rows)).tolist(),
            "train_top1": (heads.right / len(rows)).tolist(),
        }
        if monitored is not None:
            loss, right = heads.evaluate(monitored[0][:, columns], monitored[1])
            metrics |= {"val_loss": loss.tolist(), "val_top1": right.tolist()}
        finite = heads.are_finite().tolist()
        seconds = time.perf_counter() - started
        for head, past in enumerate(history):
            if diverged[head] is None and not finite[head]:
                diverged[head] = epoch + 1
            elif diverged[head] is None:
                values = {name: values[head] for name, values in metrics.items()}
                past.append({"epoch": epoch + 1, **values, "seconds": seconds})
        if None not in diverged:
            break
    layers = heads.layers().to("cpu", torch.float32).numpy()
    return [
        TrainedHead(np.ascontiguousarray(layer[:, :-1]), layer[:, -1].copy(), tuple(past), when)
        for layer, past, when in zip(layers, history, diverged, strict=True)
    ]


class _Heads:
    """H heads on the same minibatches; `loss` and `right`, both [H], are sums over the rows since they were zeroed.

    Their weights are one array [D + 1, K * H], the biases its last row; column k * H + h is class k of head h, so that
    a softmax runs over all heads at once.
    """

    def __init__(self, settings: Sequence[Setting], X: Tensor, classes: int, batch_size: int) -> None:
        columns, heads = X.shape[1], len(settings)
        start = linear(columns, classes, stream(settings[0].seed, WEIGHTS)).T.to(X)
        self._shape = classes, heads
        self._weight = start[:, :, None].expand(-1, -1, heads).flatten(1).contiguous()
        self._gradient = torch.empty_like(self._weight)
        self._update = _Sgd(self._weight) if settings[0].optimizer == "sgd" else _Adam(self._weight)
        self._logits = X.new_empty(max(batch_size, _BLOCK), classes * heads)
        self._buffer = X.new_empty(max(batch_size, _BLOCK), classes, heads)
        decay = np.array([setting.weight_decay for setting in settings])
        decoupled = np.array([setting.optimizer == "adamw" for setting in settings])
        self._l2 = self._per_column(_per_head(decay * ~decoupled, X))
        self._shrink = self._per_column(_per_head(decay * decoupled, X))
        self._smoothing = _per_head([setting.label_smoothing for setting in settings], X)
        self._smoothed = any(setting.label_smoothing for setting in settings)
        self._shrinks = bool(decoupled.any())
        self.loss, self.right = X.new_zeros(heads), X.new_zeros(heads)

    def step(self, batch: Tensor, labels: Tensor, rates: Tensor, weights: Tensor | None = None) -> None:
        """Take a step of every head on rows [b, D] with labels [b], at rates [H]; `weights` [b] are the rows'."""
        classes, heads = self._shape
        label = labels[:, None, None].expand(-1, 1, heads)
        log_probabilities = self._log_probabilities(batch)
        of_label = log_probabilities.gather(1, label)
        loss = _total(of_label, weights).neg_()
        self.right += (of_label == log_probabilities.amax(1, keepdim=True)).sum((0, 1))
        if self._smoothed:
            loss -= self._smoothing * (_total(log_probabilities, weights) / classes + loss)
        self.loss += loss
        residual = log_probabilities.exp_()
        residual.scatter_add_(1, label, (self._smoothing - 1).expand(len(batch), 1, heads))
        if self._smoothed:
            residual -= self._smoothing / classes
        if weights is not None:
            residual *= weights[:, None, None]
        residual = residual.view(len(batch), classes * heads)
        torch.mul(self._weight, self._l2, out=self._gradient)
        self._gradient[:-1].addmm_(batch.T, residual, alpha=1 / len(batch))
        self._gradient[-1].add_(residual.sum(0), alpha=1 / len(batch))
        rates = self._per_column(rates)
        if self._shrinks:
            self._weight.mul_(1 - rates * self._shrink)
        self._weight.addcmul_(self._update(self._gradient), rates)

    def evaluate(self, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy and top-1 of every head on validation rows, both [H]."""
        loss, right = torch.zeros_like(self.loss), torch.zeros_like(self.right)
        size = len(self._logits)
        for rows, labels in zip(torch.split(X, size), torch.split(y, size), strict=True):
            log_probabilities = self._log_probabilities(rows)
            of_label = log_probabilities.gather(1, labels[:, None, None].expand(-1, 1, len(loss)))
            loss -= of_label.sum((0, 1))
            right += (of_label == log_probabilities.amax(1, keepdim=True)).sum((0, 1))
        return loss / len(y), right / len(y)

    def are_finite(self) -> Tensor:
        """Return which heads had a finite loss and have finite weights, bool [H]."""
        return (self._weight.abs().sum(0).view(self._shape).sum(0) + self.loss).isfinite()

    def layers(self) -> Tensor:
        """Return weights and, last, bias of every head, [H, K, D + 1]."""
        return self._weight.view(-1, *self._shape).permute(2, 1, 0)

    def _per_column(self, of_heads: Tensor) -> Tensor:
        """Return values [H] repeated for the columns of the weights, [K * H]."""
        return of_heads.expand(self._shape).reshape(-1)

    def _log_probabilities(self, rows: Tensor) -> Tensor:
        """Return log probabilities [b, K, H], overwritten by the next call."""
        logits = torch.addmm(self._weight[-1], rows, self._weight[:-1], out=self._logits[: len(rows)])
        return torch.log_softmax(logits.view(-1, *self._shape), 1, out=self._buffer[: len(rows)])


class _Sgd:
    """The step of SGD with momentum at a learning rate of 1."""

    def __init__(self, weight: Tensor) -> None:
        self._velocity = torch.zeros_like(weight)

    def __call__(self, gradient: Tensor) -> Tensor:
        return self._velocity.mul_(_MOMENTUM).sub_(gradient)


class _Adam:
    """The step of Adam at a learning rate of 1 (Kingma and Ba 2015).

    The kernel of ``torch.optim.Adam(fused=True)`` takes a third of the passes over the weights that plain operations
    do; called directly it saves the two seconds in which the first optimizer of a process imports torch's compiler.
    """

    def __init__(self, weight: Tensor) -> None:
        self._step, self._mean, self._square = (torch.zeros_like(weight) for _ in range(3))
        self._count = torch.zeros((), device=weight.device)

    def __call__(self, gradient: Tensor) -> Tensor:
        self._count += 1
        torch._fused_adam_(
            [self._step.zero_()],
            [gradient],
            [self._mean],
            [self._square],
            [],
            [self._count],
            lr=1.0,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            weight_decay=0.0,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )
        return self._step


def _total(values: Tensor, weights: Tensor | None) -> Tensor:
    """Return the sum over rows and classes, [H], of values [b, C, H] times the rows' weights [b]."""
    return (values if weights is None else values * weights[:, None, None]).sum((0, 1))


def _per_head(values: Sequence[Any] | DoubleArray, like: Tensor) -> Tensor:
    exact = torch.from_numpy(np.array(values, dtype=np.float64))
    return exact.to(like.dtype).to(like.device)  # in this order: not every device knows float64
