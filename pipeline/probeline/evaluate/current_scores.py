"""The scores of the present splits and labels: those that reports and pictures show."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from probeline.evaluate.requests import OTHER_LABELS, test_labels
from probeline.identity import HEADS_VERSION, TRAIN_VERSION, canonical
from probeline.results.methods import method_info
from probeline.results.score import SCORES, Score
from probeline.session import Session


def current_scores(session: Session, verb: str) -> list[Score]:
    """Return the scores of these rows and labels by the present version of their method; say which are left out.

    If the same row and seed was scored on features of two keys, the score that was written last is returned. Messages
    begin with `verb`.
    """
    say = session.console.say
    saved, ignored = SCORES.load(session.reports)
    for item in ignored:
        say(f"{verb}: left out {item.path}: {item.reason}")
    here = (session.dataset.title, session.splits_sha256, session.dataset.class_names)
    scores = [score for score in saved if (score.dataset, score.splits, score.class_names) == here]
    if len(scores) < len(saved):
        say(f"{verb}: left out {len(saved) - len(scores)} scores of other images, splits or labels")
    current = of_present_version(scores)
    if len(current) < len(scores):
        say(f"{verb}: left out {len(scores) - len(current)} scores of an earlier version of their method")
    labels = test_labels(session) if current else ()
    for score in (score for score in current if score.labels != labels):
        say(f"{verb}: left out {SCORES.path_of(session.reports, score)}: {OTHER_LABELS}")
    current = [score for score in current if score.labels == labels]
    newest = newest_runs(session.reports, current)
    shown = {score.key for score in newest}
    for score in (score for score in current if score.key not in shown):
        say(f"{verb}: {score.method} of {score.backbone} was run on other embeddings before; the last run is shown")
    return newest


def of_present_version(scores: Iterable[Score]) -> list[Score]:
    """Return the scores by the present version of their method."""
    return [score for score in scores if score.options.get("version") == _version(score)]


def newest_runs(folder: Path, scores: Iterable[Score]) -> list[Score]:
    """Return, of the scores of one row and seed in a report's folder, those that were written last.

    There are several if features of two keys were scored, such as after images were exchanged.
    """
    newest: dict[tuple[object, ...], Score] = {}
    for score in sorted(scores, key=lambda score: SCORES.path_of(folder, score).stat().st_mtime_ns):
        net = (score.backbone, score.weights, score.image_size, score.precision)
        newest[(*net, score.tap, score.views, score.method, canonical(dict(score.options)), score.seed)] = score
    return list(newest.values())


def _version(score: Score) -> int:
    return TRAIN_VERSION if method_info(score.method).trains else HEADS_VERSION
