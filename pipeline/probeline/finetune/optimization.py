"""How a net is trained: the numbers, the optimizer with a rate for each stage, and how the rates move."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from probeline.backbones.penultimate import Tap
from probeline.backbones.stages import Stage
from probeline.heads.minibatch.schedule import Schedule, factors
from probeline.heads.minibatch.sgd import Optimizer

_MOMENTUM = 0.9


@dataclass(frozen=True)
class Training:
    """How a net is trained; every field changes the result.

    Attributes
    ----------
    epochs, batch_size : int
    lr : float
        Peak learning rate of a new head.
    body : float
        What the stage next to the head has of it; and the head, where it starts from a probe's solution.
    decay : float
        What each stage has of the rate of the one above it.
    optimizer : {"adamw", "adam", "sgd"}
        With torch's defaults; SGD with momentum 0.9.
    weight_decay : float
        Of matrices and convolutions; biases, norms, positions, tokens and scales have none.
    schedule : {"cosine", "step", "one-cycle", "constant"}
        Of the rates over all steps; see :func:`probeline.heads.minibatch.schedule.factors`.
    warmup : float
        Epochs in which the rates climb to that of the schedule, on a line from 0.
    label_smoothing : float
        In [0, 1): the share of the target that is spread over all classes.
    clip : float
        Largest norm of all gradients together; 0 for no limit.
    dropout : float
        Share of the embedding in [0, 1) that the head lacks while it trains.
    accumulate : int
        In how many parts a batch goes through the net; BatchNorm sees them one at a time.
    patience : int
        Training ends after so many epochs without a better one; 0 for never.
    freeze_batchnorm : bool
        BatchNorm keeps its statistics, scales and shifts.
    precision : {"fp32", "tf32", "bf16", "fp16"}
        ``bf16`` and ``fp16`` are autocast over float32 weights; ``tf32`` is float32 here, the caller allows TF32.
    seed : int
        Of the head's start, the order, the augmentation and dropout.
    """

    epochs: int
    batch_size: int
    lr: float
    body: float
    decay: float
    optimizer: Optimizer
    weight_decay: float
    schedule: Schedule
    warmup: float
    label_smoothing: float
    clip: float
    dropout: float
    accumulate: int
    patience: int
    freeze_batchnorm: bool
    precision: str
    seed: int


Start = Literal["fresh", "probe"]


def epoch_seed(seed: int, epoch: int) -> int:
    """Return what an epoch, from 0, draws its augmentation and dropout from."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def norms(net: nn.Module) -> Iterator[nn.Module]:
    """Yield the BatchNorm layers of a net."""
    return (module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))


def rate_groups(
    net: nn.Module, tap: Tap, stages: Sequence[Stage], training: Training, start: Start
) -> list[dict[str, Any]]:
    """Return the optimizer's groups: the head's, then each stage's, that next to the head first.

    Each has ``peak``, its highest rate, and ``stage``, the number of its stage, or None for the head.
    """
    parameters = dict(net.named_parameters())
    fixed = {id(one) for norm in norms(net) for one in norm.parameters()} if training.freeze_batchnorm else set()
    head = [name for name in parameters if name.startswith(tap.head + ".")]
    # At a new head's rate the probe's solution would be lost before anything below it had moved.
    peak = training.lr * (1.0 if start == "fresh" else training.body)
    parts: list[tuple[int | None, list[str], float]] = [(None, head, peak)]
    for above, stage in enumerate(reversed(stages)):
        rate = training.lr * training.body * training.decay**above
        parts.append((len(stages) - 1 - above, list(stage.parameters), rate))
    groups = []
    for number, names, highest in parts:
        for decays in (True, False):
            # Position tables, class tokens and layer scales have several axes too; none of them is called a weight.
            some = [
                parameters[name]
                for name in names
                if (parameters[name].ndim > 1 and name.endswith("weight")) == decays
                and id(parameters[name]) not in fixed
            ]
            if some:
                weight_decay = training.weight_decay if decays else 0.0
                groups.append({"params": some, "peak": highest, "stage": number, "weight_decay": weight_decay})
    return groups


def make_optimizer(groups: list[dict[str, Any]], training: Training) -> torch.optim.Optimizer:
    """Return the optimizer of these groups."""
    match training.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=training.lr)
        case "adam":
            return torch.optim.Adam(groups, lr=training.lr)
    return torch.optim.SGD(groups, lr=training.lr, momentum=_MOMENTUM)


def rates(training: Training, batches: int) -> list[float]:
    """Return what each step of a training of so many batches an epoch has of the peak rate."""
    steps = training.epochs * batches
    warm = max(1, math.ceil(training.warmup * batches)) if training.warmup else 0
    shape = factors(training.schedule, steps)
    return [float(shape[step]) * min(1.0, (step + 1) / warm if warm else 1.0) for step in range(steps)]
