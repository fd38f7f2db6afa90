"""The trainings of a learning curve: on parts of the train rows, each from its beginning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from probeline.data.sampling.fractions import Portion
from probeline.evaluate.curve import CurvePoints, make_point
from probeline.evaluate.requests import ScoreRequest, result_key
from probeline.finetune.fitted_probe import FittedProbe
from probeline.finetune.objectives import load_objectives
from probeline.finetune.requests import (
    TrainingJob,
    checkpoint_folder,
    request_training,
    single_values,
    starting_backbone,
    training_options,
)
from probeline.finetune.training_run import train
from probeline.metrics.scores import top1
from probeline.names import Strategy
from probeline.session import Session
from probeline.types import Backbone


@dataclass(frozen=True)
class CurveTrainings:
    """The trainings of one strategy's learning curve.

    Attributes
    ----------
    options : mapping
        One value of each training option.
    jobs : tuple of TrainingJob
        For each draw, on all train rows; its number is added to the seed, so that draws differ in the images and in
        all that is random.
    requests : tuple of ScoreRequest
        Of the jobs.
    """

    options: Mapping[str, Any]
    jobs: tuple[TrainingJob, ...]
    requests: tuple[ScoreRequest, ...]

    @property
    def backbone(self) -> Backbone:
        """What they start from."""
        return self.jobs[0].backbone


def plan_curve(session: Session, backbone: Backbone, strategy: str) -> CurveTrainings:
    """Return the trainings of a strategy's learning curve.

    Raises
    ------
    BadOption
        Several values of an option: a curve does not choose between them.
    """
    settings = session.settings
    options = training_options(settings, strategy)
    values = single_values(options, "curve")
    start = starting_backbone(backbone, strategy)
    objective = load_objectives(session, [strategy])[strategy]
    jobs = tuple(
        TrainingJob(session, start, strategy, settings.seeding.seed + draw, FittedProbe(session, start), objective)
        for draw in range(settings.curve.draws)
    )
    return CurveTrainings(values, jobs, tuple(request_training(job, options) for job in jobs))


def train_points(trainings: CurveTrainings, portions: Sequence[Portion], *, key: str, title: str) -> CurvePoints:
    """Return the points of a training on each part, its epoch chosen on val.

    Parameters
    ----------
    trainings : CurveTrainings
    portions : sequence of Portion
    key : str
        Of the curve; with the part's rows it is that of a training's checkpoints, so that an interrupted curve goes on.
    title : str

    Raises
    ------
    Diverged
    ProbelineError
    """
    from probeline.finetune import checkpoint

    results: dict[tuple[bytes, int], dict[str, Any]] = {}
    folders: list[Path] = []
    seconds, preparation, device = 0.0, 0.0, ""
    for portion in portions:
        case = portion.rows.tobytes(), trainings.jobs[portion.draw].seed
        if case in results:
            continue
        job = _restrict(trainings.jobs[portion.draw], portion)
        session = job.session
        run_key = result_key(session, "curve", curve=key, seed=job.seed)
        folders.append(checkpoint_folder(session, job.backbone, job.strategy, job.seed, run_key))
        run = train(
            job,
            trainings.options,
            key=run_key,
            folder=folders[-1],
            title=f"{title}, {len(portion.rows):,} images",
        )
        test = session.splits.test
        truth = session.dataset.parts[test.part].labels[test.rows]
        results[case] = {
            "val_top1": run.epoch["val_top1"],
            "test_top1": top1(truth, run.predict_test().main.argmax(1)),
            "epoch": run.result.best_epoch,
        }
        device = run.device
        probe_seconds = job.probe.fit_seconds if job.strategy == Strategy.LP_FT else 0.0  # of this part alone
        seconds += run.result.seconds + probe_seconds
        # Frozen stages are run, and features extracted, once for all parts.
        preparation = max(preparation, run.preparation_seconds - probe_seconds)

    def clean_up() -> None:
        for folder in folders:
            for name in ("last", "best"):
                checkpoint.remove(folder, name)

    points = tuple(
        make_point(
            portion,
            l2=None,
            edge=False,
            converged=True,
            **results[portion.rows.tobytes(), trainings.jobs[portion.draw].seed],
        )
        for portion in portions
    )
    return CurvePoints(points, seconds, preparation, device, f"{len(results)} trainings", clean_up)


def _restrict(job: TrainingJob, portion: Portion) -> TrainingJob:
    """Return a job that is fitted on a part of the train rows alone."""
    session = job.session.fitted_on(portion.rows)
    objective = load_objectives(session, [job.strategy])[job.strategy]
    return replace(job, session=session, probe=FittedProbe(session, job.backbone), objective=objective)
