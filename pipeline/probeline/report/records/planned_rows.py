"""The rows that verbs would score, for a dry run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from probeline.images import Decoding
from probeline.names import PENULTIMATE, Method
from probeline.options.settings import Settings
from probeline.report.records.row_commands import (
    has_requested_grid,
    is_fitted_as_requested,
    is_read_as_requested,
    is_read_by,
    is_trained_as_requested,
    requested_methods,
    requested_target_methods,
)
from probeline.results.score import Score
from probeline.results.targets.score import TargetScore
from probeline.session import Session


def plan_rows(
    session: Session,
    text: str,
    verbs: Collection[str],
    scores: Sequence[Score] | Sequence[TargetScore],
    of_targets: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one backbone that the verbs score: whether each is already scored, or about how long it takes.

    Methods of several labels or of numbers are those in `of_targets`, each with its verb, and trainings. The estimate,
    seconds or None, is by the last row of the same method and options on these images.
    """
    settings, (record, _) = session.settings, session.backbone(text)
    seeds = range(settings.fitting.seed, settings.fitting.seed + settings.fitting.seeds)
    net = (record.name, record.preprocess.crop, settings.nets.precision)
    of_net = [
        score
        for score in scores
        if (score.backbone, score.image_size, score.precision) == net and Decoding.of(score.options) == session.decoding
    ]
    taps = dict.fromkeys("+".join(tap.tap for tap in together) for together in session.taps(text)[0])
    requested = requested_methods(settings, verbs)
    if session.dataset.targets is not None:
        requested = requested_target_methods(session, settings, verbs, of_targets)
    for method, options in requested:
        weights = "none" if method.name == Method.SCRATCH else record.weights
        own = settings.changed(**options)
        same_options = [
            score
            for score in of_net
            if score.method == method.name
            and _is_fitted_as_requested(own, score)
            and is_trained_as_requested(own, settings.training.strategies, score)
        ]
        last = same_options[-1] if same_options else None
        pace = last.warm_seconds / last.n_train if last and last.n_train else None
        images = 0 if method.name == Method.ZERO_SHOT else len(session.splits.train)
        if method.name == Method.PROBE_REFIT:
            images += len(session.splits.val)
        read = [tap for tap in taps if is_read_by(method, tap)] if not method.trains else [""]
        for tap, seed in product(read, seeds if method.seeded else (None,)):
            scored = any(
                (score.weights, score.seed) == (weights, seed) and is_read_as_requested(own, tap, score)
                for score in same_options
            )
            at = f" at {tap}" if tap not in ("", PENULTIMATE) else ""
            title = f"{method.title} of {record.name}{at}" + (f", seed {seed}" if seed is not None else "")
            estimate = None if pace is None else pace * images
            yield {"verb": method.verb, "title": title, "scored": scored, "images": images, "seconds": estimate}


def _is_fitted_as_requested(settings: Settings, score: Score | TargetScore) -> bool:
    if isinstance(score, TargetScore):
        return has_requested_grid(settings, score)
    return is_fitted_as_requested(settings, score)
