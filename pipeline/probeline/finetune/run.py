"""One training of one net on some train rows: built, given its head, fed, and read on val; test is read when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.errors import BadOption
from probeline.evaluate.exact_probe import select_exact_probe
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.requests import ScoreRequest, request_score
from probeline.evaluate.stopwatch import Stopwatch
from probeline.finetune.feeds import CROP_SCALE, Feeds, from_below, from_pixels
from probeline.heads.linear import Head, decision
from probeline.heads.select import L2_GRID
from probeline.heads.standardize import Scaler, apply
from probeline.identity import HEADS_VERSION, TRAIN_VERSION, digest
from probeline.names import PENULTIMATE, Strategy, method_of
from probeline.options.grids import CONCERNS, TRAIN, grid
from probeline.options.settings import Settings
from probeline.session import Session
from probeline.types import Backbone, FloatArray, Split

if TYPE_CHECKING:
    from probeline.finetune.objectives import Goal
    from probeline.finetune.trainer import Feed, Trained, Trainer

_BATCH = 32


class Solution:
    """The exact probe of a backbone, fitted when it is first asked for: where LP-FT begins.

    Parameters
    ----------
    session : Session
    backbone : Backbone
        At its penultimate tap.
    """

    def __init__(self, session: Session, backbone: Backbone) -> None:
        self._session, self.backbone = (
            session.reading(session.asked_as(backbone.name, backbone.weights), PENULTIMATE, 0),
            backbone,
        )

    @cached_property
    def _found(self) -> tuple[Head, Scaler, float]:
        task = CachedFeatures(self._session, self.backbone)
        task.check_canary()
        watch = Stopwatch()
        selection, rounds = select_exact_probe(task)
        return selection.fitted[selection.index], rounds[0].scaler, watch.seconds()

    @property
    def head(self) -> Head:
        """The head of the chosen l2, fitted on the train rows."""
        return self._found[0]

    @property
    def layer(self) -> tuple[FloatArray, FloatArray]:
        """Its weight float32 [K or 1, D] and bias float32 [K or 1], on the features as they come."""
        head, scaler, _ = self._found
        weight = (head.weight / scaler.std).astype(np.float32)
        return weight, (head.bias - weight @ scaler.mean).astype(np.float32)

    def logits(self, features: FloatArray) -> FloatArray:
        """Return its logits float32 [n, K] for features float32 [n, D] as they come."""
        head, scaler, _ = self._found
        return decision(head, apply(scaler, features))

    @property
    def seconds(self) -> tuple[float, float]:
        """What the fit took, and the pass over all images before it."""
        session = self._session
        return self._found[2], sum(session.features(self.backbone, part).seconds for part in session.parts())


def training_options(settings: Settings, strategy: str) -> dict[str, tuple[Any, ...]]:
    """Return the values of each option of a strategy's training but its seed; of several all are tried.

    Raises
    ------
    BadOption
    """
    asked = {name for name, _, _ in (word.partition("=") for word in settings.training.train)}
    every = grid("train", TRAIN, settings.training.train).values
    values = {name: some for name, some in every.items() if strategy in CONCERNS.get(name, (strategy,))}
    if "lr" not in asked:
        values["lr"] = (settings.training.lr,)
    if "body" not in asked and strategy == Strategy.SCRATCH:
        values["body"] = (1.0,)
    return {
        **values,
        "epochs": (settings.training.epochs,),
        "batch_size": (settings.compute.batch_size or _BATCH,),
        "freeze_batchnorm": (settings.training.freeze_batchnorm and strategy != Strategy.SCRATCH,),
    }


def single(options: Mapping[str, tuple[Any, ...]], verb: str) -> dict[str, Any]:
    """Return the one value of each option of a training, for a verb that chooses among none.

    Raises
    ------
    BadOption
        An option has several.
    """
    for name, values in options.items():
        if len(values) > 1:
            raise BadOption(
                f"{verb} chooses no {name}", where=f"--train {name}", expected="a single value", got=len(values)
            )
    return {name: values[0] for name, values in options.items()}


def begun_with(backbone: Backbone, strategy: str) -> Backbone:
    """Return what a strategy begins with: from scratch, the net sees the very pixels that the pretrained one sees."""
    return replace(backbone, weights="none") if strategy == Strategy.SCRATCH else backbone


def ask(
    session: Session, backbone: Backbone, strategy: str, seed: int, options: Mapping[str, tuple[Any, ...]], goal: Goal
) -> ScoreRequest:
    """Return what is asked of a training with these `training_options` towards a goal."""
    settings = session.settings
    weights = backbone.weights_sha256 if strategy != Strategy.SCRATCH else "none"
    return request_score(
        session,
        method_of(strategy),
        seed,
        {
            "version": TRAIN_VERSION,
            "weights": weights[:12],
            **{name: values[0] if len(values) == 1 else list(values) for name, values in options.items()},
            **({"views": settings.reading.views} if "views" in options["augment"] else {}),
            **({"unfreeze": list(settings.training.unfreeze)} if strategy == Strategy.GRADUAL else {}),
            **goal.options,
        },
        precision=settings.nets.precision,
        weights=weights,
        backbone=backbone.name,
        preprocess=backbone.preprocess.identity(),
        flips=session.dataset.flips,
        crop_scale=list(CROP_SCALE),
        start={"l2": list(L2_GRID), "heads": HEADS_VERSION} if strategy == Strategy.LP_FT else {},
        **goal.identity,
    )


def checkpoints(session: Session, backbone: Backbone, strategy: str, seed: int, key: str) -> Path:
    """Return the folder of the checkpoints of a run of this key."""
    above = session.settings.folders.cache / session.dataset.name / f"{backbone.slug}-{method_of(strategy)}"
    return above / f"seed{seed}-{key[:12]}"


def of_candidate(folder: Path, candidate: Mapping[str, Any]) -> Path:
    """Return where the checkpoints of one candidate of a run are; of a run without others, the run's own folder."""
    # In the grid's order: a score that is read again has its options in another.
    named = [(name, candidate[name]) for name in TRAIN if name in candidate]
    told = "".join(f"-{name}{value if isinstance(value, str) else f'{value:g}'}" for name, value in named)
    return folder.with_name(folder.name + told)


