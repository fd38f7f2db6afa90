"""What a stage says of its fits: whom class weights do not concern, and classes that the best row never finds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

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
