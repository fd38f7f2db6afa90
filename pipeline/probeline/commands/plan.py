"""Dry run: print what the verbs would do; no net runs, no head is fitted, nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from probeline.backbones.weights.download import without_downloads
from probeline.errors import MissingData
from probeline.evaluate.current_scores import current_scores
from probeline.extract.plan import ExtractionPlan, plan_extraction
from probeline.finetune.requests import training_options
from probeline.format import seconds
from probeline.names import Method, Strategy, method_of
from probeline.options.settings import Settings
from probeline.report.records.row_commands import is_fitted_as_requested, is_read_as_requested, requested_methods
from probeline.results.methods import method_info
from probeline.results.score import Score
from probeline.session import Session

_READ_FEATURES = {"extract", "probe", "baselines", "curve", "pictures", "doctor", "export"}
_FROM_THE_PROBE = {Strategy.LP_FT, Strategy.DISTILL, Strategy.DISTILL_HEAD}
_SCORING = {"probe", "baselines", "finetune"}


def run(session: Session, verbs: Sequence[str]) -> dict[str, Any]:
    """Print what these verbs would do under the session's settings, and return it."""
    console, settings = session.console, session.settings
    scores = current_scores(session, "dry run") if _SCORING & {*verbs} else []
    trains_from_probe = "finetune" in verbs and _FROM_THE_PROBE & {*settings.training.strategies}
    extractions: list[ExtractionPlan] = []
    rows: list[dict[str, Any]] = []
    with without_downloads():
        for text in settings.nets.backbones:
            try:
                if trains_from_probe or _READ_FEATURES & {*verbs}:
                    extractions += plan_extraction(session, text)
                rows += _rows(session, text, verbs, scores)
            except MissingData as error:
                console.result(f"dry run: {text}: {error}; nothing can be planned for it")
    for plan in extractions:
        console.result(f"dry run: extract {plan.title}: {_in_words(plan)}")
    for row in rows:
        state = "already scored" if row["scored"] else f"would be fitted on {row['images']:,} images"
        console.result(f"dry run: {row['verb']}: {row['title']}: {state}")
    for verb in verbs:
        if verb not in {"extract", "compare", *_SCORING}:
            console.result(f"dry run: {verb} would run; what it has already is not looked up")
    return {"extract": [asdict(plan) for plan in extractions], "rows": rows, "verbs": list(verbs)}


def _in_words(plan: ExtractionPlan) -> str:
    counts = f"{plan.images:,} images, {plan.cached:,} cached"
    if not plan.missing:
        return f"{counts}, nothing to extract"
    about = "no estimate: this net has not run here yet" if plan.seconds is None else f"about {seconds(plan.seconds)} s"
    return f"{counts}, {plan.missing:,} to extract, {about}"


def _rows(session: Session, text: str, verbs: Sequence[str], scores: Sequence[Score]) -> Iterator[dict[str, Any]]:
    """Yield each row that the verbs would score with one backbone, and whether it is already scored."""
    settings, (record, _) = session.settings, session.backbone(text)
    seeds = range(settings.seeding.seed, settings.seeding.seed + settings.seeding.seeds)
    net = (record.name, record.preprocess.crop, settings.nets.precision)
    of_net = [score for score in scores if (score.backbone, score.image_size, score.precision) == net]
    taps = dict.fromkeys("+".join(tap.tap for tap in together) for together in session.taps(text)[0])
    for method, options in requested_methods(settings, verbs):
        weights = "none" if method.name == Method.SCRATCH else record.weights
        own = settings.changed(**options)
        images = len(session.splits.train)
        if method.name == Method.PROBE_REFIT:
            images += len(session.splits.val)
        for tap, seed in product(taps if not method.trains else ("",), seeds if method.seeded else (None,)):
            scored = any(
                (score.method, score.weights, score.seed) == (method.name, weights, seed)
                and is_read_as_requested(own, tap, score)
                and is_fitted_as_requested(own, score)
                and _is_trained_as_requested(own, score)
                for score in of_net
            )
            at = f" at {tap}" if tap not in ("", "penultimate") else ""
            title = f"{method.title} of {record.name}{at}" + (f", seed {seed}" if seed is not None else "")
            yield {"verb": method.verb, "title": title, "scored": scored, "images": images}


def _is_trained_as_requested(settings: Settings, score: Score) -> bool:
    """Return whether a training had the requested options; a head has none."""
    if not method_info(score.method).trains:
        return True
    (strategy,) = (name for name in settings.training.strategies if method_of(name) == score.method)
    return all(
        score.options.get(name) == (values[0] if len(values) == 1 else list(values))
        for name, values in training_options(settings, strategy).items()
    )
