"""The scores of the present splits and labels: those that reports and pictures show."""

from __future__ import annotations

from probeline.identity import HEADS_VERSION, TRAIN_VERSION, canonical
from probeline.results.methods import method_info
from probeline.results.score import SCORES, Score
from probeline.session import Session


def current_scores(session: Session, verb: str) -> list[Score]:
    """Return the scores of these rows and labels by the present version of their method; say which are left out.

    If the same row and seed was scored on features of two keys, the score that was written last is returned.

    Parameters
    ----------
    session : Session
    verb : str
        Named in messages.
    """
    say = session.console.say
    found, ignored = SCORES.load(session.reports)
    for item in ignored:
        say(f"{verb}: left out {item.path}: {item.reason}")
    here = (session.splits_sha256, session.dataset.class_names)
    scores = [score for score in found if (score.splits, score.class_names) == here]
    if len(scores) < len(found):
        say(f"{verb}: left out {len(found) - len(scores)} scores of other images, splits or labels")
    current = [score for score in scores if score.options.get("version") == _version(score)]
    if len(current) < len(scores):
        say(f"{verb}: left out {len(scores) - len(current)} scores of an earlier version of their method")
    newest: dict[tuple[object, ...], Score] = {}
    for score in sorted(current, key=lambda score: _written(session, score)):
        net = (score.backbone, score.weights, score.image_size, score.precision)
        place = (*net, score.tap, score.views, score.method, canonical(dict(score.options)), score.seed)
        if place in newest:
            say(f"{verb}: {score.method} of {score.backbone} was run on other embeddings before; the last run is shown")
        newest[place] = score
    return list(newest.values())


def _version(score: Score) -> int:
    return TRAIN_VERSION if method_info(score.method).trains else HEADS_VERSION


def _written(session: Session, score: Score) -> int:
    path = SCORES.path(session.reports, score.backbone, score.weights, score.method, score.seed, score.key)
    return path.stat().st_mtime_ns
