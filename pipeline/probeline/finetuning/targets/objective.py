"""What training on several labels or on numbers minimises, and the options that have a use there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.errors import BadOption
from probeline.evaluate.targets.class_options import refuse_class_options
from probeline.evaluate.targets.scale import TargetScale
from probeline.evaluate.targets.task import target_task
from probeline.finetuning.objectives import Objective
from probeline.names import MULTI_LABEL, OF_CLASSES, REGRESSION, SINGLE_LABEL, Strategy
from probeline.options.checks import check_strategies, first_of
from probeline.options.grids import OF_NUMBERS, UNUSED
from probeline.options.settings import Settings
from probeline.session import Session
from probeline.types import AnyArray, DataSet, Targets

if TYPE_CHECKING:
    from probeline.finetuning.training.losses import TrainingLoss


class TargetObjective(Objective):
    """The labels' binary cross-entropy, or the squared or Huber's error of standardised numbers.

    Raises
    ------
    BadData
        The metric that selects is not defined on the val rows.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        targets, splits = targets_of(session.dataset), session.splits
        train = targets.by_part[splits.train.part][splits.train.rows]
        self.task = target_task(targets.task)
        self.scale = TargetScale.of(targets.task, train)
        self._known = float((~np.isnan(train)).sum() / len(train))
        self._val = targets.by_part[splits.val.part]
        val = self._val[splits.val.rows]
        self.task.selection_values(val, np.zeros_like(val))

    def outputs(self, dataset: DataSet) -> int:
        return len(targets_of(dataset).names)

    def truth(self, dataset: DataSet, part: str) -> AnyArray:
        return self.scale.standardise(targets_of(dataset).by_part[part])

    def make_loss(self, options: Mapping[str, Any]) -> TrainingLoss:
        from probeline.finetuning.training.target_losses import LabelLoss, NumberLoss

        shared = self.task, self.scale, self._known, self._val
        if self.task.name == MULTI_LABEL:
            return LabelLoss(*shared, options["label_smoothing"])
        return NumberLoss(*shared, options["loss"], options.get("huber_delta", 1.0))

    def on_val(self, epoch: Mapping[str, Any], metric: str) -> dict[str, Any]:  # noqa: ARG002
        return {self.task.metric: epoch["val_score"], "loss": epoch["val_loss"]}


def targets_of(dataset: DataSet) -> Targets:
    """Return the targets of a data set; ValueError for one of classes."""
    if dataset.targets is None:
        raise ValueError(f"{dataset.name} has one class for each image")
    return dataset.targets


def task_of_training(dataset: DataSet) -> str:
    """Return which task a net is trained for."""
    return SINGLE_LABEL if dataset.targets is None else dataset.targets.task


def load_target_objectives(session: Session, strategies: Iterable[str]) -> dict[str, Objective]:
    """Return the objective of each strategy, which they share.

    Raises
    ------
    BadOption
        A strategy or an option that is about classes.
    BadData
        As `TargetObjective`.
    """
    check_strategies(session.settings)
    strategies = tuple(strategies)
    if of_classes := first_of(strategies, OF_CLASSES):
        raise BadOption(
            f"--strategy {of_classes} needs one class for each image",
            expected=", ".join(strategy for strategy in Strategy if strategy not in OF_CLASSES),
            got=f"{session.dataset.name} ({task_of_training(session.dataset)})",
        )
    refuse_class_options(session.settings, task_of_training(session.dataset))
    return dict.fromkeys(strategies, TargetObjective(session))


def check_training_words(settings: Settings, task: str) -> None:
    """Refuse words of ``--train`` that have no use for a task: other losses, and Huber's delta without its loss."""
    given = dict(word.partition("=")[::2] for word in settings.training.train)
    for name in UNUSED[task]:
        if name in given:
            about = "numbers" if name in OF_NUMBERS else "classes and labels"
            expected = f"it with --task {REGRESSION}" if name in OF_NUMBERS else "a training on these"
            raise BadOption(f"--train {name} is about {about}", expected=expected, got=f"--task {task}")
    if "huber_delta" in given and given.get("loss") != "huber":
        raise BadOption("--train huber_delta without Huber's loss", expected="--train loss=huber huber_delta=D")
