"""One training of one net: prepared from a job, run on the train rows, and its net read on val and test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.finetune.feeds import Feeds, load_cut_feeds, make_pixel_feeds
from probeline.finetune.objectives import Logits
from probeline.finetune.requests import TrainingJob
from probeline.finetune.training.batches import Feed
from probeline.finetune.training.history import TrainingResult, selection_score
from probeline.identity import digest
from probeline.names import Strategy
from probeline.types import FloatArray, Split

if TYPE_CHECKING:
    from probeline.finetune.training.trainer import Trainer


@dataclass(frozen=True)
class PreparedTraining:
    """A training that has not taken a step yet.

    Attributes
    ----------
    trainer : Trainer
    feeds : Feeds
    device : str
        In words.
    seconds : float
        Duration of what it needed and what is kept: passes through frozen stages, a probe, a teacher.
    """

    trainer: Trainer
    feeds: Feeds
    device: str
    seconds: float


@dataclass(frozen=True)
class TrainingRun:
    """A training that has ended, with its net as it was after the best epoch.

    Attributes
    ----------
    folder : Path
        Of its checkpoints.
    result : TrainingResult
    device : str
        In words.
    preparation_seconds : float
        Of its `PreparedTraining`.
    cut : str or None
        The first module that went through more than one pass, if the stages below it were run once.
    val : Logits
        Of the val rows.
    predict_test : callable
        Returns those of the test rows.
    """

    folder: Path
    result: TrainingResult
    device: str
    preparation_seconds: float
    cut: str | None
    val: Logits
    predict_test: Callable[[], Logits]

    @property
    def epoch(self) -> Mapping[str, Any]:
        """The best epoch."""
        return self.result.history[self.result.best_epoch - 1]

    @property
    def selection_score(self) -> tuple[float, float]:
        """What candidates are compared by, the higher the better."""
        return selection_score(self.epoch)


def prepare_training(job: TrainingJob, options: Mapping[str, Any]) -> PreparedTraining:
    """Return the training of a job: net, stages, feeds, head and trainer.

    Parameters
    ----------
    job : TrainingJob
    options : mapping
        One value of each of `training_options`.

    Raises
    ------
    ProbelineError
    """
    import torch

    from probeline.backbones.build import random_net
    from probeline.backbones.device import choose, describe
    from probeline.backbones.stages import find_stages
    from probeline.finetune.head import fresh_head, probe_head
    from probeline.finetune.training.optimization import TrainingOptions
    from probeline.finetune.training.setup import TrainingSetup
    from probeline.finetune.training.trainer import Trainer
    from probeline.finetune.training.unfreezing import plan_unfreezing

    session, backbone, objective = job.session, job.backbone, job.objective
    settings = session.settings
    numbers = {field.name for field in fields(TrainingOptions)} & options.keys()
    training = TrainingOptions(
        **{name: options[name] for name in numbers}, precision=settings.nets.precision, seed=job.seed
    )
    device = choose(settings.compute.device)
    from_scratch, from_probe = job.strategy == Strategy.SCRATCH, job.strategy == Strategy.LP_FT
    loaded = session.net(f"{backbone.name}@none") if from_scratch else session.net_of(backbone)
    net, tap = loaded.net, loaded.tap
    if from_scratch:
        net.load_state_dict(random_net(backbone.name, training.seed).state_dict())
    stages = find_stages(net, tap, backbone.preprocess.crop)
    unfreezing = plan_unfreezing(job.strategy, len(stages), training.epochs, settings.training.unfreeze)
    feeds = load_cut_feeds(session, loaded, stages, unfreezing, options["augment"])
    if feeds is None:
        threads = settings.compute.workers or torch.get_num_threads()
        feeds = make_pixel_feeds(session, backbone.preprocess, options["augment"], training.seed, threads)
    classes = len(session.dataset.class_names)
    fresh_head(net, tap, classes, training.seed, training.dropout, objective.second_classes)
    loss = objective.make_loss(training.label_smoothing, options)
    seconds = feeds.seconds + objective.seconds
    if from_probe:
        probe_head(net, tap, *job.probe.layer)
        seconds += job.probe.fit_seconds + job.probe.extraction_seconds
    setup = TrainingSetup(
        net,
        tap,
        stages,
        unfreezing,
        backbone.preprocess,
        feeds.train,
        session.dataset.parts[session.splits.train.part].labels,
        device,
        training,
        loss,
        start="probe" if from_probe else "fresh",
        cut=feeds.cut,
    )
    return PreparedTraining(Trainer(setup), feeds, describe(device), seconds)


def train(job: TrainingJob, options: Mapping[str, Any], *, key: str, folder: Path, title: str) -> TrainingRun:
    """Train on the train rows as a job asks for, and choose the epoch on val.

    Parameters
    ----------
    job : TrainingJob
    options : mapping
        One value of each of `training_options`.
    key : str
        Of the run, in its checkpoints.
    folder : Path
        Of its checkpoints.
    title : str

    Raises
    ------
    Diverged
    ProbelineError
    """
    from probeline.backbones.device import exact_float32
    from probeline.finetune.training.setup import ValidationSet

    prepared = prepare_training(job, options)
    session, trainer, feeds = job.session, prepared.trainer, prepared.feeds
    splits, precision = session.splits, trainer.options.precision
    cut = None if feeds.cut is None else feeds.cut.module
    with exact_float32(precision):
        result = trainer.fit(
            splits.train.rows,
            ValidationSet(splits.val.rows, feeds.val, session.dataset.parts[splits.val.part].labels),
            # A run that continues from a checkpoint continues with the same arithmetic.
            key=digest({"run": key, "cut": cut}),
            folder=folder,
            console=session.console,
            title=title,
        )

    classes = len(session.dataset.class_names)

    def predict(split: Split, feed: Feed) -> Logits:
        with exact_float32(precision):
            output: FloatArray = trainer.predict(split.rows, feed).numpy()
        return Logits(output[:, :classes], output[:, classes:])

    return TrainingRun(
        folder=folder,
        result=result,
        device=prepared.device,
        preparation_seconds=prepared.seconds,
        cut=cut,
        val=predict(splits.val, feeds.val),
        predict_test=lambda: predict(splits.test, feeds.test),
    )
