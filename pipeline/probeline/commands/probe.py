"""Probe: heads on cached embeddings; the exact linear one over a path of l2, and those trained in minibatches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from probeline.errors import Diverged
from probeline.evaluate.exact_probe import linear_logits, request_exact_probe, select_exact_probe
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.folds import Fold
from probeline.evaluate.minibatch import mlp_heads, mlp_logits, sgd_heads
from probeline.evaluate.requests import outcome
from probeline.evaluate.selection import select
from probeline.evaluate.stopwatch import Stopwatch
from probeline.format import option
from probeline.heads.select import L2_GRID
from probeline.names import Method
from probeline.options.grids import MLP, SGD, Grid, grid
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import FloatArray

if TYPE_CHECKING:
    from probeline.heads.minibatch.mlp import MlpHead
    from probeline.heads.minibatch.sgd import SgdHead


def run(session: Session) -> list[dict[str, Any]]:
    """Fit the heads of every backbone where there is no score of them yet, and return all their outcomes.

    Raises
    ------
    MissingData
        The embeddings have not been extracted.
    ProbelineError
    """
    scores: list[Score] = []
    for name in session.settings.nets.backbones:
        for taps in session.taps(name)[0]:
            task = CachedFeatures(session, *taps)
            scores += _exact(task)
            for seed in range(
                session.settings.seeding.seed, session.settings.seeding.seed + session.settings.seeding.seeds
            ):
                scores.append(_sgd(task, seed))
                if session.settings.heads.mlp:
                    scores.append(_mlp(task, seed))
    return [outcome(session, score) for score in scores]


def _exact(task: CachedFeatures) -> list[Score]:
    asked = {method: request_exact_probe(task, method) for method in (Method.PROBE, Method.PROBE_REFIT)}
    scores = {method: score for method, one in asked.items() if (score := task.find_finished(one))}
    if len(scores) == len(asked):
        return list(scores.values())

    watch = Stopwatch()
    selection, rounds = select_exact_probe(task)
    chosen_in, splits = watch.seconds(), task.session.splits
    for method, one in asked.items():
        if method in scores:
            continue
        watch = Stopwatch(chosen_in)
        if method == Method.PROBE:
            heads, X_test = selection.fitted, task.load_test(rounds[0])
        else:
            from probeline.heads.logistic.path import fit_path

            refit = task.load_refit_fold()
            heads, X_test = fit_path(refit.X, refit.y, task.classes, L2_GRID), refit.X_heldout
        head = heads[selection.index]
        certificate = head.certificate
        scores[method] = task.save_score(
            one,
            selection,
            linear_logits(heads, X_test),
            watch,
            n_train=len(splits.train) + (len(splits.val) if method == Method.PROBE_REFIT else 0),
            n_val=0 if method == Method.PROBE_REFIT else len(splits.val),
            **task.count_parameters(head),
            converged=certificate.converged,
            certificate={**vars(certificate), "gap": head.gap, "edge": selection.is_at_edge},
        )
    return [scores[method] for method in asked]


def _sgd(task: CachedFeatures, seed: int) -> Score:
    wanted = grid("sgd", SGD, task.session.settings.heads.sgd)
    return _trained(
        task, "probe-sgd", seed, wanted, lambda held: sgd_heads(held, task.classes, wanted, seed), linear_logits
    )


def _mlp(task: CachedFeatures, seed: int) -> Score:
    wanted = grid("mlp", MLP, task.session.settings.heads.mlp)
    return _trained(
        task, "probe-mlp", seed, wanted, lambda held: mlp_heads(held, task.classes, wanted, seed), mlp_logits
    )


Trained = TypeVar("Trained", "SgdHead", "MlpHead")


def _trained(
    task: CachedFeatures,
    method: str,
    seed: int,
    wanted: Grid,
    fit: Callable[[Fold], list[Trained]],
    logits_of: Callable[[Sequence[Trained], FloatArray], Iterable[FloatArray]],
) -> Score:
    """Return the score of the best candidate of those whose training diverged on no round."""
    asked = task.request(method, seed, **{name: list(values) for name, values in wanted.values.items()})
    if found := task.find_finished(asked):
        return found

    watch = Stopwatch()
    rounds = task.load_selection_folds()
    candidates = wanted.candidates()
    fitted = {id(held): fit(held) for held in rounds}
    sound = [i for i in range(len(candidates)) if all(heads[i].diverged is None for heads in fitted.values())]
    if not sound:
        raise Diverged(
            "every head's training diverged",
            where=task.title(method, seed),
            got=", ".join(_words(candidate) for candidate in candidates) or _words(wanted.fixed()),
            remedy=f"use lower rates in --{method.removeprefix('probe-')}, or check the features with probeline verify",
        )
    selection = select(
        rounds,
        [candidates[i] for i in sound],
        [0.0] * len(sound),
        lambda held: [fitted[id(held)][i] for i in sound],
        logits_of,
    )
    head = selection.fitted[selection.index]
    return task.save_score(
        asked,
        selection,
        logits_of(selection.fitted, task.load_test(rounds[0])),
        watch,
        **task.count_parameters(head),
        converged=True,
        certificate={
            "edge": wanted.edge(candidates[sound[selection.index]]),
            "diverged": [_words(candidate) for i, candidate in enumerate(candidates) if i not in sound],
        },
        history=head.history,
    )


def _words(candidate: Mapping[str, Any]) -> str:
    return " ".join(option(name, value) for name, value in candidate.items())
