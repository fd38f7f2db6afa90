"""Finetune: train a net, or its upper stages, from its weights or from scratch, on the rows of the probe."""

from __future__ import annotations

import os
from typing import Any

from probeline.errors import BadData, Diverged, FoundUnreadable
from probeline.evaluate.notices import say_missed_classes
from probeline.evaluate.requests import outcome
from probeline.evaluate.targets.score import target_outcome
from probeline.finetuning.by_crew import train_by_crew
from probeline.finetuning.fit import finetune, require_packages
from probeline.finetuning.ranks import ALONE, Ranks, device_of_rank, joined, threads_of_rank
from probeline.finetuning.requests import accumulate_over, plan_jobs
from probeline.finetuning.targets.fit import finetune_targets
from probeline.options.share import Share, torchrun_share
from probeline.results.score import Score
from probeline.results.targets.score import TargetScore
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Train what the settings request, with every seed, unless it is already scored; return all results.

    Processes that torchrun has started train together: the first of them writes, speaks and has the results.
    """
    if session.settings.sharing.crew is not None:
        train_by_crew(session)
    share = torchrun_share(os.environ)
    return _train(session, ALONE) if share is None else _train_together(session, share)


def _train(session: Session, ranks: Ranks) -> list[dict[str, Any]]:
    require_packages(session)
    fits = session.settings.fitting
    scores: list[Score | TargetScore | None] = []
    train = finetune if session.dataset.targets is None else finetune_targets
    diverged: list[Diverged] = []
    for job in plan_jobs(session, range(fits.seed, fits.seed + fits.seeds)):
        try:
            scores.append(train(job, ranks))
        except Diverged as error:
            diverged.append(error)
            session.console.say(f"finetune: {job.title}: training diverged: {error}")
    if diverged:
        raise diverged[0]
    say_missed_classes(session, "finetune", [score for score in scores if isinstance(score, Score)])
    own = [score for score in scores if score is not None]
    return [outcome(session, one) if isinstance(one, Score) else target_outcome(session, one) for one in own]


def _train_together(session: Session, share: Share) -> list[dict[str, Any]]:
    settings = session.settings
    device = device_of_rank(settings.compute.device, os.environ)
    train = accumulate_over(share.count, settings)
    threads = threads_of_rank(device, settings.compute.workers, os.environ)
    session = session.under(settings.changed(device=str(device), workers=threads, train=train))
    words = f"{share.count} processes train together, as torchrun says"
    session.console.say(f"finetune: {words}: one alone would do the same with --train {train[-1]}")
    try:
        with joined(share, device, os.environ) as ranks:
            return _train(session, ranks)
    except FoundUnreadable as error:  # the other processes are in the middle of an epoch
        raise BadData(str(error)) from error
