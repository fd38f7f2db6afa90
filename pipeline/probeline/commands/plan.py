"""Dry run: print what the verbs would do; no net runs, no head is fitted, nothing is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from probeline.backbones.weights.download import without_downloads
from probeline.crews.waves import describe_crew
from probeline.crews.work import share_words
from probeline.errors import MissingData
from probeline.evaluate.current_scores import current_scores
from probeline.evaluate.targets.current import current_target_scores, target_verbs
from probeline.extraction.plan import ExtractionPlan, plan_extraction
from probeline.finetuning.requests import accumulate_over
from probeline.format import seconds
from probeline.names import DISTILLED, FROM_PROBE
from probeline.options.command_line import shell_command
from probeline.options.share import torchrun_share
from probeline.report.records.planned_rows import plan_rows
from probeline.session import Session

_READ_FEATURES = {"extract", "probe", "baselines", "curve", "robustness", "pictures", "doctor", "export"}
_FROM_THE_PROBE = {*FROM_PROBE, *DISTILLED}
_SCORING = {"probe", "baselines", "finetune"}


def run(session: Session, verbs: Sequence[str]) -> dict[str, Any]:
    """Print what these verbs would do under the session's settings, and return it."""
    if "finetune" in verbs and (share := torchrun_share(os.environ)):  # as finetune itself changes them
        session = session.under(session.settings.changed(train=accumulate_over(share.count, session.settings)))
    console, settings = session.console, session.settings
    load = current_scores if session.dataset.targets is None else current_target_scores
    scores = load(session, "dry run") if _SCORING & {*verbs} else []
    trains_from_probe = "finetune" in verbs and _FROM_THE_PROBE & {*settings.training.strategies}
    extractions: list[ExtractionPlan] = []
    rows: list[dict[str, Any]] = []
    with without_downloads():
        for text in settings.nets.backbones:
            try:
                if session.has_images and (trains_from_probe or _READ_FEATURES & {*verbs}):
                    extractions += plan_extraction(session, text)
                rows += plan_rows(session, text, verbs, scores, target_verbs(session))
            except MissingData as error:
                console.result(f"dry run: {text}: {error}; nothing can be planned for it")
    if settings.sharing.crew is not None:
        crew = describe_crew(settings)
        if any(plan.missing for plan in extractions):
            first = shell_command(share_words(settings, 0, settings.sharing.crew_size or 1))
            console.result(f"dry run: extract: {crew} would be started, the first as: {first}")
        for verb in dict.fromkeys(row["verb"] for row in rows if not row["scored"]):
            console.result(f"dry run: {verb}: {crew} would be started, with a command of its own for each result")
    for plan in extractions:
        console.result(f"dry run: extract {plan.title}: {_in_words(plan)}")
    for row in rows:
        state = f"would be fitted on {row['images']:,} images, {_about(row['seconds'], 'no such row was fitted')}"
        console.result(f"dry run: {row['verb']}: {row['title']}: {'already scored' if row['scored'] else state}")
    for verb in verbs:
        if verb not in {"extract", "compare", *_SCORING}:
            console.result(f"dry run: {verb} would run, and skip what is up to date; no estimate")
    return {"extract": [asdict(plan) for plan in extractions], "rows": rows, "verbs": list(verbs)}


def _in_words(plan: ExtractionPlan) -> str:
    counts = f"{plan.images:,} images, {plan.cached:,} cached"
    if not plan.missing:
        return f"{counts}, nothing to extract"
    return f"{counts}, {plan.missing:,} to extract, {_about(plan.seconds, 'this net has not run')}"


def _about(estimate: float | None, what: str) -> str:
    return f"no estimate: {what} here yet" if estimate is None else f"about {seconds(estimate)} s"
