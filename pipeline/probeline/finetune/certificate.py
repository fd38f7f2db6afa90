"""What a fine-tune's score certifies: how the net was trained, its teacher, and its second task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from probeline.results.decode import encode


@dataclass(frozen=True)
class TeacherFacts:
    """The teacher of a distilled net.

    Attributes
    ----------
    backbone : str
    weights : str
        sha256 of its tensors.
    l2 : float
        Of its probe.
    train_top1 : float
        Of its predictions on the train rows.
    unseen : int
        How many of these are out-of-fold.
    converged : bool
        Whether all of its fits did.
    """

    backbone: str
    weights: str
    l2: float
    train_top1: float
    unseen: int
    converged: bool


@dataclass(frozen=True)
class SecondTaskAccuracy:
    """Top-1 of a second head over the images with its label, and its Wilson interval; None if no image has one."""

    n: int
    top1: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class SecondTaskFacts:
    """Classes of a second task, and the accuracy of its head on val and on test."""

    classes: tuple[str, ...]
    val: SecondTaskAccuracy
    test: SecondTaskAccuracy


@dataclass(frozen=True)
class FinetuneCertificate:
    """How a net was trained.

    Attributes
    ----------
    precision : str
    backbone : str
        sha256 of the tensors that training began with; ``own`` if they were random.
    edge : bool
        Whether a chosen hyper-parameter is at the edge of its grid.
    diverged : tuple of str
        Candidates whose training diverged, in words.
    parts : int
        In how many parts a batch went through the net.
    cut : str or None
        The first module that went through more than one pass, if the stages below it were run once.
    teacher : TeacherFacts, optional
    second : SecondTaskFacts, optional
    """

    precision: str
    backbone: str
    edge: bool
    diverged: tuple[str, ...]
    parts: int
    cut: str | None
    teacher: TeacherFacts | None = None
    second: SecondTaskFacts | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the certificate as a score holds it: without teacher and second task if there are none."""
        absent = {name for name in ("teacher", "second") if getattr(self, name) is None}
        return {name: value for name, value in encode(self).items() if name not in absent}
