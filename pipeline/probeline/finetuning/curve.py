"""The learning curve of a strategy: trainings on parts of the train rows, each from its beginning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from probeline.data.sampling.fractions import Portion
from probeline.evaluate.curve import CurvePoints, CurveRequest, identify_portions, make_point
from probeline.evaluate.requests import result_key
from probeline.finetuning.fitted_probe import FittedProbe
from probeline.finetuning.objectives import load_objectives
from probeline.finetuning.requests import (
    TrainingJob,
    checkpoint_folder,
    options_with_selection,
    request_training,
    single_values,
    starting_backbone,
)
from probeline.finetuning.training_run import prepare_training, train
from probeline.finetuning.wise_ft import interpolate
from probeline.metrics.scores import top1
from probeline.names import FROM_PROBE, PENULTIMATE, Strategy
from probeline.session import Session
from probeline.types import Backbone


def request_training_curve(
    session: Session, backbone: Backbone, strategy: str, portions: Sequence[Portion]
) -> CurveRequest:
    """Return the request for the curve of a strategy, each option of which has a single value."""
    settings = session.settings
    options = options_with_selection(session, strategy)
    values = single_values(options, "curve")
    start = starting_backbone(backbone, strategy)
    objective = load_objectives(session, [strategy])[strategy]
    # A draw's number is added to the seed, so that draws differ in the images and in all that is random.
    jobs = [
        TrainingJob(session, start, strategy, settings.fitting.seed + draw, FittedProbe(session, start), objective)
        for draw in range(settings.curve.draws)
    ]
    requests = [request_training(job, options) for job in jobs]
    runs = [request.key for request in requests]
    key = result_key(session, "curve", runs=runs, portions=identify_portions(portions))
    return CurveRequest(
        requests[0].method,
        None,
        requests[0].options,
        key,
        backbone=start,
        tap=PENULTIMATE,
        compute=lambda title: _train_points(jobs, values, portions, key=key, title=title),
    )


def _train_points(
    jobs: Sequence[TrainingJob], options: Mapping[str, Any], portions: Sequence[Portion], *, key: str, title: str
) -> CurvePoints:
    """Return the points of a training on each part, its epoch chosen on val.

    The curve's key and the part's rows are the key of a training's checkpoints, so that an interrupted curve goes on.
    """
    from probeline.finetuning import checkpoint

    results: dict[tuple[bytes, int], dict[str, Any]] = {}
    folders: list[Path] = []
    seconds, preparation, device = 0.0, 0.0, ""
    for portion in portions:
        case = portion.rows.tobytes(), portion.draw
        if case in results:
            continue
        job = _restrict(jobs[portion.draw], portion)
        session = job.session
        run_key = result_key(session, "curve", curve=key, seed=job.seed)
        folders.append(checkpoint_folder(session, job.backbone, job.strategy, job.seed, run_key))
        part_title = f"{title}, {len(portion.rows):,} images"
        run = train(job, prepare_training(job, options), key=run_key, folder=folders[-1], title=part_title)
        test, training, measured = session.splits.test, run.training, run.result.best
        if job.strategy == Strategy.WISE_FT:
            interpolation = interpolate(job, run, options["wise_steps"])
            measured = interpolation.chosen
            seconds += interpolation.seconds
        truth = session.dataset.parts[test.part].labels[test.rows]
        results[case] = {
            "val_top1": measured["val_top1"],
            "test_top1": top1(truth, training.predict(test, training.feeds.test).main.argmax(1)),
            "epoch": run.result.best_epoch,
        }
        device = training.device
        probe_seconds = job.probe.fit_seconds if job.strategy in FROM_PROBE else 0.0  # of this part alone
        seconds += run.result.seconds + probe_seconds
        # Frozen stages are run, and features extracted, once for all parts.
        preparation = max(preparation, training.seconds - probe_seconds)

    def clean_up() -> None:
        for folder in folders:
            for name in ("last", "best"):
                checkpoint.remove(folder, name)

    points = tuple(
        make_point(portion, l2=None, edge=False, converged=True, **results[portion.rows.tobytes(), portion.draw])
        for portion in portions
    )
    return CurvePoints(points, seconds, preparation, device, f"{len(results)} trainings", clean_up)


def _restrict(job: TrainingJob, portion: Portion) -> TrainingJob:
    """Return a job that is fitted on a part of the train rows alone."""
    session = job.session.fitted_on(portion.rows)
    objective = load_objectives(session, [job.strategy])[job.strategy]
    return replace(job, session=session, probe=FittedProbe(session, job.backbone), objective=objective)
