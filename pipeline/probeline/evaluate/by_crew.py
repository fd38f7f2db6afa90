"""Heads that a crew fits: each backbone at each tap in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from probeline.crews.waves import choose_crew, run_waves
from probeline.crews.work import Piece, Results, Shards
from probeline.evaluate.score import are_scored
from probeline.evaluate.tokens import requested_rows, taps_read
from probeline.names import JOINT, reads_tokens
from probeline.session import Session


def fit_by_crew(session: Session, verb: str) -> None:
    """Let the crew of the settings make the scores of a verb that do not exist, from features that it extracts first.

    Raises
    ------
    CrewFailed, FoundUnreadable, ProbelineError
    """
    session = session.under(session.settings.changed(taps=taps_read(session.settings, verb)))
    pieces = pieces_by_tap(
        session, lambda own: all(are_scored(features, verb) for features in requested_rows(own, verb))
    )
    extract_by_crew(session, pieces)
    run_waves(session, choose_crew(session), Results(session.settings, verb, "tap", pieces))


def extract_by_crew(session: Session, pieces: Sequence[Piece]) -> None:
    """Let the crew of the settings extract missing features of those results that do not exist."""
    settings = session.settings
    missing = [piece.changes for piece in pieces if not piece.exists()] if session.has_images else []
    if missing:
        backbones = dict.fromkeys(name for changes in missing for name in changes["backbones"])
        taps = dict.fromkeys(tap for changes in missing for tap in changes.get("taps", settings.reading.taps))
        own = session.under(settings.changed(backbones=tuple(backbones), taps=tuple(taps)))
        run_waves(own, choose_crew(own), Shards(own))


def pieces_by_tap(session: Session, exists: Callable[[Session], bool], **changes: Any) -> list[Piece]:
    """Return the work on each backbone at each tap alone; `exists` tells of its session whether it is done."""
    settings = session.settings
    pieces = []
    for backbone in settings.nets.backbones:
        for tap in settings.reading.taps:
            own = {"backbones": (backbone,), "taps": (tap,), **changes}
            if settings.heads.attentive and not reads_tokens(tap):
                own["attentive"] = ()  # a command with it and without tokens is refused
            if settings.heads.zero_shot and tap != JOINT:
                own |= {"zero_shot": False, "templates": (), "class_texts": ()}
            pieces.append(Piece(own, partial(exists, session.under(settings.changed(**own)))))
    return pieces
