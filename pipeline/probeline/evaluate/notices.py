"""What a stage says of its fits: whom class weights do not concern, and classes that the best row never finds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from probeline.errors import BadOption
from probeline.evaluate.features import CachedRows
from probeline.evaluate.heads.texts import WITH_TEXTS
from probeline.format import listing
from probeline.results.methods import method_info
from probeline.results.ranking import best_by_validation
from probeline.results.score import Score
from probeline.results.score_words import missed_classes
from probeline.session import Session


def say_missed_classes(session: Session, verb: str, scores: Sequence[Score]) -> None:
    """Say on which classes the row of a stage that is best on validation is never right; nothing if there is none."""
    best = best_by_validation(scores)
    if best is None or not (missed := missed_classes(best)):
        return
    row, macro = f"{method_info(best[0].method).short} of {best[0].backbone}", fmean(score.macro for score in best)
    session.console.say(
        f"{verb}: best on validation is {row}, which is never right on {missed}; the mean accuracy of the classes "
        f"(macro) is {macro:.4f}"
    )


def say_unweighted(session: Session, verb: str, methods: Sequence[str]) -> None:
    """Say once which methods of a stage class weights do not concern; nothing without weights."""
    if session.settings.fitting.class_weights and methods:
        names = listing([method_info(name).short for name in methods])
        session.note_once(f"{verb}: class weights do not concern {names}: fitted as without them")


def say_without_texts(session: Session, rows: Sequence[CachedRows[Any]]) -> None:
    """Say which nets zero-shot classification passes over.

    Raises
    ------
    BadOption
        It passes over all of them.
    """
    if not session.settings.heads.zero_shot:
        return
    nets = dict.fromkeys(_net(own) for own in rows)
    without = [net for net in nets if net not in {_net(own) for own in rows if own.has_texts}]
    if len(without) == len(nets):
        raise BadOption("no net for --zero-shot", expected=WITH_TEXTS, got=listing(without))
    for net in without:
        session.console.say(f"probe: {net}: passed over by --zero-shot, which needs {WITH_TEXTS}")


def _net(rows: CachedRows[Any]) -> str:
    return f"{rows.backbone.name} ({rows.backbone.weights})"


def require_no_texts(session: Session) -> None:
    """Raise BadOption if zero-shot classification is requested of several labels or of numbers."""
    if session.settings.heads.zero_shot:
        raise BadOption("--zero-shot needs one class per image", got=f"the targets of {session.dataset.name}")
