"""A fine-tune on several labels or on numbers, from its request to its score."""

from __future__ import annotations

from typing import overload

import numpy as np

from probeline.errors import Diverged
from probeline.evaluate.requests import ScoreRequest, record_fields
from probeline.evaluate.targets.score import find_finished_target_score, groups_of_test, headline
from probeline.evaluate.targets.task import Predicted
from probeline.finetuning.fit import Trials, certify, is_finished, train_candidates
from probeline.finetuning.ranks import ALONE, Ranks
from probeline.finetuning.requests import TrainingJob, request_training, selected_options
from probeline.finetuning.targets.objective import TargetObjective, targets_of
from probeline.finetuning.training_run import PreparedTraining
from probeline.format import option
from probeline.options.grids import TRAIN, Grid
from probeline.results.targets.score import TARGET_SCORES, TargetScore
from probeline.types import FloatArray, Split


@overload
def finetune_targets(job: TrainingJob) -> TargetScore: ...
@overload
def finetune_targets(job: TrainingJob, ranks: Ranks) -> TargetScore | None: ...


def finetune_targets(job: TrainingJob, ranks: Ranks = ALONE) -> TargetScore | None:
    """Return the score of a job, trained unless it has been scored before.

    Of several processes that train together only the first one looks for scores, saves one and returns it, the others
    return None.

    Raises
    ------
    BadOption
        The processes have different requests.
    Diverged
        Every training diverged, or the trained net's output is not finite.
    """
    session, options = job.session, selected_options(job)
    request, title = request_training(job, options), f"finetune: {job.title}"
    finished = find_finished_target_score(session, job.backbone, request, title) if ranks.is_first else None
    if is_finished(job, request, finished, ranks):
        return finished
    trials = train_candidates(job, Grid(options, TRAIN), request.key, ranks)
    score = _score(job, request, trials)
    if not ranks.is_first:
        return None
    TARGET_SCORES.save(session.reports, score)
    trials.remove_checkpoints(trials.best.folder)
    chosen = ", ".join(option(name, value) for name, value in score.chosen.items())
    session.console.result(
        f"{title}: test {headline(score)}, {chosen} chosen by {score.chosen_by}, {score.warm_seconds:.0f} s"
    )
    return score


def _score(job: TrainingJob, request: ScoreRequest, trials: Trials) -> TargetScore:
    session, backbone, objective = job.session, job.backbone, job.objective
    if not isinstance(objective, TargetObjective):
        raise TypeError(f"{session.dataset.name} has one class for each image")
    training, result, splits = trials.best.training, trials.best.result, session.splits
    targets, task = targets_of(session.dataset), objective.task
    val, test = (
        Predicted(targets.by_part[split.part][split.rows], objective.scale.restore(_predict(job, training, split)))
        for split in (splits.val, splits.test)
    )
    seconds = trials.seconds
    return TargetScore(
        **record_fields(session, backbone, request, training.device),
        **task.fields(test, val, groups_of_test(session)),
        tap=backbone.tap,
        views=0,
        seed=job.seed,
        n_val=len(splits.val),
        n_test=len(splits.test),
        task=targets.task,
        target_names=targets.names,
        selected_by=task.metric,
        val_score=result.best["val_score"],
        chosen={**trials.chosen, "epoch": result.best_epoch},
        chosen_by=f"val (n={len(splits.val)})",
        trainable=result.trainable,
        total=result.total,
        warm_seconds=seconds,
        cold_seconds=seconds + training.seconds,
        waited=trials.elapsed.waited_share,
        converged=True,
        certificate=certify(job, trials, trials.diverged),
        history=result.history,
        path=tuple(trials.path) if len(trials.grid.candidates()) > 1 else (),
    )


def _predict(job: TrainingJob, training: PreparedTraining, split: Split) -> FloatArray:
    feed = training.feeds.test if split.role == "test" else training.feeds.val
    outputs = training.predict(split, feed).main
    if not np.isfinite(outputs).all():
        raise Diverged(f"{job.title}: the trained net's output is not finite on every image", remedy="use a lower --lr")
    return outputs
