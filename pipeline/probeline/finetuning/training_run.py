"""One training of one net: prepared from a job, run on the train rows, and its outputs for val and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline import disk
from probeline.cache.format.layout import mark
from probeline.evaluate.fit_options import weights_in
from probeline.finetuning.feeds import Feeds, load_cut_feeds, make_pixel_feeds
from probeline.finetuning.objectives import Logits
from probeline.finetuning.ranks import ALONE, Ranks
from probeline.finetuning.requests import TrainingJob
from probeline.heads.class_weights import class_weights
from probeline.identity import digest
from probeline.names import FEW_PARAMETERS, FROM_PROBE, TOP1, Strategy
from probeline.results.members import AdapterFacts
from probeline.results.score_words import adapters_in_words
from probeline.types import FloatArray, IntArray, Split

if TYPE_CHECKING:
    from torch import Tensor

    from probeline.finetuning.training.losses import CrossEntropy
    from probeline.finetuning.training.setup import Feed, ValidationSet
    from probeline.finetuning.training.trainer import Trainer, TrainingResult


@dataclass(frozen=True)
class PreparedTraining:
    """A training that has not taken a step yet.

    Attributes
    ----------
    device : str
        In words.
    seconds : float
        Duration of what it needed and what is kept: passes through frozen stages, a probe, a teacher.
    adapters : AdapterFacts or None
        None without adapters.
    """

    trainer: Trainer
    feeds: Feeds
    outputs: int
    """Of the main head."""
    device: str
    seconds: float
    adapters: AdapterFacts | None = None

    @property
    def cut(self) -> str | None:
        """The first module that goes through more than one pass, if the stages below it are run once."""
        return None if self.feeds.cut is None else self.feeds.cut.module

    def say_adapters(self, verb: str, job: TrainingJob) -> None:
        """Say which layers have adapters, if any."""
        if self.adapters is not None:
            job.session.console.say(f"{verb}: {job.title}: {adapters_in_words([self.adapters])}")

    def predict(self, split: Split, feed: Feed) -> Logits:
        """Return the net's outputs for the rows of a split, given the feed of its part."""
        from probeline.backbones.device import exact_float32

        with exact_float32(self.trainer.options.precision):
            output: FloatArray = self.trainer.predict(split.rows, feed).numpy()
        return Logits(output[:, : self.outputs], output[:, self.outputs :])


@dataclass(frozen=True)
class TrainingRun:
    """A training that has ended, its net as it was after the best epoch, and the folder of its checkpoints.

    `start` are the tensors of the net before the first step, by name, for WiSE-FT alone.
    """

    training: PreparedTraining
    folder: Path
    result: TrainingResult
    start: Mapping[str, Tensor]


