"""What a strategy's training minimises: the labels' loss alone, with a teacher's logits, or with a second task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from probeline.data.annotations.labels import SecondTask, read_second_task
from probeline.errors import BadData
from probeline.finetune.certificate import FinetuneCertificate, SecondTaskAccuracy, SecondTaskFacts
from probeline.finetune.teacher import Teacher
from probeline.metrics.intervals import wilson
from probeline.names import DISTILLED, TWO_HEADED
from probeline.options.checks import check_strategies, first_of
from probeline.session import Session
from probeline.types import DROPPED, FloatArray, IntArray, Split

if TYPE_CHECKING:
    from probeline.finetune.training.losses import CrossEntropy


@dataclass(frozen=True)
class Logits:
    """The outputs of a trained net for some images.

    Attributes
    ----------
    main : float32 [n, K]
    second : float32 [n, L]
        Of a second task's L classes; no column without a second task.
    """

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

    def make_loss(self, smoothing: float, options: Mapping[str, Any]) -> CrossEntropy:  # noqa: ARG002
        """Return the loss, given the strategy's own options of training."""
        from probeline.finetune.training.losses import CrossEntropy

        return CrossEntropy(smoothing)

    def certify(self, certificate: FinetuneCertificate, val: Logits, test: Logits) -> FinetuneCertificate:  # noqa: ARG002
        """Return the certificate with what this objective adds to it."""
        return certificate


class DistillationObjective(Objective):
    """The labels and a teacher's logits."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self._teacher, net = teacher, teacher.backbone
        self.options = {"teacher": net.name, "teacher_weights": net.weights_sha256[:12]}
        self.identity = {"teacher": teacher.identity}

    @property
    def seconds(self) -> float:
        """Duration of the teacher's fits and of the extraction of its features."""
        return self._teacher.fit_seconds + self._teacher.extraction_seconds

    def make_loss(self, smoothing: float, options: Mapping[str, Any]) -> CrossEntropy:
        """Return the mixed losses of labels and teacher."""
        import torch

        from probeline.finetune.training.losses import DistillationLoss

        logits = torch.from_numpy(self._teacher.train_logits)
        return DistillationLoss(smoothing, logits, options["temperature"], options["alpha"])

    def certify(self, certificate: FinetuneCertificate, val: Logits, test: Logits) -> FinetuneCertificate:  # noqa: ARG002
        """Return the certificate with the teacher and what is known of its fits."""
        return replace(certificate, teacher=self._teacher.facts)


class TwoTaskObjective(Objective):
    """The labels of two tasks.

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

    def make_loss(self, smoothing: float, options: Mapping[str, Any]) -> CrossEntropy:
        """Return the weighted losses of both tasks."""
        import torch

        from probeline.finetune.training.losses import TwoTaskLoss

        splits, labels = self._splits, self._second.labels
        train, val = (torch.from_numpy(labels[split.part]) for split in (splits.train, splits.val))
        return TwoTaskLoss(smoothing, self._main_classes, options["second_weight"], train, val, self._share)

    def certify(self, certificate: FinetuneCertificate, val: Logits, test: Logits) -> FinetuneCertificate:
        """Return the certificate with the second head's accuracy on the val and the test images that have its label."""
        facts = SecondTaskFacts(
            tuple(self._second.class_names),
            val=_accuracy(self._labels(self._splits.val), val.second),
            test=_accuracy(self._labels(self._splits.test), test.second),
        )
        return replace(certificate, second=facts)


def _accuracy(labels: IntArray, logits: FloatArray) -> SecondTaskAccuracy:
    known = labels != DROPPED
    n, correct = int(known.sum()), int((logits.argmax(1) == labels)[known].sum())
    return SecondTaskAccuracy(n, correct / n, wilson(correct, n)) if n else SecondTaskAccuracy(0, None, None)


def load_objectives(session: Session, strategies: Iterable[str]) -> dict[str, Objective]:
    """Return the objective of each strategy; those with a teacher share it.

    Raises
    ------
    BadOption, UnknownName, MissingData, BadData
        As `check_strategies`; and what is wrong with the second task or the teacher's name.
    """
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
