"""Requests for trainings: their options, the objects that they share, their keys and checkpoint folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from probeline.errors import BadOption
from probeline.evaluate.fit_options import fit_options
from probeline.evaluate.requests import ScoreRequest, request_score
from probeline.finetuning.feeds import CROP_SCALE
from probeline.finetuning.fitted_probe import FittedProbe, StartingProbe
from probeline.finetuning.objectives import Objective, load_objectives
from probeline.finetuning.targets.objective import (
    TargetObjective,
    check_training_words,
    load_target_objectives,
    task_of_training,
)
from probeline.finetuning.targets.probe import FittedTargetProbe
from probeline.heads.select import L2_GRID
from probeline.identity import HEADS_VERSION, TRAIN_VERSION
from probeline.names import FROM_PROBE, SINGLE_LABEL, Strategy, method_of
from probeline.options.grids import TRAIN, grid, train_axes
from probeline.options.groups.fitting import TrainOptions
from probeline.options.settings import Settings
from probeline.session import Session
from probeline.types import Backbone

_BATCH_SIZE = 32


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """One strategy on one backbone with one seed.

    Attributes
    ----------
    backbone : Backbone
        At its penultimate tap, with the weights that the strategy starts from.
    probe : StartingProbe
        Where LP-FT and WiSE-FT start.
    """

    session: Session
    backbone: Backbone
    strategy: str
    seed: int
    probe: StartingProbe
    objective: Objective

    @property
    def method(self) -> str:
        """The method of its scores."""
        return method_of(self.strategy)

    @property
    def title(self) -> str:
        """What a line about it begins with, after the verb."""
        return f"{self.session.dataset.name} x {self.backbone.name}, {self.method}, seed {self.seed}"

    def folder(self, key: str) -> Path:
        """Return the folder of the checkpoints of its training with this key."""
        return checkpoint_folder(self.session, self.backbone, self.strategy, self.seed, key)

    def warn_of_random_weights(self, verb: str) -> None:
        """Say that a net which is meant to be pretrained starts from random weights, if so."""
        if self.backbone.weights == "none" and self.strategy != Strategy.SCRATCH:
            self.session.console.say(f"{verb}: {self.title}: starts from random weights, not pretrained ones")


def plan_jobs(session: Session, seeds: Iterable[int]) -> Iterator[TrainingJob]:
    """Yield the job of every backbone, strategy and seed that the settings name.

    Raises
    ------
    BadOption
        An option has no use for the task of the data set.
    """
    strategies, seeds = session.settings.training.strategies, tuple(seeds)
    check_training_words(session.settings, task_of_training(session.dataset))
    load = load_objectives if session.dataset.targets is None else load_target_objectives
    objectives = load(session, strategies)
    for text in session.settings.nets.backbones:
        pretrained, _ = session.backbone(text)
        plain = FittedProbe(session, pretrained)
        for strategy in strategies:
            backbone, objective = starting_backbone(pretrained, strategy), objectives[strategy]
            probe: StartingProbe = plain
            if isinstance(objective, TargetObjective):
                probe = FittedTargetProbe(session, pretrained, objective.scale)
            for seed in seeds:
                yield TrainingJob(session, backbone, strategy, seed, probe, objective)


def starting_backbone(backbone: Backbone, strategy: str) -> Backbone:
    """Return what a strategy starts from: from scratch, a random net sees the very pixels of the pretrained one."""
    return replace(backbone, weights="none") if strategy == Strategy.SCRATCH else backbone


def training_options(settings: Settings, strategy: str, task: str = SINGLE_LABEL) -> dict[str, tuple[Any, ...]]:
    """Return the values of each option of a strategy's training but its seed; of several all are tried."""
    training = settings.training
    given = {name for name, _, _ in (word.partition("=") for word in training.train)}
    grid_values = grid("train", TRAIN, training.train).values
    axes = train_axes(strategy, task)
    values = {name: grid_values[name] if name in given else axis.values for name, axis in axes.items()}
    if "lr" not in given:
        values["lr"] = (training.lr,)
    if values.get("loss") == ("mse",):
        del values["huber_delta"]
    return {
        **values,
        "epochs": (training.epochs,),
        "batch_size": (settings.compute.batch_size or _BATCH_SIZE,),
        "freeze_batchnorm": (_freezes_batchnorm(training, strategy),),
    }


def _freezes_batchnorm(training: TrainOptions, strategy: str) -> bool:
    """Return whether BatchNorm stays as it is: from scratch it never does, below adapters always."""
    return strategy == Strategy.LORA or (training.freeze_batchnorm and strategy != Strategy.SCRATCH)