@dataclass(frozen=True)
class Said:
    """What a trained net says of some images.

    Attributes
    ----------
    logits : float32 [n, K]
    second : float32 [n, L]
        Of a second task's L classes; no column where there is none.
    """

    logits: FloatArray
    second: FloatArray


@dataclass(frozen=True)
class Run:
    """A training that has ended, with its net as it was after the best epoch.

    Attributes
    ----------
    folder : Path
        Of its checkpoints.
    trained : Trained
    device : str
        In words.
    seconds : tuple of 2 floats
        That the training took, and what came before it and was kept: passes through frozen stages, a probe, a teacher.
    cut : str or None
        The first module that went through more than one pass, where the stages below it were run once.
    val : Said
        Of the val rows.
    predict : callable
        Returns it of the test rows.
    """

    folder: Path
    trained: Trained
    device: str
    seconds: tuple[float, float]
    cut: str | None
    val: Said
    predict: Callable[[], Said]

    @property
    def epoch(self) -> Mapping[str, Any]:
        """The best epoch."""
        return self.trained.history[self.trained.best_epoch - 1]

    @property
    def merit(self) -> tuple[float, float]:
        """Val top-1, then val loss."""
        return self.epoch["val_top1"], -self.epoch["val_loss"]


@dataclass(frozen=True)
class Begun:
    """A training that has been prepared and has not taken a step.

    Attributes
    ----------
    trainer : Trainer
    feeds : Feeds
    device : str
        In words.
    before : float
        Seconds of what came before it and was kept: passes through frozen stages, a probe.
    """

    trainer: Trainer
    feeds: Feeds
    device: str
    before: float


