"""A fine-tune from its request to its score: every candidate trained, the best on val scored on test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np

from probeline.errors import Diverged
from probeline.evaluate.origins import record_origin
from probeline.evaluate.requests import ScoreRequest, find_finished, find_score, score_fields
from probeline.evaluate.targets.score import find_target_score
from probeline.files.decode import encode
from probeline.finetuning.ranks import ALONE, Ranks
from probeline.finetuning.requests import TrainingJob, candidate_folder, plan_jobs, request_training, selected_options
from probeline.finetuning.training_run import TrainingRun, prepare_training, train
from probeline.finetuning.wise_ft import Interpolation, find_lp_ft, interpolate
from probeline.format import option
from probeline.names import Strategy
from probeline.options.grids import TRAIN, Grid
from probeline.results.elapsed import Elapsed, Stopwatch
from probeline.results.score import SCORES, Score
from probeline.results.score_words import second_task
from probeline.results.targets.score import TargetScore
from probeline.session import Session


@dataclass(frozen=True)
class FinetuneCertificate:
    """How a net was trained.

    Attributes
    ----------
    backbone : str
        sha256 of the tensors that training began with; ``own`` if they were random.
    edge : bool
        Whether a chosen hyper-parameter is at the edge of its grid.
    diverged : tuple of str
        Candidates whose training diverged, in words.
    parts : int
        In how many parts a batch went through the net.
    cut : str or None
        The first module that went through more than one pass, if the stages below it were run once.
    """

    precision: str
    backbone: str
    edge: bool
    diverged: tuple[str, ...]
    parts: int
    cut: str | None


@dataclass
class Trials:
    """What was trained of a grid of candidates; of all nets only the best one is kept in memory."""

    grid: Grid
    best: TrainingRun
    chosen: Mapping[str, Any]
    path: list[dict[str, Any]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    diverged: list[str] = field(default_factory=list)
    seconds: float = 0.0
    elapsed: Elapsed = field(default_factory=Elapsed)

    def remove_checkpoints(self, kept: Path) -> None:
        """Remove all checkpoints but the best epoch's in the folder `kept`."""
        from probeline.finetuning import checkpoint

        for folder in self.folders:
            checkpoint.remove(folder, "last")
            if folder != kept:
                checkpoint.remove(folder, "best")


def is_scored(job: TrainingJob) -> bool:
    """Return whether a job has been scored."""
    request = request_training(job, selected_options(job))
    if job.session.dataset.targets is not None:
        return isinstance(find_target_score(job.session, job.backbone, request), TargetScore)
    return isinstance(find_score(job.session, job.backbone, request), Score)


def require_packages(session: Session) -> None:
    """Raise MissingExtra before anything is trained if a training that is yet to be done needs a missing package."""
    settings = session.settings
    if Strategy.LORA in settings.training.strategies:
        alone = session.under(settings.changed(strategies=(Strategy.LORA.value,)))
        seeds = range(settings.fitting.seed, settings.fitting.seed + settings.fitting.seeds)
        if not all(is_scored(job) for job in plan_jobs(alone, seeds)):
            from probeline.backbones import torchvision_import

            torchvision_import.peft()


@overload
def finetune(job: TrainingJob) -> Score: ...
@overload
def finetune(job: TrainingJob, ranks: Ranks) -> Score | None: ...


def finetune(job: TrainingJob, ranks: Ranks = ALONE) -> Score | None:
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
    finished = find_finished(session, job.backbone, request, title) if ranks.is_first else None
    if is_finished(job, request, finished, ranks):
        return finished
    is_wise = job.strategy == Strategy.WISE_FT
    trials = _take_over(job, ranks) if is_wise else None
    trials = trials or train_candidates(job, Grid(options, TRAIN), request.key, ranks)
    interpolation = interpolate(job, trials.best, options["wise_steps"][0], ranks) if is_wise else None
    score = _score(job, request, trials, interpolation)
    if not ranks.is_first:
        return None
    kept = trials.best.folder
    if interpolation is not None:
        kept = candidate_folder(job.folder(request.key), score.chosen)
        interpolation.save(kept, request.key)
    SCORES.save(session.reports, score)
    record_origin(session)
    trials.remove_checkpoints(kept)
    chosen = f", {option('alpha', score.chosen['alpha'])} chosen by {score.chosen_by}" if is_wise else ""
    session.console.result(f"{title}: test top-1 {score.top1:.4f}{chosen} in {score.warm_seconds:.0f} s")
    if second := second_task([score.certificate]):
        session.console.result(f"{title}: {second}")
    return score


