"""What a training is given: its hyper-parameters, the net with its head, and the images with their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from probeline.backbones.penultimate import Tap
from probeline.backbones.stages import Stage
from probeline.finetuning.ranks import ALONE, Ranks
from probeline.finetuning.training.losses import TrainingLoss
from probeline.finetuning.training.unfreezing import UnfreezingPlan
from probeline.heads.minibatch.sgd import Optimizer
from probeline.heads.minibatch.training import Schedule
from probeline.images import Preprocess
from probeline.types import AnyArray, IntArray

Feed = Callable[[Sequence[IntArray], int | None], Iterator[AnyArray]]
"""Given batches of row numbers and an epoch, from 0, or None for images as they are, yields what goes into the net:
pixels uint8 [b, S, S, 3], or the input of a stage, each image's flattened, float32 [b, D]."""

Start = Literal["fresh", "probe"]
"""What a head is at first: random, or a probe's solution."""


@dataclass(frozen=True)
class TrainingOptions:
    """The hyper-parameters of a training; every field changes the result.

    Attributes
    ----------
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
    warmup : float
        Epochs in which the rates climb linearly from 0 to that of the schedule.
    label_smoothing : float
        In [0, 1): the share of the target that is spread over all classes.
    clip : float
        Largest norm of all gradients together; 0 for no limit.
    dropout : float
        Share of the embedding in [0, 1) that is dropped before the head while it trains.
    accumulate : int
        In how many parts a batch goes through the net, on all processes together; BatchNorm sees them one at a time.
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


@dataclass(frozen=True, eq=False)
class TrainingSetup:
    """All that one training of one net begins with.

    The net has its new head and is trained in place; `stages` begin at the image. `feed` and labels, int64 [N] or
    float32 [N, K], are of the part that train rows come from. `cut` is the stage whose input the feeds give; without it
    they give pixels. With several `ranks` each process has a setup, which differs in `ranks` and `device` alone.
    `keeps_statistics` is whether BatchNorm runs with the statistics that it has, also if its parameters are trained.
    """

    net: nn.Module
    tap: Tap
    stages: Sequence[Stage]
    unfreezing: UnfreezingPlan
    preprocess: Preprocess
    feed: Feed
    labels: AnyArray
    device: torch.device
    options: TrainingOptions
    loss: TrainingLoss
    start: Start = "fresh"
    cut: Stage | None = None
    ranks: Ranks = ALONE
    keeps_statistics: bool = False


@dataclass(frozen=True, eq=False)
class ValidationSet:
    """The images that choose the epoch: their rows int64 [n], and feed and labels [N] of the part they are in."""

    rows: IntArray
    feed: Feed
    labels: AnyArray