def begin(
    session: Session, backbone: Backbone, strategy: str, options: Mapping[str, Any], solution: Solution, goal: Goal
) -> Begun:
    """Prepare a training of a backbone as a strategy has it: net, plan, feeds, head and trainer.

    Parameters
    ----------
    session : Session
    backbone : Backbone
        At its penultimate tap; of weights ``none`` where it is trained from scratch.
    strategy : str
    options : mapping
        One value of each of `training_options`, and ``seed``.
    solution : Solution
        Where LP-FT begins.
    goal : Goal
        What the strategy goes towards.

    Raises
    ------
    ProbelineError
    """
    import torch

    from probeline.backbones.build import random_net
    from probeline.backbones.device import choose, describe
    from probeline.backbones.stages import find_stages
    from probeline.finetune.head import fresh_head, probe_head
    from probeline.finetune.optimization import Training
    from probeline.finetune.plan import plan
    from probeline.finetune.trainer import Trainer

    settings = session.settings
    numbers = {field.name for field in fields(Training)} & options.keys()
    training = Training(**{name: options[name] for name in numbers}, precision=settings.nets.precision)
    device = choose(settings.compute.device)
    loaded = session.net(f"{backbone.name}@none") if strategy == Strategy.SCRATCH else session.net_of(backbone)
    net, tap = loaded.net, loaded.tap
    if strategy == Strategy.SCRATCH:
        net.load_state_dict(random_net(backbone.name, training.seed).state_dict())
    stages = find_stages(net, tap, backbone.preprocess.crop)
    unfreezing = plan(strategy, len(stages), training.epochs, settings.training.unfreeze)
    feeds = from_below(session, loaded, stages, unfreezing, options["augment"])
    if feeds is None:
        threads = settings.compute.workers or torch.get_num_threads()
        feeds = from_pixels(session, backbone.preprocess, options["augment"], training.seed, threads)
    classes = len(session.dataset.class_names)
    fresh_head(net, tap, classes, training.seed, training.dropout, goal.second_classes)
    objective = goal.objective(training.label_smoothing, options)
    before = feeds.seconds + goal.seconds
    if strategy == Strategy.LP_FT:
        probe_head(net, tap, *solution.layer)
        before += sum(solution.seconds)
    trainer = Trainer(
        net,
        tap,
        stages,
        unfreezing,
        backbone.preprocess,
        feeds.train,
        session.dataset.parts[session.splits.train.part].labels,
        device,
        training,
        start="probe" if strategy == Strategy.LP_FT else "fresh",
        cut=feeds.cut,
        objective=objective,
    )
    return Begun(trainer, feeds, describe(device), before)


def train(
    session: Session,
    backbone: Backbone,
    strategy: str,
    options: Mapping[str, Any],
    solution: Solution,
    goal: Goal,
    *,
    key: str,
    folder: Path,
    title: str,
) -> Run:
    """Train a backbone as a strategy has it on the train rows, and choose its epoch on val.

    Parameters
    ----------
    session, backbone, strategy, options, solution, goal
        As of `begin`.
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

    begun = begin(session, backbone, strategy, options, solution, goal)
    splits, trainer, feeds = session.splits, begun.trainer, begun.feeds
    precision = trainer.training.precision
    cut = None if feeds.cut is None else feeds.cut.module
    with exact_float32(precision):
        trained = trainer.fit(
            splits.train.rows,
            splits.val.rows,
            feeds.val,
            session.dataset.parts[splits.val.part].labels,
            # A run that goes on from a checkpoint goes on with the same arithmetic.
            key=digest({"run": key, "cut": cut}),
            folder=folder,
            console=session.console,
            title=title,
        )

    classes = len(session.dataset.class_names)

    def predict(split: Split, feed: Feed) -> Said:
        with exact_float32(precision):
            output: FloatArray = trainer.predict(split.rows, feed).numpy()
        return Said(output[:, :classes], output[:, classes:])

    return Run(
        folder=folder,
        trained=trained,
        device=begun.device,
        seconds=(trained.seconds, begun.before),
        cut=cut,
        val=predict(splits.val, feeds.val),
        predict=lambda: predict(splits.test, feeds.test),
    )
