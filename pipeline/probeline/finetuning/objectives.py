"""What a strategy's training minimises: the labels' loss alone, with a teacher's logits, or with a second task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probeline.data.annotations.labels import SecondTask, read_second_task
from probeline.errors import BadData
from probeline.files.decode import encode
from probeline.finetuning.fitted_probe import Teacher
from probeline.metrics.intervals import wilson
from probeline.names import DISTILLED, TWO_HEADED
from probeline.options.checks import check_strategies, first_of
from probeline.results.members import SecondTaskAccuracy, SecondTaskFacts
from probeline.session import Session
from probeline.types import DROPPED, AnyArray, DataSet, FloatArray, IntArray, Split

if TYPE_CHECKING:
    from probeline.finetuning.training.losses import CrossEntropy, TrainingLoss


@dataclass(frozen=True)
class Logits:
    """A trained net's outputs float32 [n, K] for some images, and [n, L] of a second head; L is 0 without one."""

    main: FloatArray
    second: FloatArray


class Objective:
    """The labels alone.

    Attributes
    ----------
    options : mapping
        What a score's options hold in addition to those of training.
    identity : mapping
        What a key holds in addition to these.
    second_classes : int
        Outputs of a second head; 0 for none.
    """

    def __init__(self) -> None:
        self.options: Mapping[str, Any] = {}
        self.identity: Mapping[str, Any] = {}
        self.second_classes = 0

    @property
    def seconds(self) -> float:
        """Duration of what it needs before training."""
        return 0.0

    def outputs(self, dataset: DataSet) -> int:
        """Return the number of outputs of the main head."""
        return len(dataset.class_names)

    def truth(self, dataset: DataSet, part: str) -> AnyArray:
        """Return what the main head is trained on, for each row of a part: classes int64 [N]."""
        return dataset.parts[part].labels

    def on_val(self, epoch: Mapping[str, Any], metric: str) -> dict[str, Any]:
        """Return what a score's path holds of a candidate, given the record of its best epoch."""
        own = {metric: epoch["val_score"]} if "val_score" in epoch else {}
        return {"top1": epoch["val_top1"], **own, "nll": epoch["val_loss"]}

    def make_loss(self, options: Mapping[str, Any]) -> TrainingLoss:
        """Return the loss, given the options of training."""
        from probeline.finetuning.training.losses import CrossEntropy

        return CrossEntropy(options["label_smoothing"])

    def certify(self, val: Logits, test: Logits) -> dict[str, Any]:  # noqa: ARG002
        """Return what this objective adds to the certificate of a score, given the net's outputs."""
        return {}


class DistillationObjective(Objective):
    """The labels and a teacher's logits; the certificate has what is known of its fits."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self._teacher, net = teacher, teacher.backbone
        self.options = {"teacher": net.name, "teacher_weights": net.weights_sha256[:12]}
        self.identity = {"teacher": teacher.identity}

    @property
    def seconds(self) -> float:
        """Duration of the teacher's fits and of the extraction of its features."""
        return self._teacher.fit_seconds + self._teacher.extraction_seconds

    def make_loss(self, options: Mapping[str, Any]) -> CrossEntropy:
        import torch

        from probeline.finetuning.training.losses import DistillationLoss

        logits = torch.from_numpy(self._teacher.train_logits)
        return DistillationLoss(options["label_smoothing"], logits, options["temperature"], options["alpha"])

    def certify(self, val: Logits, test: Logits) -> dict[str, Any]:  # noqa: ARG002
        return {"teacher": encode(self._teacher.facts)}


class TwoTaskObjective(Objective):
    """The labels of two tasks; the certificate has the second head's accuracy on the images that have its label.

    Raises
    ------
    BadData
        No train image has one.
    """

    def __init__(self, session: Session, second: SecondTask) -> None:
        super().__init__()
        self._splits, self._second = session.splits, second
        self._main_classes = len(session.dataset.class_names)
        self.options = {"second": second.title}
        self.identity = {"second": second.sha256}
        self.second_classes = len(second.class_names)
        self._share = float((self._labels(self._splits.train) != DROPPED).mean())
        if not self._share:
            raise BadData("no train image has a label of the second task", where=f"--second {second.title}")

    def _labels(self, split: Split) -> IntArray:
        return self._second.labels[split.part][split.rows]

    def make_loss(self, options: Mapping[str, Any]) -> CrossEntropy:
        import torch

        from probeline.finetuning.training.losses import TwoTaskLoss

        splits, labels = self._splits, self._second.labels
        train, val = (torch.from_numpy(labels[split.part]) for split in (splits.train, splits.val))
        smoothing, weight = options["label_smoothing"], options["second_weight"]
        return TwoTaskLoss(smoothing, self._main_classes, weight, train, val, self._share)

    def certify(self, val: Logits, test: Logits) -> dict[str, Any]:
        facts = SecondTaskFacts(
            tuple(self._second.class_names),
            val=_accuracy(self._labels(self._splits.val), val.second),
            test=_accuracy(self._labels(self._splits.test), test.second),
        )
        return {"second": encode(facts)}


def _accuracy(labels: IntArray, logits: FloatArray) -> SecondTaskAccuracy:
    known = labels != DROPPED
    n, correct = int(known.sum()), int((logits.argmax(1) == labels)[known].sum())
    return SecondTaskAccuracy(n, correct / n, wilson(correct, n)) if n else SecondTaskAccuracy(0, None, None)


def load_objectives(session: Session, strategies: Iterable[str]) -> dict[str, Objective]:
    """Return the objective of each strategy; those with a teacher share it."""
    settings = session.settings
    check_strategies(settings)
    objectives: dict[str, Objective] = dict.fromkeys(strategies, Objective())
    if settings.training.teacher is not None and first_of(objectives, DISTILLED):
        distillation = DistillationObjective(Teacher(session, session.backbone(settings.training.teacher)[0]))
        objectives |= {strategy: distillation for strategy in objectives if strategy in DISTILLED}
    if first_of(objectives, TWO_HEADED):
        second = read_second_task(session.dataset, settings.training.second, whole=settings.data.limit is None)
        two_tasks = TwoTaskObjective(session, second)
        objectives |= {strategy: two_tasks for strategy in objectives if strategy in TWO_HEADED}
    return objectives
