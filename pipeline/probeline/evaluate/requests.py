"""Requests for records: their keys, whether they are finished, and the fields that all records of a kind share."""

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

OTHER_LABELS = "has other labels than the test images"
"""Why a score is skipped although its digest of the splits is that of the session."""

NOT_ALL_L2 = "has not every l2"
"""Why a score is skipped that the session wants the full path of."""


@dataclass(frozen=True)
class ScoreRequest:
    """One score, before it exists.

    Attributes
    ----------
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


def find_score(session: Session, backbone: Backbone, request: ScoreRequest) -> Score | SkippedFile | None:
    """Return the score that is requested, None if it does not exist."""
    names = (backbone.name, backbone.weights, request.method, request.seed, request.key)
    score = SCORES.find(session.reports, *names)
    if isinstance(score, Score) and score.labels != test_labels(session):
        return SkippedFile(SCORES.path(session.reports, *names), OTHER_LABELS)
    if isinstance(score, Score) and session.settings.heads.full_path and score.left_out:
        return SkippedFile(SCORES.path(session.reports, *names), NOT_ALL_L2)
    return score


def test_labels(session: Session) -> tuple[int, ...]:
    """Return the labels of the test images, which every score of these splits has."""
    return tuple(task_of(session.dataset).targets(session.dataset, session.splits.test).tolist())


def find_finished(session: Session, backbone: Backbone, request: ScoreRequest, title: str) -> Score | None:
    """Return the score that is requested and say that it is skipped; None if it is yet to be made."""
    score = find_score(session, backbone, request)
    top1 = f" (test top-1 {score.top1:.4f})" if isinstance(score, Score) else ""
    return reuse(session, score, session.reports / "scores", title, f"{title}: already scored, skipped{top1}")


def reuse(
    session: Session, record: Record | SkippedFile | None, folder: Path, title: str, message: str
) -> Record | None:
    """Return an existing record and say `message`; None if it is yet to be made, in `folder`.

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
    disk.check_writable(folder, session.settings.folders.reports)
    return None


def outcome(session: Session, score: Score) -> dict[str, Any]:
    """Return the summary of a score that ``--json`` prints, with the path of its file."""
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
        "file": str(SCORES.path_of(session.reports, score)),
    }


def record_fields(session: Session, backbone: Backbone, request: ScoreRequest, device: str) -> dict[str, Any]:
    """Return the fields that every record of a run on one backbone shares; `device` is in words."""
    return {
        "dataset": session.dataset.title,
        "splits": session.splits_sha256,
        "n_train": len(session.splits.train),
        "backbone": backbone.name,
        "weights": backbone.weights,
        "image_size": backbone.preprocess.crop,
        "precision": session.settings.nets.precision,
        "method": request.method,
        "options": request.options,
        "key": request.key,
        "environment": environment(device),
    }


def score_fields(
    session: Session,
    backbone: Backbone,
    request: ScoreRequest,
    device: str,
    logits: FloatArray,
    validation: tuple[IntArray, FloatArray],
) -> dict[str, Any]:
    """Return the fields that all scores share, and those that follow from the logits float32 [n_test, K] on test.

    `validation` are labels and logits of rows that selected the hyper-parameters and that the method was not fitted on.
    """
    splits, dataset = session.splits, session.dataset
    task = task_of(dataset)
    return {
        **record_fields(session, backbone, request, device),
        "seed": request.seed,
        "n_val": len(splits.val),
        "n_test": len(splits.test),
        "class_names": dataset.class_names,
        **task.metrics(task.targets(dataset, splits.test), logits, *validation),
    }
