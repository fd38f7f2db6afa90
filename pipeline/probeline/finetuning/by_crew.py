"""Trainings that a crew does: each backbone, strategy and seed in a process of its own."""

from __future__ import annotations

from functools import partial

from probeline.crews.waves import choose_crew, run_waves
from probeline.crews.work import Piece, Results
from probeline.evaluate.by_crew import extract_by_crew
from probeline.finetuning.fit import is_scored
from probeline.finetuning.requests import plan_jobs
from probeline.names import FROM_PROBE
from probeline.options.checks import first_of
from probeline.session import Session


def train_by_crew(session: Session) -> None:
    """Let the crew of the settings do the trainings that are not scored yet.

    The crew extracts the features from which LP-FT and WiSE-FT start first.

    Raises
    ------
    CrewFailed, FoundUnreadable, ProbelineError
    """
    settings, pieces = session.settings, []
    for backbone in settings.nets.backbones:
        alone = session.under(settings.changed(backbones=(backbone,)))
        seeds = range(settings.fitting.seed, settings.fitting.seed + settings.fitting.seeds)
        for job in plan_jobs(alone, seeds):
            own = {"backbones": (backbone,), "strategies": (job.strategy,), "seed": job.seed, "seeds": 1}
            pieces.append(Piece(own, partial(is_scored, job)))
    from_features = [piece for piece in pieces if first_of(piece.changes["strategies"], FROM_PROBE)]
    extract_by_crew(session.without_views(), from_features)
    run_waves(session, choose_crew(session), Results(settings, "finetune", "training", pieces))
