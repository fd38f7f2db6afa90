"""From cached features to scores: every method is selected on validation, then scored on test once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from probeline.errors import BadOption
from probeline.evaluate.features import CachedRows, vectors_of
from probeline.evaluate.fit_options import fit_options, order_options
from probeline.evaluate.heads.method import (
    Candidate,
    ExportedHead,
    FitSettings,
    FoldOf,
    MethodOf,
    Rows,
    Selection,
)
from probeline.evaluate.heads.registry import head_method, head_methods
from probeline.evaluate.heads.texts import WITH_TEXTS, text_options
from probeline.evaluate.notices import say_unweighted
from probeline.evaluate.origins import record_origin
from probeline.evaluate.requests import ScoreRequest, find_score, score_fields
from probeline.evaluate.selection import select
from probeline.evaluate.targets.score import are_targets_scored
from probeline.evaluate.task import Task, task_of
from probeline.evaluate.tokens import require_kind
from probeline.files.decode import encode
from probeline.format import option
from probeline.heads.standardize import apply
from probeline.names import TOP1, reads_tokens
from probeline.results.elapsed import Elapsed, Stopwatch
from probeline.results.score import SCORES, Score
from probeline.session import Session
from probeline.types import FloatArray

Head = TypeVar("Head")


@dataclass(frozen=True)
class _Selected(Generic[Head, Rows]):
    """A selection, the fold of the train rows, and what both took."""

    selection: Selection[Head]
    fold: FoldOf[Rows]
    elapsed: Elapsed


def score_heads(features: CachedRows[Any], verb: str) -> list[Score]:
    """Return the scores of all requested head methods of a verb; those that exist are not made again."""
    shared: dict[str, _Selected[Any, Any]] = {}
    runs = _methods_and_seeds(features, verb)
    say_unweighted(features.session, verb, [method.name for method, _ in runs if not method.weighs_classes])
    return [score_head(features, method, seed, shared) for method, seed in runs]


def are_scored(features: CachedRows[Any], verb: str) -> bool:
    """Return whether all requested head methods of a verb are scored on some features."""
    session = features.session
    if session.dataset.targets is not None:
        return are_targets_scored(vectors_of(features), verb)
    requests = (_request(features, method, seed) for method, seed in _methods_and_seeds(features, verb))
    return all(isinstance(find_score(session, features.backbone, request), Score) for request in requests)


def _methods_and_seeds(features: CachedRows[Any], verb: str) -> list[tuple[MethodOf[Any, Any], int | None]]:
    settings = features.session.settings
    methods = [one for one in head_methods(verb, settings.heads) if one.reads_tokens == features.reads_tokens]
    methods = [one for one in methods if features.has_texts or not one.reads_texts]
    first = settings.fitting.seed
    runs: list[tuple[MethodOf[Any, Any], int | None]] = [(method, None) for method in methods if not method.is_seeded]
    for seed in range(first, first + settings.fitting.seeds):
        runs += [(method, seed) for method in methods if method.is_seeded]
    return runs


def _request(features: CachedRows[Any], method: MethodOf[Any, Any], seed: int | None) -> ScoreRequest:
    session = features.session
    shared = fit_options(session.settings, session.dataset.class_names, weighs_classes=method.weighs_classes)
    if method.orders_classes:
        shared |= order_options(session.settings, session.dataset.class_names)
    texts = text_options(session, features.backbone) if method.reads_texts else {}
    return features.request(method.name, seed, **{**shared, **texts, **method.options(session.settings.heads)})


def _task(session: Session) -> Task:
    """Return the task, selected by the metric that the settings name."""
    return task_of(session.dataset, session.settings.fitting.metric)


def score_head(
    features: CachedRows[Rows],
    method: MethodOf[Head, Rows],
    seed: int | None = None,
    shared: dict[str, _Selected[Any, Any]] | None = None,
) -> Score:
    """Return the score of one method, found or new; `shared` keeps the last selection, for methods that share it.

    Raises
    ------
    BadOption
        The method reads other rows than these: tokens, vectors, or those of the space that images and texts share.
    """
    require_kind(features, method.name, reads_tokens=method.reads_tokens)
    if method.reads_texts and not features.has_texts:
        raise BadOption(
            f"{method.name} needs a text tower", where=features.title(method.name, None), expected=WITH_TEXTS
        )
    session, shared = features.session, {} if shared is None else shared
    request = _request(features, method, seed)
    if finished := features.find_finished(request):
        return finished
    settings = features.fit_settings(request.options, seed)
    title = features.title(method.name, seed)
    name = f"{method.selection_name} {seed}"
    if name not in shared:
        shared.clear()  # heads and features of one method at a time
        watch = Stopwatch()
        folds = features.load_selection_folds()
        selection = select(folds, method, settings, _task(session), where=title)
        shared[name] = _Selected(selection, folds[0], watch.read())
    selected: _Selected[Head, Rows] = shared[name]
    selection = selected.selection
    watch = Stopwatch()
    heads, index = selection.heads, selection.index
    if not method.is_refit:
        X_test = features.load_test(selected.fold)
    else:
        fold = features.load_refit_fold()
        X_test = fold.X_heldout
        heads, index = [method.refit(fold, settings, selection.selected, alone=True)], 0
    logits, choice = _score_on_test(features, method.logits(heads, X_test), selection, index)
    fit = _describe_fit(features, method, heads[index], selection, settings)
    elapsed = selected.elapsed + watch.read()
    validation, device = (selection.y_val, selection.val_logits), settings.device.label
    score = Score(
        **{**score_fields(session, features.backbone, request, device, logits, validation), **choice, **fit},
        tap=features.tap,
        views=session.settings.reading.views,
        warm_seconds=elapsed.seconds,
        cold_seconds=elapsed.seconds + features.extraction_seconds,
        waited=elapsed.waited_share,
    )
    SCORES.save(session.reports, score)
    record_origin(session)
    chosen = ", ".join(option(name, value) for name, value in score.chosen.items())
    session.console.result(
        f"{title}: test top-1 {score.top1:.4f}"
        + (f", {chosen}" if chosen else "")
        + (f" chosen by {score.chosen_by}" if chosen and score.chosen_by else "")
        + f", {elapsed.seconds:.1f} s"
    )
    return score


def _score_on_test(
    features: CachedRows[Any], outputs: Iterable[FloatArray], selection: Selection[Any], index: int
) -> tuple[FloatArray, dict[str, Any]]:
    """Return the logits float32 [n_test, K] of the selected candidate, and the fields of a score on the selection.

    These are the `outputs` of number `index`. There are those of the selected candidate alone, or of all: the others
    are scored only for `path` and `optimism`, one at a time.
    """
    session = features.session
    task = _task(session)
    targets = task.targets(session.dataset, session.splits.test)
    path: list[Candidate] = []
    scores: list[float] = []
    logits = None
    for number, output in enumerate(outputs):
        measures = task.measures(targets, output)
        scores.append(measures[task.selection_metric])
        values = {**measures, task.loss.__name__: task.loss(targets, output)}
        path.append({f"test_{name}": value for name, value in values.items()})
        logits = output if number == index else logits
    if logits is None or len(path) not in (1, len(selection.path)):
        raise ValueError(f"{len(path)} outputs for {len(selection.path)} candidates")
    on_val = selection.path[selection.index]
    fields = {
        "chosen": selection.selected,
        "val_top1": on_val[TOP1],
        "val_score": None if task.selection_metric == TOP1 else on_val[task.selection_metric],
        "chosen_by": session.splits.chosen_by if len(selection.path) > 1 else "",
    }
    if len(path) == 1:
        return logits, fields
    return logits, {
        **fields,
        "optimism": max(scores) - scores[index],
        "path": tuple({**on_val, **on_test} for on_val, on_test in zip(selection.path, path, strict=True)),
    }


def _describe_fit(
    features: CachedRows[Any],
    method: MethodOf[Head, Any],
    head: Head,
    selection: Selection[Head],
    settings: FitSettings,
) -> dict[str, Any]:
    """Return the fields of a score that its head decides."""
    certificate = method.certificate(head, selection, settings)
    trainable, splits = method.count_parameters(head), features.session.splits
    refit = {"n_train": len(splits.train) + len(splits.val), "n_val": 0} if method.is_refit else {}
    if not method.uses_train:
        refit = {"n_train": 0}
    return {
        "trainable": trainable,
        "total": features.frozen_parameters + trainable,
        "converged": method.has_converged(head) is not False,
        "certificate": encode(certificate) if certificate else {},
        "history": method.history(head),
        **refit,
    }


def refit_logits(features: CachedRows[Any], score: Score) -> Callable[[FloatArray], FloatArray]:
    """Return the head of a score, fitted again, as a function from features [n, D], not standardised, to logits [n, K].

    The rows and the hyper-parameters are those of the score: nothing is selected. BadOption for a head of tokens.
    """
    method, vectors = head_method(score.method), vectors_of(features)
    settings = vectors.fit_settings(score.options, score.seed, vectors.fit_device(score))
    fold = vectors.load_refit_fold() if method.is_refit else vectors.load_selection_folds()[0]
    heads = [method.refit(fold, settings, score.chosen, alone=_was_fitted_alone(method, score))]
    return lambda rows: next(iter(method.logits(heads, apply(fold.scaler, rows))))


def require_exportable(score: Score) -> None:
    """Raise BadOption for a score whose head reads tokens: an artifact's head reads one vector per image."""
    if reads_tokens(score.tap):
        raise BadOption(
            f"{score.method} cannot be exported",
            where=score.tap,
            expected="a row whose head reads one vector per image",
            remedy="name another row by --method, such as probe, and its --tap",
        )


def refit(features: CachedRows[Any], score: Score) -> ExportedHead:
    """Return the head of a score, fitted again on the same rows and among the same candidates: scores keep no heads.

    Raises
    ------
    BadOption
        The head cannot be exported.
    """
    require_exportable(score)
    method = head_method(score.method)
    settings = features.fit_settings(score.options, score.seed, features.fit_device(score))
    fold = features.load_refit_fold() if method.is_refit else features.load_selection_folds()[0]
    head = method.refit(fold, settings, score.chosen, alone=_was_fitted_alone(method, score))
    return method.export(head, fold, settings)


def _was_fitted_alone(method: MethodOf[Any, Any], score: Score) -> bool:
    """Return whether a score is of a head that was fitted without the other candidates, and rounds accordingly.

    Earlier programs fitted all candidates again for a refit; the score has their path.
    """
    return method.is_refit and not score.path
