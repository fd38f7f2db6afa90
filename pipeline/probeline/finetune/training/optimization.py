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
from probeline.heads.minibatch.sgd import Optimizer
from probeline.heads.minibatch.training import Schedule, factors

_MOMENTUM = 0.9


@dataclass(frozen=True)
class TrainingOptions:
    """The hyper-parameters of a training; every field changes the result.

    Attributes
    ----------
    epochs, batch_size : int
    lr : float
        Peak learning rate of a new head.
    body : float
        Share of it for the stage next to the head; and for the head, if it starts from a probe's solution.
    decay : float
        Each stage's share of the rate of the one above it.
    optimizer : {"adamw", "adam", "sgd"}
        With torch's defaults; SGD with momentum 0.9.
    weight_decay : float
        Of matrices and convolutions; biases, norms, positions, tokens and scales have none.
    schedule : {"cosine", "step", "one-cycle", "constant"}
        Of the rates over all steps; see :func:`probeline.heads.minibatch.training.factors`.
    warmup : float
        Epochs in which the rates climb linearly from 0 to that of the schedule.
    label_smoothing : float
        In [0, 1): the share of the target that is spread over all classes.
    clip : float
        Largest norm of all gradients together; 0 for no limit.
    dropout : float
        Share of the embedding in [0, 1) that is dropped before the head while it trains.
    accumulate : int
        In how many parts a batch goes through the net; BatchNorm sees them one at a time.
    patience : int
        Epochs without a better one after which training ends; 0 for never.
    freeze_batchnorm : bool
        BatchNorm keeps its statistics, scales and shifts.
    precision : {"fp32", "tf32", "bf16", "fp16"}
        ``bf16`` and ``fp16`` are autocast over float32 weights; ``tf32`` is float32 here, the caller allows TF32.
    seed : int
        Of the head's initialisation, the order, the augmentation and dropout.
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
    """Return the seed of an epoch's augmentation and dropout, epochs counted from 0."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def norms(net: nn.Module) -> Iterator[nn.Module]:
    """Yield the BatchNorm layers of a net."""
    return (module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))


def rate_groups(
    net: nn.Module, tap: Tap, stages: Sequence[Stage], options: TrainingOptions, start: Start
) -> list[dict[str, Any]]:
    """Return the optimizer's groups: the head's, then each stage's, that next to the head first.

    Each has ``peak``, its highest rate, and ``stage``, the number of its stage, or None for the head.
    """
    parameters = dict(net.named_parameters())
    fixed = (
        {id(parameter) for norm in norms(net) for parameter in norm.parameters()} if options.freeze_batchnorm else set()
    )
    head = [name for name in parameters if name.startswith(tap.head + ".")]
    # At a new head's rate the probe's solution would be lost before anything below it had moved.
    peak = options.lr * (1.0 if start == "fresh" else options.body)
    parts: list[tuple[int | None, list[str], float]] = [(None, head, peak)]
    for above, stage in enumerate(reversed(stages)):
        rate = options.lr * options.body * options.decay**above
        parts.append((len(stages) - 1 - above, list(stage.parameters), rate))
    groups = []
    for number, names, highest in parts:
        for decays in (True, False):
            # Position tables, class tokens and layer scales have several axes too; none of them is called a weight.
            chosen = [
                parameters[name]
                for name in names
                if (parameters[name].ndim > 1 and name.endswith("weight")) == decays
                and id(parameters[name]) not in fixed
            ]
            if chosen:
                weight_decay = options.weight_decay if decays else 0.0
                groups.append({"params": chosen, "peak": highest, "stage": number, "weight_decay": weight_decay})
    return groups


def make_optimizer(groups: list[dict[str, Any]], options: TrainingOptions) -> torch.optim.Optimizer:
    """Return the optimizer of these groups."""
    match options.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=options.lr)
        case "adam":
            return torch.optim.Adam(groups, lr=options.lr)
    return torch.optim.SGD(groups, lr=options.lr, momentum=_MOMENTUM)


def rates(options: TrainingOptions, batches: int) -> list[float]:
    """Return each step's share of the peak rates, of a training with so many batches per epoch."""
    steps = options.epochs * batches
    warm = max(1, math.ceil(options.warmup * batches)) if options.warmup else 0
    shape = factors(options.schedule, steps)
    return [float(shape[step]) * min(1.0, (step + 1) / warm if warm else 1.0) for step in range(steps)]
