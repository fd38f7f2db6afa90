"""The row of a report that is exported: by method and seed, by its key, or the best on validation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from probeline.errors import BadOption, MissingData
from probeline.evaluate.current_scores import current_scores
from probeline.files.decode import encode
from probeline.format import listing
from probeline.identity import ARTIFACT_VERSION, digest
from probeline.images import Decoding
from probeline.options.command_line import command_line
from probeline.results.methods import method_info
from probeline.results.ranking import best_by_validation
from probeline.results.score import Score
from probeline.session import Session

KEY = re.compile("[0-9a-f]{6,64}")
"""The first digits of a score's key."""


def request_digest(score: Score, train_rows: int, graphs: Sequence[str]) -> str:
    """Return the sha256 over what is exported and how."""
    return digest(
        {"version": ARTIFACT_VERSION, "score": encode(score), "train_rows": train_rows, "graphs": sorted(graphs)}
    )


def chosen_row(session: Session, verb: str) -> Score:
    """Return the score that ``--method`` names, or of the row that is best on validation, with the requested seed.

    If several runs or backbones have the method, the best on validation is taken; test is not used. The first digits of
    a score's key name that score, whatever its training and seed. Messages name `verb`.

    Raises
    ------
    UnknownName
        No such method.
    MissingData
        No such score.
    BadOption
        No score of that seed.
    """
    settings = session.settings
    method = settings.export.method
    is_key = method is not None and KEY.fullmatch(method) is not None
    if method is not None and not is_key:
        method_info(method)
    scores = _filter_requested(session, current_scores(session, verb))
    if method is not None and is_key:
        return _score_by_key(session, verb, method, scores)
    candidates = [score for score in scores if method in (None, score.method)]
    row = best_by_validation(candidates)
    if row is None:
        maker = method_info(method).verb if method else "probe"
        raise MissingData(
            f"no {method or 'score'} to {verb}",
            where=f"{session.dataset.title} x {' '.join(settings.nets.backbones)}",
            got=listing(sorted({score.method for score in candidates})) or "no score of these options",
            remedy=f"run: {command_line(settings, maker)}",
        )
    chosen = next((score for score in row if score.seed in (None, settings.fitting.seed)), None)
    if chosen is None:
        seeds = listing([str(score.seed) for score in row])
        raise BadOption(
            f"no score of that seed of {row[0].method}", expected=f"--seed {seeds}", got=settings.fitting.seed
        )
    return chosen


def _score_by_key(session: Session, verb: str, digits: str, scores: Sequence[Score]) -> Score:
    matches = [score for score in scores if score.key.startswith(digits)]
    if len(matches) != 1:
        raise MissingData(
            f"no one score to {verb}" if not matches else f"several scores to {verb}",
            where=session.reports / "scores",
            expected=f"one whose key begins {digits}",
            got=f"{len(matches)} of {len(scores)}",
            remedy="take a key from the page, and give the taps, views, weights and image size of its row",
        )
    return matches[0]


def _filter_requested(session: Session, scores: Sequence[Score]) -> list[Score]:
    """Return the scores of the nets, weights, input size, precision, taps and views of the options."""
    settings = session.settings
    requested: dict[tuple[str, str], tuple[int, set[str]]] = {}
    for text in settings.nets.backbones:
        net, _ = session.backbone(text)
        taps = {"+".join(tap.tap for tap in taps) for taps in session.taps(text)[0]}
        requested[net.name, net.weights] = requested[net.name, "none"] = (net.preprocess.crop, taps)

    def is_requested(score: Score) -> bool:
        size, taps = requested.get((score.backbone, score.weights), (0, set()))
        if (score.precision, score.image_size) != (settings.nets.precision, size):
            return False
        if Decoding.of(score.options) != session.decoding:
            return False
        if method_info(score.method).trains:
            return True
        return score.tap in taps and score.views == settings.reading.views

    return [score for score in scores if is_requested(score)]
