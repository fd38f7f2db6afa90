"""WiSE-FT: of the nets between the start and the end of LP-FT, the one that is best on val.

Wortsman, Ilharco, Kim, Li, Kornblith, Roelofs, Gontijo-Lopes, Hajishirzi, Farhadi, Namkoong and Schmidt 2022, "Robust
fine-tuning of zero-shot models", CVPR, section 3: the weights are (1 - alpha) theta_0 + alpha theta_1, with theta_0 of
the zero-shot net and theta_1 of the fine-tuned one. Here theta_0 is the pretrained net with the exact probe as its
head, where LP-FT begins.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.errors import Diverged
from probeline.evaluate.requests import find_score
from probeline.evaluate.task import task_of
from probeline.finetuning.ranks import ALONE, Ranks
from probeline.finetuning.requests import TrainingJob, candidate_folder, request_training, selected_options
from probeline.finetuning.training_run import TrainingRun, checkpoint_key, prepare_training, validation_set
from probeline.names import Strategy
from probeline.options.grids import TRAIN, Grid
from probeline.results.score import Score
from probeline.session import Session

if TYPE_CHECKING:
    from probeline.finetuning.training.interpolation import WeightLine


@dataclass(frozen=True)
class Interpolation:
    """The nets between the ends of a training, measured on val, and the one that was chosen.

    Attributes
    ----------
    points : sequence of mappings
        For each alpha, from 0 to 1: alpha, val_loss, val_top1 and what else the loss measures.
    chosen : mapping
        One of them: highest val_score, or val top-1 without one, then lowest val loss, then least alpha.
    diverged : sequence of float
        Alphas without a finite loss.
    seconds : float
        Duration of all passes over val.
    """

    run: TrainingRun
    line: WeightLine
    points: Sequence[Mapping[str, Any]]
    chosen: Mapping[str, Any]
    diverged: Sequence[float]
    seconds: float

    def path(self, session: Session) -> tuple[list[dict[str, Any]], float]:
        """Return the scores of every point on val and, now that one is chosen, on test; and the optimism of the choice.

        The net is the last of them afterwards.
        """
        metric = session.settings.fitting.metric
        task, split, training = task_of(session.dataset, metric), session.splits.test, self.run.training
        truth, path = task.targets(session.dataset, split), []
        for point in self.points:
            self.line.move_to(point["alpha"])
            logits = training.predict(split, training.feeds.test).main
            on_val = {"top1": point["val_top1"], metric: point.get("val_score", point["val_top1"])}
            loss = task.loss(truth, logits)
            on_test = {f"test_{name}": value for name, value in task.measures(truth, logits).items()}
            losses = {"nll": point["val_loss"], "test_nll": loss if math.isfinite(loss) else None}
            path.append({"alpha": point["alpha"], **on_val, **on_test, **losses})
        scores = [entry[f"test_{metric}"] for entry in path]
        return path, max(scores) - scores[self.points.index(self.chosen)]

    def save(self, folder: Path, key: str) -> None:
        """Write the chosen net as the best checkpoint of the run `key`."""
        from probeline.finetuning import checkpoint

        facts = {"key": checkpoint_key(key, None), "history": self.run.result.history_to_best}
        checkpoint.write(folder, "best", self.line.tensors(self.chosen["alpha"]), facts)


@dataclass(frozen=True)
class FinishedTraining:
    """A training that was scored before, with the net of its checkpoint: what its grid was, and what val chose of it.

    `facts` are the rest of its score: epoch, history, path, diverged, seconds.
    """

    run: TrainingRun
    grid: Grid
    candidate: Mapping[str, Any]
    facts: Mapping[str, Any]


def find_lp_ft(job: TrainingJob, ranks: Ranks = ALONE) -> FinishedTraining | None:
    """Return the finished LP-FT with the options of a job; None if its score or its checkpoint is missing."""
    from probeline.finetuning import checkpoint
    from probeline.finetuning.training.interpolation import copies
    from probeline.finetuning.training.trainer import TrainingResult

    lp_ft = replace(job, strategy=Strategy.LP_FT)
    grid = Grid(selected_options(lp_ft), TRAIN)
    request = request_training(lp_ft, grid.values)
    score = find_score(job.session, job.backbone, request) if ranks.is_first else None
    best, facts, folder = None, None, lp_ft.folder(request.key)
    if isinstance(score, Score):
        candidate = {name: score.chosen[name] for name in grid.candidates()[0]}
        folder = candidate_folder(folder, candidate)
        best = checkpoint.read(folder, "best", checkpoint_key(request.key, None))
        known = {"epoch": score.chosen["epoch"], "diverged": score.certificate.get("diverged", ())}
        facts = {"candidate": candidate, **known, "history": score.history, "path": score.path}
        facts["seconds"] = score.warm_seconds
    facts = ranks.broadcast(None if best is None else facts)
    if facts is None:
        return None
    training = prepare_training(job, {**grid.fixed(), **facts["candidate"]}, ranks)
    trainer, history = training.trainer, tuple(facts["history"])
    start, tensors = copies(trainer.net.state_dict()), ranks.broadcast_tensors({} if best is None else best[0])
    if not checkpoint.is_of_net(trainer.net, tensors):
        return None
    trainer.net.load_state_dict(tensors)
    job.session.console.say(f"finetune: {job.title}: goes on from the finished {lp_ft.method}")
    counts = trainer.trainable, trainer.total
    result = TrainingResult(history, facts["epoch"], *counts, facts["seconds"], resumed_from=len(history))
    return FinishedTraining(TrainingRun(training, folder, result, start), grid, facts["candidate"], facts)


def interpolate(job: TrainingJob, run: TrainingRun, steps: int, ranks: Ranks = ALONE) -> Interpolation:
    """Choose between the start and the end of a training on val, at alphas of 0, 1 / steps, ... 1.

    The trainer's net becomes the chosen one.

    Raises
    ------
    Diverged
        No net on the line has a finite loss.
    """
    from probeline.backbones.device import exact_float32
    from probeline.finetuning.training.interpolation import WeightLine

    started = time.perf_counter()
    trainer = run.training.trainer
    line = WeightLine(trainer, ranks.broadcast_tensors(dict(run.start)))
    val = validation_set(job, run.training)
    with exact_float32(trainer.options.precision):
        measured = [{"alpha": i / steps, **line.measure(i / steps, val)} for i in range(steps + 1)]
    points = [point for point in measured if math.isfinite(point["val_loss"])]
    diverged = [point["alpha"] for point in measured if point not in points]
    if not points:
        raise Diverged(f"{job.title}: no net between probe and fine-tune has a finite loss", remedy="use a lower --lr")
    points = ranks.broadcast(points)
    chosen = max(points, key=lambda point: (point.get("val_score", point["val_top1"]), -point["val_loss"]))
    line.move_to(chosen["alpha"])
    return Interpolation(run, line, points, chosen, diverged, time.perf_counter() - started)
