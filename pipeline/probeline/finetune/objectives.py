"""What a strategy's training goes towards: the labels alone, a teacher's word too, or a second task's labels too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from probeline.data.annotations.second_task import Second, second_task
from probeline.errors import BadData
from probeline.finetune.run import Said
from probeline.finetune.teacher import Teacher
from probeline.metrics.intervals import wilson
from probeline.names import DISTILLED, TWO_HEADED
from probeline.options.checks import check_strategies, first_of
from probeline.session import Session
from probeline.types import DROPPED, FloatArray, IntArray, Split

if TYPE_CHECKING:
    from probeline.finetune.losses import CrossEntropy


class Goal:
    """The labels alone.

    Attributes
    ----------
    options : mapping
        What a score says was asked beside the words of training.
    identity : mapping
        What a key holds beside that.
    second_classes : int
        Outputs of a second head; 0 for none.
    """

    def __init__(self) -> None:
        self.options: Mapping[str, Any] = {}
        self.identity: Mapping[str, Any] = {}
        self.second_classes = 0

    @property
    def seconds(self) -> float:
        """What came before the training for its sake."""
        return 0.0

    def objective(self, smoothing: float, words: Mapping[str, Any]) -> CrossEntropy:  # noqa: ARG002
        """Return what training goes down, by the words of training that concern the strategy."""
        from probeline.finetune.losses import CrossEntropy

        return CrossEntropy(smoothing)

    def certificate(self, val: Said, test: Said) -> dict[str, Any]:  # noqa: ARG002
        """Return what a score's certificate holds of it."""
        return {}


class Distillation(Goal):
    """A teacher's word beside the labels."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self._teacher, net = teacher, teacher.backbone
        self.options = {"teacher": net.name, "teacher_weights": net.weights_sha256[:12]}
        self.identity = {"teacher": teacher.identity}

    @property
    def seconds(self) -> float:
        """Those of the teacher's fits, and of the extraction of its features."""
        return sum(self._teacher.seconds)

    def objective(self, smoothing: float, words: Mapping[str, Any]) -> CrossEntropy:
        """Return the mixed losses of labels and teacher."""
        import torch

        from probeline.finetune.losses import Distilled

        return Distilled(smoothing, torch.from_numpy(self._teacher.told), words["temperature"], words["alpha"])

    def certificate(self, val: Said, test: Said) -> dict[str, Any]:  # noqa: ARG002
        """Return who taught, and what is known of the teacher's fits."""
        net = self._teacher.backbone
        return {"teacher": {"backbone": net.name, "weights": net.weights_sha256, **self._teacher.facts}}


class SecondTask(Goal):
    """A second task's labels beside the first's.

    Raises
    ------
    BadData
        No train image has one.
    """

    def __init__(self, session: Session, second: Second) -> None:
        super().__init__()
        self._splits, self._second = session.splits, second
        self._main_classes = len(session.dataset.class_names)
        self.options = {"second": second.title}
        self.identity = {"second": second.sha256}
        self.second_classes = len(second.class_names)
        self._share = float((self._truth(self._splits.train) != DROPPED).mean())
        if not self._share:
            raise BadData("no train image has a label of the second task", where=f"--second {second.title}")

    def _truth(self, split: Split) -> IntArray:
        return self._second.labels[split.part][split.rows]

    def objective(self, smoothing: float, words: Mapping[str, Any]) -> CrossEntropy:
        """Return the weighted losses of both tasks."""
        import torch

        from probeline.finetune.losses import TwoTasks

        train, val = (torch.from_numpy(self._second.labels[of.part]) for of in (self._splits.train, self._splits.val))
        return TwoTasks(smoothing, self._main_classes, words["second_weight"], train, val, self._share)

    def certificate(self, val: Said, test: Said) -> dict[str, Any]:
        """Return how good the second head is on the val and on the test images that have its label."""
        return {
            "second": {
                "classes": list(self._second.class_names),
                "val": _read(self._truth(self._splits.val), val.second),
                "test": _read(self._truth(self._splits.test), test.second),
            }
        }


def _read(truth: IntArray, logits: FloatArray) -> dict[str, Any]:
    """Return n, top-1 and its Wilson interval over the images that have a label; the latter None where none has."""
    known = truth != DROPPED
    n, right = int(known.sum()), int((logits.argmax(1) == truth)[known].sum())
    return {"n": n, "top1": right / n if n else None, "interval": list(wilson(right, n)) if n else None}


def goals(session: Session, strategies: Iterable[str]) -> dict[str, Goal]:
    """Return the goal of each of some strategies; those with a teacher share it.

    Raises
    ------
    BadOption, UnknownName, MissingData, BadData
        As `check_strategies`; and what is wrong with the second task or the teacher's name.
    """
    settings = session.settings
    check_strategies(settings)
    found: dict[str, Goal] = dict.fromkeys(strategies, Goal())
    if settings.training.teacher is not None and first_of(found, DISTILLED):
        taught = Distillation(Teacher(session, session.backbone(settings.training.teacher)[0]))
        found |= {one: taught for one in found if one in DISTILLED}
    if first_of(found, TWO_HEADED):
        second = second_task(session.dataset, settings.training.second, whole=settings.data.limit is None)
        both = SecondTask(session, second)
        found |= {one: both for one in found if one in TWO_HEADED}
    return found