def is_finished(job: TrainingJob, request: ScoreRequest, finished: object | None, ranks: Ranks) -> bool:
    """Return whether the first process has found a finished score; if not, say what starts from random weights.

    Raises
    ------
    BadOption
        The processes have different requests.
    """
    ranks.check_same(f"finetune: {job.title}", request.key)
    if ranks.broadcast(finished is not None):
        return True
    job.warn_of_random_weights("finetune")
    return False


def train_candidates(job: TrainingJob, grid: Grid, key: str, ranks: Ranks) -> Trials:
    """Return the trials of all candidates of a grid, the best on val among them.

    Raises
    ------
    Diverged
        Every training diverged.
    """
    candidates, title = grid.candidates(), f"finetune {job.title}"
    folder = job.folder(key)
    trials: Trials | None = None
    diverged: list[str] = []
    for candidate in candidates:
        checkpoints = candidate_folder(folder, candidate)
        watch = Stopwatch()
        try:
            training = prepare_training(job, {**grid.fixed(), **candidate}, ranks)
            training.say_adapters("finetune", job)
            run = train(job, training, key=key, folder=checkpoints, title=title, ranks=ranks)
        except Diverged:
            if len(candidates) == 1:
                raise
            diverged.append(", ".join(option(name, value) for name, value in candidate.items()))
            continue
        trials = trials or Trials(grid, run, candidate, diverged=diverged)
        on_val = job.objective.on_val(run.result.best, job.session.settings.fitting.metric)
        trials.path.append({**candidate, **on_val})
        trials.folders.append(checkpoints)
        trials.seconds += run.result.seconds
        trials.elapsed += watch.read()
        if run.result.selection_score > trials.best.result.selection_score:
            trials.best, trials.chosen = run, candidate
    if trials is None:
        raise Diverged(f"{job.title}: training diverged with every candidate", remedy="use a lower --lr")
    return trials


def _take_over(job: TrainingJob, ranks: Ranks) -> Trials | None:
    """Return the trials of a finished LP-FT that WiSE-FT goes on from, or None without one."""
    finished = find_lp_ft(job, ranks)
    if finished is None:
        return None
    run, score, grid = finished.run, finished.facts, finished.grid
    chosen, path, diverged = finished.candidate, list(score["path"]), list(score["diverged"])
    return Trials(grid, run, chosen, path=path, diverged=diverged, seconds=run.result.seconds)


def certify(job: TrainingJob, trials: Trials, diverged: Sequence[str]) -> dict[str, Any]:
    """Return the certificate of the best of some trials, given what diverged in words."""
    training, is_own = trials.best.training, job.strategy == Strategy.SCRATCH
    certificate = FinetuneCertificate(
        precision=job.session.settings.nets.precision,
        backbone="own" if is_own else job.backbone.weights_sha256,
        edge=trials.grid.edge(trials.chosen),
        diverged=tuple(diverged),
        parts=trials.best.result.best["parts"],
        cut=training.cut,
    )
    adapters = {} if training.adapters is None else {"adapters": encode(training.adapters)}
    return {**encode(certificate), **adapters}


def _score(job: TrainingJob, request: ScoreRequest, trials: Trials, interpolation: Interpolation | None) -> Score:
    session, backbone = job.session, job.backbone
    training, result, splits = trials.best.training, trials.best.result, session.splits
    val = training.predict(splits.val, training.feeds.val)
    test = training.predict(splits.test, training.feeds.test)
    if not all(np.isfinite(output).all() for logits in (val, test) for output in (logits.main, logits.second)):
        raise Diverged(f"{job.title}: the trained net's output is not finite on every image", remedy="use a lower --lr")
    measured, chosen = result.best, {**trials.chosen, "epoch": result.best_epoch}
    path = list(trials.path) if len(trials.grid.candidates()) > 1 else []
    diverged, seconds, optimism = list(trials.diverged), trials.seconds, None
    if interpolation is not None:
        measured, chosen = interpolation.chosen, {**chosen, "alpha": interpolation.chosen["alpha"]}
        points, optimism = interpolation.path(session)
        path += [{**trials.chosen, **point} for point in points]
        diverged += [option("alpha", alpha) for alpha in interpolation.diverged]
        seconds += interpolation.seconds
    y_val = session.dataset.parts[splits.val.part].labels[splits.val.rows]
    return Score(
        **score_fields(session, backbone, request, training.device, test.main, (y_val, val.main)),
        val_top1=measured["val_top1"],
        val_score=measured.get("val_score"),
        chosen=chosen,
        chosen_by=f"val (n={len(splits.val)})",
        trainable=result.trainable,
        total=result.total,
        warm_seconds=seconds,
        cold_seconds=seconds + training.seconds,
        waited=trials.elapsed.waited_share,
        converged=True,
        certificate={**certify(job, trials, diverged), **job.objective.certify(val, test)},
        optimism=optimism,
        history=result.history,
        path=tuple(path),
    )
