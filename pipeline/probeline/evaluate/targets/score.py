"""From cached features to scores of several labels or of numbers: selected on validation, then scored on test once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.heads.method import describe_candidate
from probeline.evaluate.requests import ScoreRequest, record_fields, reuse
from probeline.evaluate.targets.folds import TargetFold, load_targets, refit_fold, targets_of
from probeline.evaluate.targets.method import TargetFit, TargetMethod, TargetSelection
from probeline.evaluate.targets.methods import target_methods
from probeline.evaluate.targets.selection import select
from probeline.evaluate.targets.task import Predicted, TargetTask, target_task
from probeline.format import option
from probeline.heads.standardize import apply
from probeline.results.elapsed import Elapsed, Stopwatch
from probeline.results.methods import method_info
from probeline.results.store import SkippedFile
from probeline.results.targets.score import TARGET_SCORES, TargetScore
from probeline.session import Session
from probeline.types import AnyArray, Backbone, DoubleArray

Head = TypeVar("Head")


@dataclass(frozen=True)
class _Selected:
    """A selection, the fold of the train rows, what selected, and what it took."""

    selection: TargetSelection[Any]
    fold: TargetFold
    chosen_by: str
    elapsed: Elapsed


def score_targets(features: CachedFeatures, verb: str) -> list[TargetScore]:
    """Return the scores of all methods of a verb; those that exist are not made again."""
    shared: dict[str, _Selected] = {}
    return [score_method(features, method, seed, shared) for method, seed in _methods_and_seeds(features, verb)]


def are_targets_scored(features: CachedFeatures, verb: str) -> bool:
    """Return whether all methods of a verb are scored on some features."""
    requests = (request_target_score(features, method, seed) for method, seed in _methods_and_seeds(features, verb))
    scores = (find_target_score(features.session, features.backbone, request) for request in requests)
    return all(isinstance(score, TargetScore) for score in scores)


def _methods_and_seeds(features: CachedFeatures, verb: str) -> list[tuple[TargetMethod[Any], int | None]]:
    settings = features.session.settings
    methods = target_methods(verb, targets_of(features).task, settings.heads)
    first = settings.fitting.seed
    return [(method, None) for method in methods if not method.is_seeded] + [
        (method, seed)
        for seed in range(first, first + settings.fitting.seeds)
        for method in methods
        if method.is_seeded
    ]


def request_target_score(features: CachedFeatures, method: TargetMethod[Any], seed: int | None = None) -> ScoreRequest:
    """Return the request for the score of a method; a method without seeds has None."""
    return features.request(method.name, seed, **method.options(features.session.settings.heads))


def find_target_score(session: Session, backbone: Backbone, request: ScoreRequest) -> TargetScore | SkippedFile | None:
    """Return the score that is requested, None if it does not exist."""
    names = (backbone.name, backbone.weights, request.method, request.seed, request.key)
    return TARGET_SCORES.find(session.reports, *names)


def find_finished_target_score(
    session: Session, backbone: Backbone, request: ScoreRequest, title: str
) -> TargetScore | None:
    """Return the score that is requested and say that it is skipped; None if it is yet to be made."""
    found = find_target_score(session, backbone, request)
    known = f" (test {headline(found)})" if isinstance(found, TargetScore) else ""
    return reuse(session, found, session.reports / "targets", title, f"{title}: already scored, skipped{known}")


def score_method(
    features: CachedFeatures,
    method: TargetMethod[Head],
    seed: int | None = None,
    shared: dict[str, _Selected] | None = None,
) -> TargetScore:
    """Return the score of one method, found or new; `shared` keeps the last selection, for a refit of its head.

    Raises
    ------
    Diverged
        The training of every candidate diverged.
    """
    session, shared = features.session, {} if shared is None else shared
    task = target_task(targets_of(features).task)
    request, title = request_target_score(features, method, seed), features.title(method.name, seed)
    if (finished := find_finished_target_score(session, features.backbone, request, title)) is not None:
        return finished
    features.prepare(method_info(method.name).verb)
    fit = TargetFit(request.options, seed, features.fit_device())
    name = f"{canonical_name(method)} {seed}"
    if name not in shared:
        shared.clear()  # heads and features of one method at a time
        watch = Stopwatch()
        shared[name] = _Selected(*select(features, method, fit, task), watch.read())
    selected = shared[name]
    score = _score_on_test(features, method, fit, task, selected, request)
    TARGET_SCORES.save(session.reports, score)
    chosen = ", ".join(option(name, value) for name, value in score.chosen.items())
    session.console.result(
        f"{title}: test {headline(score)}"
        + (f", {chosen} chosen by {score.chosen_by}" if chosen else "")
        + f", {score.warm_seconds:.1f} s"
    )
    return score


def canonical_name(method: TargetMethod[Any]) -> str:
    """Return what methods that share one selection have in common."""
    return f"{type(method).__name__} {method.task}"


def headline(score: TargetScore) -> str:
    """Return the metric that selects, on test."""
    value = score.metrics[score.selected_by].value
    return f"{target_task(score.task).title} " + ("undefined" if value is None else f"{value:.4f}")


def groups_of_test(session: Session) -> AnyArray | None:
    """Return the groups of the test rows, [n_test]; None without groups."""
    test = session.splits.test
    of_part = session.dataset.groups.get(test.part)
    return None if of_part is None else of_part[test.rows]


def _score_on_test(
    features: CachedFeatures,
    method: TargetMethod[Head],
    fit: TargetFit,
    task: TargetTask,
    selected: _Selected,
    request: ScoreRequest,
) -> TargetScore:
    watch = Stopwatch()
    session, selection = features.session, selected.selection
    splits = session.splits
    truth = load_targets(features, splits.test)
    heads, index, on_vals = selection.heads, selection.index, selection.path
    if method.is_refit:
        fold = refit_fold(features)
        heads, X_test = method.fit(fold, fit, selection.candidates.subset([index])), fold.X_heldout
        index, on_vals = 0, on_vals[index : index + 1]
    else:
        X_test = apply(selected.fold.scaler, features.load_raw(splits.test))
    outputs: DoubleArray | None = None
    path: list[dict[str, Any]] = []
    for number, (head, on_val) in enumerate(zip(heads, on_vals, strict=True)):
        own = method.outputs(head, X_test)
        value, loss = task.test_values(truth, own)
        path.append({**on_val, f"test_{task.metric}": value, f"test_{task.loss}": loss})
        outputs = own if number == index else outputs
    if outputs is None:
        raise ValueError(f"{len(path)} outputs for candidate {index}")
    groups = groups_of_test(session)
    trainable, head = method.count_parameters(heads[index]), heads[index]
    on_all = {"n_train": len(splits.train) + len(splits.val)} if method.is_refit else {}
    diverged = {"diverged": tuple(map(describe_candidate, selection.diverged))} if selection.diverged else {}
    elapsed = selected.elapsed + watch.read()
    return TargetScore(
        **{
            **record_fields(session, features.backbone, request, fit.device.label),
            **task.fields(Predicted(truth, outputs), Predicted(selection.Y_val, selection.val_outputs), groups),
            **on_all,
        },
        tap=features.tap,
        views=session.settings.reading.views,
        seed=request.seed,
        n_val=0 if method.is_refit else len(splits.val),
        n_test=len(splits.test),
        task=targets_of(features).task,
        target_names=targets_of(features).names,
        selected_by=task.metric,
        val_score=selection.path[selection.index][task.metric],
        chosen=selection.selected,
        chosen_by=selected.chosen_by if len(selection.path) > 1 else "",
        trainable=trainable,
        total=features.frozen_parameters + trainable,
        warm_seconds=elapsed.seconds,
        cold_seconds=elapsed.seconds + features.extraction_seconds,
        waited=elapsed.waited_share,
        converged=method.has_converged(head),
        certificate={"edge": selection.is_at_edge, **diverged, **method.certificate(head)},
        history=method.history(head),
        path=() if method.is_refit else tuple(path),
    )


def target_outcome(session: Session, score: TargetScore) -> dict[str, Any]:
    """Return the summary of a score that ``--json`` prints, with the path of its file."""
    return {
        "backbone": score.backbone,
        "weights": score.weights,
        "tap": score.tap,
        "views": score.views,
        "method": score.method,
        "seed": score.seed,
        "task": score.task,
        "metrics": {name: metric.value for name, metric in score.metrics.items()},
        "chosen": score.chosen,
        "file": str(TARGET_SCORES.path_of(session.reports, score)),
    }
