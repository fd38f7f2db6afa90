"""From cached features to scores: every method is selected on validation, then scored on test once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from probeline.evaluate.candidates import Candidate, Selection
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.folds import Fold
from probeline.evaluate.heads.method import FitSettings, HeadMethod
from probeline.evaluate.heads.registry import head_methods
from probeline.evaluate.requests import ScoreRequest, test_fields
from probeline.evaluate.selection import select
from probeline.evaluate.stopwatch import Stopwatch
from probeline.format import option
from probeline.results.decode import encode
from probeline.results.score import SCORES, Score
from probeline.types import FloatArray

Head = TypeVar("Head")


@dataclass(frozen=True)
class _Selected(Generic[Head]):
    """A selection, the fold of the train rows, and the seconds both took."""

    selection: Selection[Head]
    fold: Fold
    seconds: float


def score_heads(features: CachedFeatures, verb: str) -> list[Score]:
    """Return the scores of all requested head methods of a verb; those that exist are not made again.

    Raises
    ------
    Diverged
        The training of every candidate of a method diverged.
    ProbelineError
    """
    settings = features.session.settings
    methods = [method for method in head_methods(verb) if method.is_requested(settings.heads)]
    first = settings.seeding.seed
    runs: list[tuple[HeadMethod[Any], int | None]] = [(method, None) for method in methods if not method.is_seeded]
    for seed in range(first, first + settings.seeding.seeds):
        runs += [(method, seed) for method in methods if method.is_seeded]
    shared: dict[str, _Selected[Any]] = {}
    return [score_head(features, method, seed, shared) for method, seed in runs]


def score_head(
    features: CachedFeatures,
    method: HeadMethod[Head],
    seed: int | None = None,
    shared: dict[str, _Selected[Any]] | None = None,
) -> Score:
    """Return the score of one method, found or new.

    Parameters
    ----------
    features : CachedFeatures
    method : HeadMethod
    seed : int or None
    shared : dict, optional
        The last selection, for methods that share it.
    """
    shared = {} if shared is None else shared
    request = features.request(method.name, seed, **method.options(features.session.settings.heads))
    if finished := features.find_finished(request):
        return finished
    settings = FitSettings(request.options, features.classes, seed or 0)
    name = f"{method.selection_name} {seed}"
    if name not in shared:
        shared.clear()  # heads and features of one method at a time
        watch = Stopwatch()
        folds = features.load_selection_folds()
        selection = select(folds, method, settings, features.task, where=features.title(method.name, seed))
        shared[name] = _Selected(selection, folds[0], watch.seconds())
    selected: _Selected[Head] = shared[name]
    watch = Stopwatch(selected.seconds)
    if method.is_refit:
        fold = features.load_refit_fold()
        heads, X_test = method.fit(fold, settings, selected.selection.candidates), fold.X_heldout
    else:
        heads, X_test = selected.selection.heads, features.load_test(selected.fold)
    test = _score_on_test(features, method.logits(heads, X_test), selected.selection)
    facts = _describe_head(features, method, heads[selected.selection.index], selected.selection, settings)
    return _save(features, request, selected.selection, test, facts, watch.seconds())


@dataclass(frozen=True)
class _TestScores:
    """Logits of the selected candidate float32 [n_test, K], and score and loss of every candidate on test."""

    logits: FloatArray
    path: tuple[Candidate, ...]
    scores: tuple[float, ...]


def _score_on_test(features: CachedFeatures, outputs: Iterable[FloatArray], selection: Selection[Any]) -> _TestScores:
    """Score the candidates on test, after selection: those that are not selected only for `path` and `optimism`.

    Parameters
    ----------
    features : CachedFeatures
    outputs : iterable of float32 [n_test, K]
        The logits of each candidate, in their order; used one at a time.
    selection : Selection
    """
    task, session = features.task, features.session
    targets = task.targets(session.dataset, session.splits.test)
    path: list[Candidate] = []
    scores: list[float] = []
    logits = None
    for index, output in enumerate(outputs):
        scores.append(task.selection_score(targets, output))
        path.append(
            {f"test_{task.selection_metric}": scores[-1], f"test_{task.loss.__name__}": task.loss(targets, output)}
        )
        logits = output if index == selection.index else logits
    if logits is None or len(path) != len(selection.path):
        raise ValueError(f"{len(path)} outputs for {len(selection.path)} candidates")
    return _TestScores(logits, tuple(path), tuple(scores))


def _describe_head(
    features: CachedFeatures,
    method: HeadMethod[Head],
    head: Head,
    selection: Selection[Head],
    settings: FitSettings,
) -> dict[str, Any]:
    """Return the fields of a score that its head decides."""
    certificate = method.certificate(head, selection, settings)
    trainable, splits = method.count_parameters(head), features.session.splits
    refit = {"n_train": len(splits.train) + len(splits.val), "n_val": 0} if method.is_refit else {}
    return {
        "trainable": trainable,
        "total": features.frozen_parameters + trainable,
        "converged": method.has_converged(head) is not False,
        "certificate": encode(certificate) if certificate else {},
        "history": method.history(head),
        **refit,
    }


def _save(
    features: CachedFeatures,
    request: ScoreRequest,
    selection: Selection[Any],
    test: _TestScores,
    facts: Mapping[str, Any],
    seconds: float,
) -> Score:
    """Write the score of the selected candidate, and return it."""
    session, backbone = features.session, features.backbone
    has_choice = len(selection.path) > 1
    score = Score(
        **{
            **test_fields(session, test.logits, "CPU", selection.y_val, selection.val_logits),
            "chosen": selection.selected,
            "chosen_by": session.splits.chosen_by if has_choice else "",
            "val_top1": selection.path[selection.index][features.task.selection_metric],
            "optimism": max(test.scores) - test.scores[selection.index] if has_choice else None,
            "path": tuple({**a, **b} for a, b in zip(selection.path, test.path, strict=True)) if has_choice else (),
            **facts,
        },
        backbone=backbone.name,
        weights=backbone.weights,
        method=request.method,
        seed=request.seed,
        key=request.key,
        options=request.options,
        image_size=backbone.preprocess.crop,
        precision=session.settings.nets.precision,
        tap=features.tap,
        views=session.settings.reading.views,
        warm_seconds=seconds,
        cold_seconds=seconds + features.extraction_seconds,
    )
    SCORES.save(session.reports, score)
    choice = ", ".join(option(name, value) for name, value in score.chosen.items())
    session.console.result(
        f"{features.title(request.method, request.seed)}: test top-1 {score.top1:.4f}"
        + (f", {choice} chosen by {score.chosen_by}" if choice else "")
        + f", {seconds:.1f} s"
    )
    return score
