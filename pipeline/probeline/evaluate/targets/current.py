"""The scores of the present splits and targets: those that reports show."""

from __future__ import annotations

from probeline.evaluate.targets.methods import METHODS
from probeline.identity import HEADS_VERSION, TRAIN_VERSION, canonical
from probeline.results.methods import method_info
from probeline.results.targets.score import TARGET_SCORES, TargetScore
from probeline.session import Session


def current_target_scores(session: Session, verb: str) -> list[TargetScore]:
    """Return the scores of these rows and targets by the present version of their method; say which are left out.

    Of several of the same row and seed the one that was written last is returned. Messages begin with `verb`.
    """
    say, targets = session.console.say, session.dataset.targets
    if targets is None:
        return []
    saved, skipped = TARGET_SCORES.load(session.reports)
    for item in skipped:
        say(f"{verb}: left out {item.path}: {item.reason}")
    here = (session.dataset.title, session.splits_sha256, targets.task, targets.names)
    own = [score for score in saved if (score.dataset, score.splits, score.task, score.target_names) == here]
    if len(own) < len(saved):
        say(f"{verb}: left out {len(saved) - len(own)} scores of other images, splits or targets")
    current = [score for score in own if score.options.get("version") == _version(score)]
    if len(current) < len(own):
        say(f"{verb}: left out {len(own) - len(current)} scores of an earlier version of their method")
    newest: dict[tuple[object, ...], TargetScore] = {}
    for score in sorted(current, key=lambda score: TARGET_SCORES.path_of(session.reports, score).stat().st_mtime_ns):
        net = (score.backbone, score.weights, score.image_size, score.precision, score.tap, score.views)
        newest[(*net, score.method, canonical(dict(score.options)), score.seed)] = score
    return list(newest.values())


def _version(score: TargetScore) -> int:
    return TRAIN_VERSION if method_info(score.method).trains else HEADS_VERSION


def target_verbs(session: Session) -> dict[str, str]:
    """Return the methods of the data set's task, each with the verb that fits it."""
    targets = session.dataset.targets
    return {str(method.name): method.verb for method in METHODS if targets and method.task == targets.task}
