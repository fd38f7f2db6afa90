"""Baselines: scikit-learn's logistic regression on the same objective, nearest neighbours, nearest centroids."""

from __future__ import annotations

from typing import Any

from probeline.heads.select import choose
from probeline.records import FloatArray, Score
from probeline.stages.fitting import Round, Stopwatch, Task, evaluate
from probeline.stages.inputs import Inputs

REFERENCE_L2 = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Whole decades, since each is a fit of its own; the exact probe's grid is finer and wider."""

NEIGHBOURS = (1, 3, 5, 10, 20, 50)


def run(inputs: Inputs) -> list[dict[str, Any]]:
    """Fit the baselines of every backbone where there is no score of them yet, and return all their outcomes.

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
            scores += [_logistic(task), _knn(task), _centroid(task)]
    return [inputs.outcome(score) for score in scores]


def _logistic(task: Task) -> Score:
    key = task.key("logistic", l2=list(REFERENCE_L2))
    if found := task.done("logistic", key):
        return found

    from probeline.heads.linear import decision, predict
    from probeline.heads.reference import fit_reference

    def path_of(held: Round) -> list[FloatArray]:
        return [decision(fit_reference(held.X, held.y, l2), held.X_held) for l2 in REFERENCE_L2]

    watch = Stopwatch()
    path = evaluate(task.selection(), [{"l2": l2} for l2 in REFERENCE_L2], path_of)
    chosen, edge = choose([(point["top1"], point["nll"]) for point in path], REFERENCE_L2)
    final = task.final()
    head = fit_reference(final.X, final.y, REFERENCE_L2[chosen])
    parameters = head.weight.size + head.bias.size
    return task.save(
        "logistic",
        key,
        predict(head, final.X_held),
        watch.seconds(),
        seed=None,
        chosen={"l2": head.l2},
        chosen_by=task.chosen_by,
        val_top1=path[chosen]["top1"],
        trainable=parameters,
        total=task.frozen_parameters + parameters,
        converged=head.certificate.converged,
        certificate={**vars(head.certificate), "gap": head.gap, "edge": edge},
        path=path,
    )


def _knn(task: Task) -> Score:
    key = task.key("knn", k=list(NEIGHBOURS), metric="cosine")
    if found := task.done("knn", key):
        return found

    from probeline.heads.neighbours import knn

    watch = Stopwatch()
    rounds = task.selection()
    ks = [k for k in NEIGHBOURS if k <= min(len(held.y) for held in rounds)]

    def votes(held: Round) -> list[FloatArray]:
        found = knn(held.X, held.y, held.X_held, ks, classes=task.classes)
        return [found[k] for k in ks]

    path = evaluate(rounds, [{"k": k} for k in ks], votes)
    chosen, edge = choose([(point["top1"], point["nll"]) for point in path], ks)
    final = task.final()
    predictions = knn(final.X, final.y, final.X_held, [ks[chosen]], classes=task.classes)[ks[chosen]].argmax(1)
    return task.save(
        "knn",
        key,
        predictions,
        watch.seconds(),
        seed=None,
        chosen={"k": ks[chosen]},
        chosen_by=task.chosen_by,
        val_top1=path[chosen]["top1"],
        trainable=0,
        total=task.frozen_parameters,
        converged=True,
        certificate={"edge": edge},
        path=path,
    )


def _centroid(task: Task) -> Score:
    key = task.key("centroid")
    if found := task.done("centroid", key):
        return found

    from probeline.heads.neighbours import nearest_centroid

    watch = Stopwatch()
    path = evaluate(
        task.selection(), [{}], lambda held: [nearest_centroid(held.X, held.y, held.X_held, classes=task.classes)]
    )
    final = task.final()
    return task.save(
        "centroid",
        key,
        nearest_centroid(final.X, final.y, final.X_held, classes=task.classes).argmax(1),
        watch.seconds(),
        seed=None,
        chosen={},
        chosen_by="",
        val_top1=path[0]["top1"],
        trainable=0,
        total=task.frozen_parameters,
        converged=True,
    )