def options_with_selection(session: Session, strategy: str) -> dict[str, tuple[Any, ...]]:
    """Return the values of each option of a strategy's training, the metric that selects and class weights among them.

    The last two are there unless they are the defaults.
    """
    options = training_options(session.settings, strategy, task_of_training(session.dataset))
    if session.dataset.targets is not None:
        return options
    fitted = fit_options(session.settings, session.dataset.class_names)
    return {**options, **{name: (value,) for name, value in fitted.items()}}


def selected_options(job: TrainingJob) -> dict[str, tuple[Any, ...]]:
    """Return those options of a job."""
    return options_with_selection(job.session, job.strategy)


def accumulate_over(processes: int, settings: Settings) -> tuple[str, ...]:
    """Return the words of ``--train`` for several processes that train together, ``accumulate=A`` the last of them.

    A is the number of parts of a batch over all of them: each process has as many. So what they train has the key that
    it has in one process with the same A.

    Raises
    ------
    BadOption
        A that is given is no multiple of the processes, or a process would have fewer than two images of a batch.
    """
    words = settings.training.train
    given = [word for word in words if word.startswith("accumulate=")]
    (parts,) = grid("train", TRAIN, words).values["accumulate"]
    if given and parts % processes:
        raise BadOption(
            f"{processes} processes cannot divide a batch of {parts} parts evenly",
            where="--train accumulate",
            expected=f"a multiple of {processes}",
            got=parts,
            remedy=f"leave it out for --train accumulate={processes}, or start as many processes as divide it",
        )
    total = parts if given else processes
    images = settings.compute.batch_size or _BATCH_SIZE
    if images < 2 * processes:
        raise BadOption(
            f"{processes} processes need two images each of a batch",
            where="--batch-size",
            expected=f"{2 * processes} or more",
            got=images,
            remedy=f"use --batch-size {2 * processes}, or fewer processes",
        )
    return (*(word for word in words if word not in given), f"accumulate={total}")


def single_values(options: Mapping[str, tuple[Any, ...]], verb: str) -> dict[str, Any]:
    """Return the one value of each option of a training, for a verb that does not choose between values.

    Raises
    ------
    BadOption
        An option has several.
    """
    for name, values in options.items():
        if len(values) > 1:
            raise BadOption(
                f"{verb} does not choose between values of {name}",
                where=f"--train {name}",
                expected="a single value",
                got=len(values),
            )
    return {name: values[0] for name, values in options.items()}


def request_training(job: TrainingJob, options: Mapping[str, tuple[Any, ...]]) -> ScoreRequest:
    """Return the request for a training with these options, as :func:`options_with_selection` gives them."""
    session, backbone, strategy, objective = job.session, job.backbone, job.strategy, job.objective
    settings = session.settings
    weights = backbone.weights_sha256 if strategy != Strategy.SCRATCH else "none"
    return request_score(
        session,
        job.method,
        job.seed,
        {
            "version": TRAIN_VERSION,
            "weights": weights[:12],
            **session.decoding.options(),
            **{name: values[0] if len(values) == 1 else list(values) for name, values in options.items()},
            **({"views": settings.reading.views} if "views" in options["augment"] else {}),
            **({"unfreeze": list(settings.training.unfreeze)} if strategy == Strategy.GRADUAL else {}),
            **objective.options,
        },
        precision=settings.nets.precision,
        weights=weights,
        backbone=backbone.name,
        preprocess=backbone.preprocess.identity(),
        **({"draws": "per part"} if max(options["accumulate"]) > 1 else {}),
        flips=session.dataset.flips,
        crop_scale=list(CROP_SCALE),
        start={"l2": list(L2_GRID), "heads": HEADS_VERSION, **job.probe.fitted} if strategy in FROM_PROBE else {},
        **objective.identity,
    )


def checkpoint_folder(session: Session, backbone: Backbone, strategy: str, seed: int, key: str) -> Path:
    """Return the folder of the checkpoints of a training with this key."""
    parent = session.settings.folders.cache / session.dataset.name / f"{backbone.slug}-{method_of(strategy)}"
    return parent / f"seed{seed}-{key[:12]}"


def candidate_folder(folder: Path, candidate: Mapping[str, Any]) -> Path:
    """Return the folder of one candidate's checkpoints; `folder` itself for a candidate without options."""
    # In the grid's order: a score that is read again has its options in another.
    options = [(name, candidate[name]) for name in TRAIN if name in candidate]
    suffix = "".join(f"-{name}{value if isinstance(value, str) else f'{value:g}'}" for name, value in options)
    return folder.with_name(folder.name + suffix)
