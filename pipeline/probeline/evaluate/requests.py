"""Requests for scores: their keys, whether they are finished, and the fields that all scores share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from probeline import disk
from probeline.environment import environment
from probeline.evaluate.task import task_of
from probeline.identity import digest
from probeline.results.score import SCORES, Score
from probeline.results.store import SkippedFile
from probeline.session import Session
from probeline.types import Backbone, FloatArray, IntArray

Record = TypeVar("Record")


@dataclass(frozen=True)
class ScoreRequest:
    """One score, before it exists.

    Attributes
    ----------
    method : str
    seed : int or None
        None if nothing is random.
    options : mapping
        Everything else that the method depends on, and the version of its code.
    key : str
        sha256 over all of that, the rows and their labels.
    """

    method: str
    seed: int | None
    options: Mapping[str, Any]
    key: str


def result_key(session: Session, method: str, **facts: Any) -> str:
    """Return the key of a score or a curve: its method and options, and the rows with their labels."""
    return digest({"method": method, "splits": session.splits_sha256, **facts})


def request_score(
    session: Session, method: str, seed: int | None, options: Mapping[str, Any], **depends_on: Any
) -> ScoreRequest:
    """Return a request with its key: its options, and what else its numbers depend on."""
    key = result_key(session, method, seed=seed, options=options, **depends_on)
    return ScoreRequest(method, seed, options, key)


def find_finished(session: Session, backbone: Backbone, request: ScoreRequest, title: str) -> Score | None:
    """Return the score that is requested and say that it is skipped; None if it is yet to be made.

    Raises
    ------
    CannotWrite
        It is yet to be made, and could not be kept.
    """
    folder = session.reports
    score = SCORES.find(folder, backbone.name, backbone.weights, request.method, request.seed, request.key)
    return reuse(session, score, folder / "scores", title, f"{title}: already scored, skipped")


def reuse(
    session: Session, record: Record | SkippedFile | None, folder: Path, title: str, message: str
) -> Record | None:
    """Return a record that was found and say `message`; None if it is yet to be made, in `folder`.

    Raises
    ------
    CannotWrite
        It is yet to be made, and could not be kept.
    """
    if isinstance(record, SkippedFile):
        session.console.say(f"{title}: recomputed, as {record.path.name} {record.reason}")
    elif record is not None:
        session.console.say(message)
        return record
    disk.check_writable(folder)
    return None


def outcome(session: Session, score: Score) -> dict[str, Any]:
    """Return the summary of a score that ``--json`` prints, with the path of its file."""
    names = (score.backbone, score.weights, score.method, score.seed, score.key)
    return {
        "backbone": score.backbone,
        "weights": score.weights,
        "tap": score.tap,
        "views": score.views,
        "method": score.method,
        "seed": score.seed,
        "top1": score.top1,
        "interval": score.interval,
        "chosen": score.chosen,
        "file": str(SCORES.path(session.reports, *names)),
    }


def test_fields(
    session: Session, logits: FloatArray, device: str, y_val: IntArray, val_logits: FloatArray
) -> dict[str, Any]:
    """Return the fields of a score that follow from the logits of the test images, whatever the method.

    Parameters
    ----------
    session : Session
    logits : float32 [n_test, K]
    device : str
        That the method ran on.
    y_val : int64 [m]
    val_logits : float32 [m, K]
        Of rows that selected the method's hyper-parameters, and that it was not fitted on.
    """
    splits, dataset = session.splits, session.dataset
    task = task_of(dataset)
    return {
        "dataset": dataset.title,
        "splits": session.splits_sha256,
        "n_train": len(splits.train),
        "n_val": len(splits.val),
        "n_test": len(splits.test),
        "class_names": dataset.class_names,
        **task.metrics(task.targets(dataset, splits.test), logits, y_val, val_logits),
        "environment": environment(device),
    }
