"""Probe: linear heads on cached embeddings; the exact one over a path of l2, and the course's one by Adam."""

from __future__ import annotations

from typing import Any

from probeline.errors import Diverged
from probeline.heads.select import L2_GRID
from probeline.records import Score
from probeline.stages.fitting import Round, Stopwatch, Task, linear_logits, select
from probeline.stages.inputs import Inputs

_SETTING: dict[str, Any] = {
    "optimizer": "adam",
    "weight_decay": 5e-4,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "schedule": "cosine",
}
"""The courses' recipe: Adam with a cosine schedule."""

_TRAINING: dict[str, Any] = {"epochs": 30, "batch_size": 256}

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

    from probeline.heads.linear import Head
    from probeline.heads.logistic import fit_path

    def fit(held: Round) -> list[Head]:
        return fit_path(held.X, held.y, task.classes, L2_GRID)

    watch = Stopwatch()
    rounds = task.selection()
    selection = select(rounds, [{"l2": l2} for l2 in L2_GRID], L2_GRID, fit, linear_logits)
    chosen_in, splits = watch.seconds(), task.inputs.splits
    for method, key in keys.items():
        if method in scores:
            continue
        watch = Stopwatch(chosen_in)
        if method == "probe":
            heads, X_test = selection.fitted, task.test_rows(rounds[0])
        else:
            refit = task.refit()
            heads, X_test = fit(refit), refit.X_held
        head = heads[selection.place]
        certificate = head.certificate
        scores[method] = task.save(
            method,
            key,
            selection,
            linear_logits(heads, X_test),
            watch,
            seed=None,
            n_train=len(splits.train) + (len(splits.val) if method == "probe-refit" else 0),
            **task.sizes(head),
            converged=certificate.converged,
            certificate={**vars(certificate), "gap": head.gap, "edge": selection.edge},
        )
    return [scores[method] for method in keys]


def _sgd(task: Task, seed: int) -> Score:
    key = task.key("probe-sgd", seed=seed, lr=list(_RATES), **_SETTING, **_TRAINING)
    if found := task.done("probe-sgd", key, seed):
        return found

    from probeline.heads.sgd import Setting, SgdHead, fit_sgd

    settings = [Setting(lr=lr, seed=seed, **_SETTING) for lr in _RATES]
    watch = Stopwatch()
    rounds = task.selection()
    fitted = {
        id(held): fit_sgd(held.X, held.y, task.classes, settings, **_TRAINING, X_val=held.X_held, y_val=held.y_held)
        for held in rounds
    }
    sound = [place for place in range(len(_RATES)) if all(heads[place].diverged is None for heads in fitted.values())]
    if not sound:
        raise Diverged(
            "every head's training diverged",
            where=task.title("probe-sgd", seed),
            got=f"learning rates {', '.join(f'{lr:g}' for lr in _RATES)}",
            remedy="look for features that are not sound with probeline verify",
        )

    def fit(held: Round) -> list[SgdHead]:
        return [fitted[id(held)][place] for place in sound]

    rates = [_RATES[place] for place in sound]
    selection = select(rounds, [{"lr": lr} for lr in rates], rates, fit, linear_logits)
    head = selection.fitted[selection.place]
    return task.save(
        "probe-sgd",
        key,
        selection,
        linear_logits(selection.fitted, task.test_rows(rounds[0])),
        watch,
        seed=seed,
        **task.sizes(head),
        converged=True,
        certificate={
            **_SETTING,
            **_TRAINING,
            "edge": rates[selection.place] in (_RATES[0], _RATES[-1]),
            "diverged": [lr for lr in _RATES if lr not in rates],
        },
        history=head.history,
    )
