"""Probe: linear heads on cached embeddings; the exact one over a path of l2, and the course's one by Adam."""

from __future__ import annotations

from typing import Any

from probeline.heads.select import L2_GRID, choose
from probeline.records import Score
from probeline.stages.fitting import Round, Stopwatch, Task, evaluate
from probeline.stages.inputs import Inputs

_SGD: dict[str, Any] = {"optimizer": "adam", "weight_decay": 5e-4, "dropout": 0.0, "epochs": 30, "batch_size": 256}
"""The courses' recipe: Adam with a cosine schedule."""

_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


def run(inputs: Inputs) -> list[dict[str, Any]]:
    """Fit the heads of every backbone where there is no score of them yet, and return all their outcomes.

    Raises
    ------
    MissingData
        The embeddings have not been extracted.
    ProbelineError
    """
    scores: list[Score] = []
    for name in inputs.config.backbones:
        for taps in inputs.taps(name)[0]:
            task = Task(inputs, *taps)
            scores += _exact(task)
            scores += [_sgd(task, inputs.config.seed + number) for number in range(inputs.config.seeds)]
    return [inputs.outcome(score) for score in scores]


def _exact(task: Task) -> list[Score]:
    facts = {"l2": list(L2_GRID)}
    keys = {method: task.key(method, **facts) for method in ("probe", "probe-refit")}
    scores = {method: score for method, key in keys.items() if (score := task.done(method, key))}
    if len(scores) == len(keys):
        return list(scores.values())

    from probeline.heads.linear import decision, predict
    from probeline.heads.logistic import fit_path

    watch = Stopwatch()
    rounds = task.selection()
    candidates = [{"l2": l2} for l2 in L2_GRID]
    path = evaluate(
        rounds,
        candidates,
        lambda held: [decision(head, held.X_held) for head in fit_path(held.X, held.y, task.classes, L2_GRID)],
    )
    chosen, edge = choose([(point["top1"], point["nll"]) for point in path], L2_GRID)
    chosen_in, splits = watch.seconds(), task.inputs.splits
    for method, key in keys.items():
        if method in scores:
            continue
        watch = Stopwatch()
        final = task.final(with_val=method == "probe-refit")
        (head,) = fit_path(final.X, final.y, task.classes, [L2_GRID[chosen]])
        certificate = head.certificate
        scores[method] = task.save(
            method,
            key,
            predict(head, final.X_held),
            chosen_in + watch.seconds(),
            seed=None,
            n_train=len(splits.train) + (len(splits.val) if method == "probe-refit" else 0),
            chosen={"l2": head.l2},
            chosen_by=task.chosen_by,
            val_top1=path[chosen]["top1"],
            trainable=head.weight.size + head.bias.size,
            total=task.frozen_parameters + head.weight.size + head.bias.size,
            converged=certificate.converged,
            certificate={**vars(certificate), "gap": head.gap, "edge": edge},
            path=path,
        )
    return [scores[method] for method in keys]


def _sgd(task: Task, seed: int) -> Score:
    key = task.key("probe-sgd", seed=seed, lr=list(_RATES), **_SGD)
    if found := task.done("probe-sgd", key, seed):
        return found

    from probeline.heads.linear import decision, predict
    from probeline.heads.sgd import SgdHead, fit_sgd

    def fit(held: Round, lr: float, *, watched: bool) -> SgdHead:
        val: dict[str, Any] = {"X_val": held.X_held, "y_val": held.y_held} if watched else {}
        return fit_sgd(held.X, held.y, task.classes, lr=lr, seed=seed, **_SGD, **val)

    watch = Stopwatch()
    rounds = task.selection()
    heads = {}

    def predictions(held: Round) -> list[Any]:
        fitted = [fit(held, lr, watched=True) for lr in _RATES]
        heads[id(held)] = fitted
        return [decision(head, held.X_held) for head in fitted]

    path = evaluate(rounds, [{"lr": lr} for lr in _RATES], predictions)
    chosen, edge = choose([(point["top1"], point["nll"]) for point in path], _RATES)
    final = task.final()
    head = fit(final, _RATES[chosen], watched=False)
    return task.save(
        "probe-sgd",
        key,
        predict(head, final.X_held),
        watch.seconds(),
        seed=seed,
        chosen={"lr": _RATES[chosen]},
        chosen_by=task.chosen_by,
        val_top1=path[chosen]["top1"],
        trainable=head.weight.size + head.bias.size,
        total=task.frozen_parameters + head.weight.size + head.bias.size,
        converged=True,
        certificate={**_SGD, "edge": edge},
        history=heads[id(rounds[0])][chosen].history,
        path=path,
    )
