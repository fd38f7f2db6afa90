"""The losses of several labels and of numbers, of which some may be unknown."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from probeline.evaluate.targets.scale import TargetScale
from probeline.evaluate.targets.task import TargetTask
from probeline.heads.minibatch.targets import label_losses, squared_errors, sum_over_known
from probeline.types import DoubleArray, IntArray

NumberLossName = Literal["mse", "huber"]


@dataclass(frozen=True, eq=False)
class TargetLoss:
    """A loss of each known target of each image.

    Unknown targets, NaN, do not count: the sum over a batch is divided by its images and by the number of known targets
    of a train image on average. So an epoch's mean is the mean over all known targets, and a batch in parts has the
    loss of the whole; if all are known it is the plain mean.

    Attributes
    ----------
    task : TargetTask
        Whose metric selects.
    scale : TargetScale
        Of the targets that the net is trained on.
    known : float
        Known targets of a train image on average, above 0.
    val : float64 [N, T]
        Targets of the val part, not standardised.
    """

    counts: ClassVar[str | None] = None

    task: TargetTask
    scale: TargetScale
    known: float
    val: DoubleArray

    @abstractmethod
    def each(self, output: Tensor, targets: Tensor, *, trains: bool) -> Tensor:
        """Return the loss of each target, [n, T], for outputs and targets float32 [n, T]."""

    def loss(self, output: Tensor, labels: Tensor, rows: IntArray) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return the mean loss of train images, and 0, as nothing is counted; labels float32 [n, T]."""
        total = self._sum(output, labels, trains=True)
        return total / (len(labels) * self.known), torch.zeros((), device=output.device)

    def measure(self, output: Tensor, labels: Tensor, rows: IntArray) -> dict[str, Any]:
        """Return val_loss, the mean over the known targets, and val_score, the task's metric, of val images."""
        known = int((~labels.isnan()).sum())
        loss = float(self._sum(output, labels, trains=False)) / max(known, 1)
        if not math.isfinite(loss):  # which ends the training; such outputs have no rank
            return {"val_loss": loss}
        score, _ = self.task.selection_values(self.val[rows], self.scale.restore(output.numpy()))
        return {"val_loss": loss, "val_score": score}

    def _sum(self, output: Tensor, targets: Tensor, *, trains: bool) -> Tensor:
        return sum_over_known(partial(self.each, trains=trains), output, targets)


@dataclass(frozen=True, eq=False)
class LabelLoss(TargetLoss):
    """The binary cross-entropy of each label's logit.

    While the net trains, the share `smoothing`, in [0, 1), of the target is spread over having and lacking the label.
    """

    smoothing: float

    def each(self, output: Tensor, targets: Tensor, *, trains: bool) -> Tensor:
        return label_losses(output, targets, self.smoothing if trains else 0.0)


@dataclass(frozen=True, eq=False)
class NumberLoss(TargetLoss):
    """The squared error of standardised numbers, or Huber's.

    Huber's is half the squared error up to `delta` standard deviations of the train rows, and beyond it a line of that
    slope, so that single far values weigh less (Huber 1964, "Robust estimation of a location parameter", Annals of
    Mathematical Statistics 35).
    """

    kind: NumberLossName
    delta: float

    def each(self, output: Tensor, targets: Tensor, *, trains: bool) -> Tensor:  # noqa: ARG002
        if self.kind == "mse":
            return squared_errors(output, targets)
        return functional.huber_loss(output, targets, reduction="none", delta=self.delta)
