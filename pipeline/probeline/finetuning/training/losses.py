"""The losses of training: the labels' cross-entropy alone, with a distillation term, or with a second task's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from probeline.backbones.device import send
from probeline.metrics.scores import selection_score
from probeline.names import TOP1
from probeline.types import DROPPED, IntArray


class TrainingLoss(Protocol):
    """What a training minimises, and what it measures on val.

    Attributes
    ----------
    counts : str or None
        What the history calls the mean over train images of the second number that `loss` returns; None to leave it
        out.
    """

    counts: ClassVar[str | None]

    def loss(self, output: Tensor, labels: Tensor, rows: IntArray) -> tuple[Tensor, Tensor]:
        """Return the mean loss of train images, and a sum over them that is counted; both without axes.

        Output float32 [n, K] and labels, int64 [n] or float32 [n, K], are on one device; rows int64 [n] are of the
        train part. Several parts of a batch, each weighted by its share of the images, have the loss of the batch.
        """
        ...

    def measure(self, output: Tensor, labels: Tensor, rows: IntArray) -> dict[str, Any]:
        """Return what an epoch's history holds of the images of these rows of the val part: val_loss among it.

        The epoch with the highest ``val_score`` is chosen, or ``val_top1`` without it; of equal ones that with the
        lowest ``val_loss``.
        """
        ...


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """The cross-entropy of the labels.

    While the net trains, the share `smoothing`, in [0, 1), of the target is spread over all classes, and each image's
    loss is multiplied by the weight of its class.
    """

    counts: ClassVar[str | None] = "train_top1"

    smoothing: float
    metric: str = field(default=TOP1, kw_only=True)
    """What selects the epoch; other than top-1 it is ``val_score`` in the history."""

    class_weights: tuple[float, ...] | None = field(default=None, kw_only=True)
    """[K] Their mean over the train images is 1; None if all are."""

    def loss(self, output: Tensor, labels: Tensor, rows: IntArray) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return the mean loss of train images, and how many of them are classified correctly; both without axes.

        Output float32 [n, K] and labels int64 [n] are on one device; rows int64 [n] are of the train part.
        """
        if self.class_weights is None:
            loss = functional.cross_entropy(output, labels, label_smoothing=self.smoothing)
        else:
            each = functional.cross_entropy(output, labels, label_smoothing=self.smoothing, reduction="none")
            # By the number of images, not by the sum of their weights: a batch in parts has the loss of the whole.
            loss = (each * torch.tensor(self.class_weights, device=labels.device)[labels]).mean()
        return loss, (output.detach().argmax(1) == labels).sum()

    def measure(self, output: Tensor, labels: Tensor, rows: IntArray) -> dict[str, Any]:  # noqa: ARG002
        """Return what an epoch's history holds of the images of these rows of the val part: val_loss, val_top1 ..."""
        predictions = output.argmax(1)
        measured = {
            "val_loss": float(functional.cross_entropy(output, labels)),
            "val_top1": float((predictions == labels).numpy().mean()),
        }
        if self.metric != TOP1:
            own = selection_score(self.metric, labels.numpy(), predictions.numpy(), output.shape[1])
            measured["val_score"] = own
        return measured


@dataclass(frozen=True, eq=False)
class DistillationLoss(CrossEntropy):
    """(1 - alpha) of the labels' cross-entropy, and alpha of the softened divergence from a teacher.

    The latter is temperature^2 KL(teacher || student) with both logits divided by the temperature; the square keeps the
    gradient's size whatever the temperature (Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural
    network", section 2).

    `teacher` are its logits float32 [N, K] for the rows of the train part.
    """

    teacher: Tensor
    temperature: float
    alpha: float

    def loss(self, output: Tensor, labels: Tensor, rows: IntArray) -> tuple[Tensor, Tensor]:
        hard, correct = super().loss(output, labels, rows)
        teacher = send(self.teacher[torch.from_numpy(rows)], output.device)
        soft = functional.kl_div(
            functional.log_softmax(output / self.temperature, 1),
            functional.log_softmax(teacher / self.temperature, 1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - self.alpha) * hard + self.alpha * self.temperature**2 * soft, correct


@dataclass(frozen=True, eq=False)
class TwoTaskLoss(CrossEntropy):
    """The cross-entropy of the labels, plus a weighted one of a second task's labels.

    The output's first `classes` columns are the main task's. Images without a label of the second task do not count in
    its loss: a batch's sum is divided by its images and by the share of all train images that have one. So an epoch's
    mean is the mean over those that have one, and a batch in parts has the loss of the whole batch.

    Attributes
    ----------
    classes : int
        K, of the main task.
    weight : float
        Of the second loss.
    train, val : int64 [N]
        Labels of the second task for the rows of the train and the val part, or `DROPPED`.
    share : float
        In (0, 1]: of the train images that have one.
    """

    classes: int
    weight: float
    train: Tensor
    val: Tensor
    share: float

    def loss(self, output: Tensor, labels: Tensor, rows: IntArray) -> tuple[Tensor, Tensor]:
        main, correct = super().loss(output[:, : self.classes], labels, rows)
        second = functional.cross_entropy(
            output[:, self.classes :],
            send(self.train[torch.from_numpy(rows)], output.device),
            ignore_index=DROPPED,
            reduction="sum",
            label_smoothing=self.smoothing,
        )
        return main + self.weight * (second / (len(rows) * self.share)), correct

    def measure(self, output: Tensor, labels: Tensor, rows: IntArray) -> dict[str, Any]:
        """Return val_loss and val_top1 of the main task, and val_second_top1, None if no image has its label."""
        truth = self.val[torch.from_numpy(rows)]
        known = truth != DROPPED
        correct = (output[:, self.classes :].argmax(1) == truth)[known].numpy()
        top1 = float(correct.mean()) if len(correct) else None
        return {**super().measure(output[:, : self.classes], labels, rows), "val_second_top1": top1}