def prepare_training(job: TrainingJob, options: Mapping[str, Any], ranks: Ranks = ALONE) -> PreparedTraining:
    """Return the training of a job, given one value of each of its `training_options`, on one process or several."""
    from probeline.backbones.build import random_net
    from probeline.backbones.device import choose, decoding_threads, describe
    from probeline.backbones.stages import find_stages
    from probeline.finetuning.head import fresh_head, probe_head
    from probeline.finetuning.training.losses import CrossEntropy
    from probeline.finetuning.training.setup import TrainingOptions, TrainingSetup
    from probeline.finetuning.training.trainer import Trainer
    from probeline.finetuning.training.unfreezing import only_biases, plan_unfreezing

    session, backbone, objective = job.session, job.backbone, job.objective
    settings = session.settings
    names = {field.name for field in fields(TrainingOptions)} & options.keys()
    values = {"label_smoothing": 0.0, **{name: options[name] for name in names}}  # there is none of numbers
    training = TrainingOptions(**values, precision=settings.nets.precision, seed=job.seed)
    device = choose(settings.compute.device)
    from_scratch, from_probe = job.strategy == Strategy.SCRATCH, job.strategy in FROM_PROBE
    loaded = session.random_net_of(backbone) if from_scratch else session.net_of(backbone)
    net, tap = loaded.net, loaded.tap
    if from_scratch:
        start = random_net(backbone.name, training.seed, loaded.options).state_dict()
        net.load_state_dict({name: start[name] for name in net.state_dict()})
    stages = find_stages(net, tap, backbone.preprocess.crop)
    unfreezing = plan_unfreezing(job.strategy, len(stages), training.epochs, settings.training.unfreeze)
    feeds = load_cut_feeds(session, loaded, stages, unfreezing, options["augment"], ranks.share)
    if feeds is None:
        threads = decoding_threads(device, settings.compute.workers)
        feeds = make_pixel_feeds(session, backbone.preprocess, options["augment"], training.seed, threads)
    outputs, train_split = objective.outputs(session.dataset), session.splits.train
    fresh_head(net, tap, outputs, training.seed, training.dropout, objective.second_classes)
    labels = objective.truth(session.dataset, train_split.part)
    loss = objective.make_loss(options)
    if isinstance(loss, CrossEntropy):
        loss = _of_classes(loss, options, session.dataset.class_names, labels[train_split.rows])
    seconds = feeds.seconds + objective.seconds
    if from_probe:
        probe_head(net, tap, *job.probe.layer)
        seconds += job.probe.fit_seconds + job.probe.extraction_seconds
    facts = None
    if job.strategy == Strategy.BITFIT:
        stages = only_biases(net, stages, without_batchnorm=training.freeze_batchnorm)
    elif job.strategy == Strategy.LORA:
        from probeline.finetuning.training.adapters import AdapterOptions, adapt

        adapted = adapt(net, tap, stages, backbone.preprocess.crop, AdapterOptions.of(options), training.seed)
        tap, stages, facts = adapted.tap, adapted.stages, adapted.facts
    setup = TrainingSetup(
        net,
        tap,
        stages,
        unfreezing,
        backbone.preprocess,
        feeds.train,
        labels,
        device,
        training,
        loss,
        start="probe" if from_probe else "fresh",
        cut=feeds.cut,
        ranks=ranks,
        keeps_statistics=job.strategy in FEW_PARAMETERS,
    )
    words = describe(device) if ranks.count == 1 else f"{ranks.count} x {describe(device)}"
    return PreparedTraining(Trainer(setup), feeds, outputs, words, seconds, facts)


def _of_classes(
    loss: CrossEntropy, options: Mapping[str, Any], class_names: Sequence[str], labels: IntArray
) -> CrossEntropy:
    """Return a loss with the metric that selects and the weights of the classes, given the train rows' labels."""
    weights = weights_in(options, class_names)
    of_classes = None if weights is None else tuple(class_weights(labels, len(class_names), weights).tolist())
    return replace(loss, metric=options.get("select_by", TOP1), class_weights=of_classes)


def validation_set(job: TrainingJob, training: PreparedTraining) -> ValidationSet:
    """Return the images that choose the epoch."""
    from probeline.finetuning.training.setup import ValidationSet

    dataset, val = job.session.dataset, job.session.splits.val
    return ValidationSet(val.rows, training.feeds.val, job.objective.truth(dataset, val.part))


def train(
    job: TrainingJob, training: PreparedTraining, *, key: str, folder: Path, title: str, ranks: Ranks = ALONE
) -> TrainingRun:
    """Train on the train rows as a job specifies, and choose the epoch on val.

    The run's `key` is in its checkpoints in `folder`. Of several processes only the first one reads and writes them.
    """
    from probeline.backbones.device import exact_float32
    from probeline.finetuning.training.interpolation import copies

    session, trainer = job.session, training.trainer
    if ranks.is_first:
        disk.make_folder(folder)
        mark(session.settings.folders.cache)
    start = copies(trainer.net.state_dict()) if job.strategy == Strategy.WISE_FT else {}
    with exact_float32(trainer.options.precision):
        result = trainer.fit(
            session.splits.train.rows,
            validation_set(job, training),
            key=checkpoint_key(key, training.cut),
            folder=folder,
            console=session.console,
            title=title,
        )
    return TrainingRun(training, folder, result, start)


def checkpoint_key(key: str, cut: str | None) -> str:
    """Return the key of the checkpoints of a run: one that goes on goes on with the same arithmetic."""
    return digest({"run": key, "cut": cut})
