"""Finetune: train a net, or its upper stages, from its weights or from scratch, on the rows of the probe."""

from __future__ import annotations

from typing import Any

from probeline.errors import Diverged
from probeline.evaluate.requests import outcome
from probeline.finetuning.by_crew import train_by_crew
from probeline.finetuning.fit import finetune
from probeline.finetuning.requests import plan_jobs
from probeline.results.score import Score
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Train what the settings request, with every seed, unless it is already scored; return all results."""
    if session.settings.sharing.crew is not None:
        train_by_crew(session)
    seeding = session.settings.seeding
    scores: list[Score] = []
    diverged: list[Diverged] = []
    for job in plan_jobs(session, range(seeding.seed, seeding.seed + seeding.seeds)):
        try:
            scores.append(finetune(job))
        except Diverged as error:
            diverged.append(error)
            session.console.say(f"finetune: {job.title}: training diverged: {error}")
    if diverged:
        raise diverged[0]
    return [outcome(session, score) for score in scores]
