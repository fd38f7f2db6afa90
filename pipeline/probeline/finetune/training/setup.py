"""What a training is given: the net with its head, what is trained when, and the images with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from probeline.backbones.penultimate import Tap
from probeline.backbones.stages import Stage
from probeline.finetune.training.batches import Feed
from probeline.finetune.training.losses import CrossEntropy
from probeline.finetune.training.optimization import Start, TrainingOptions
from probeline.finetune.training.unfreezing import UnfreezingPlan
from probeline.types import IntArray, Preprocess


@dataclass(frozen=True, eq=False)
class TrainingSetup:
    """All that one training of one net begins with.

    Attributes
    ----------
    net : nn.Module
        With its new head; trained in place.
    tap : Tap
    stages : sequence of Stage
        Of the net, that nearest to the image first.
    unfreezing : UnfreezingPlan
        Which of them are trained, and when.
    preprocess : Preprocess
    feed : Feed
        Of the part that train rows come from.
    labels : int64 [N]
        Of that part.
    device : torch.device
    options : TrainingOptions
    loss : CrossEntropy
        What is minimised.
    start : {"fresh", "probe"}
        What the head is at first: random, or a solution already, which then moves no faster than what is below it.
    cut : Stage, optional
        The stage whose input the feeds give, with no stage below it ever trained; without it they give pixels.
    """

    net: nn.Module
    tap: Tap
    stages: Sequence[Stage]
    unfreezing: UnfreezingPlan
    preprocess: Preprocess
    feed: Feed
    labels: IntArray
    device: torch.device
    options: TrainingOptions
    loss: CrossEntropy
    start: Start = "fresh"
    cut: Stage | None = None


@dataclass(frozen=True, eq=False)
class ValidationSet:
    """The images that choose the epoch.

    Attributes
    ----------
    rows : int64 [n]
    feed : Feed
        Of the part that they come from.
    labels : int64 [N]
        Of that part.
    """

    rows: IntArray
    feed: Feed
    labels: IntArray
