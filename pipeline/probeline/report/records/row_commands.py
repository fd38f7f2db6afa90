"""The commands that made the rows, that would make the missing rows, and that would add to the report.

A score names a file of weights or of a second task without its folder. The settings of the run that shows the score may
know it; if not, the command has ``PATH-TO/`` in its place, which every verb refuses.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from probeline.evaluate.fit_options import fit_options, shared_options
from probeline.finetuning.requests import training_options
from probeline.images import Decoding
from probeline.names import (
    ESTIMATOR,
    JOINT,
    LAST_K,
    OF_CLASSES,
    PENULTIMATE,
    READ_TEXTS,
    SINGLE_LABEL,
    TIMM,
    TOP1,
    BackboneSpec,
    Method,
    Strategy,
    estimator_method,
    is_weights_file,
    method_of,
    reads_tokens,
    split_tap,
)
from probeline.options.class_order import class_order
from probeline.options.class_weights import class_weight_words
from probeline.options.command_line import UNKNOWN_FOLDER, command_line
from probeline.options.grids import ATTENTIVE, MLP, SGD, Axis, grid, mlp_axes, train_axes
from probeline.options.prompts import prompt_options, prompt_words
from probeline.options.settings import GROUP_OF, OPTIONS, Settings, Step
from probeline.report.model.content import NotRun
from probeline.report.model.row import Block
from probeline.report.targets.row import TargetRow
from probeline.results.curve import Curve
from probeline.results.methods import METHODS, MethodInfo, method_info
from probeline.results.score import Score
from probeline.results.targets.score import TargetScore
from probeline.session import Session

_KEPT = (
    *(name for name, group in GROUP_OF.items() if group == "data"),
    *("cache", "reports", "device", "batch_size", "workers", "recipe", "quiet", "verbose", "json", "dry_run"),
)
"""Options that are the run's and not the row's."""


def commands(settings: Settings, table: Sequence[Block], steps: Sequence[Step] = ()) -> dict[str, str]:
    """Return, by the key of each row's first score, the command that makes the row.

    Data, folders and device are those of the run's settings, all else is the row's; `steps` are the recipe's.
    """
    known = [settings, *(step for step, _ in steps)]
    return {scores[0].key: row_command(known, scores) for block in table for scores in block.scores}


def target_commands(settings: Settings, rows: Sequence[TargetRow], steps: Sequence[Step] = ()) -> dict[str, str]:
    """Return the same of rows of several labels or of numbers."""
    known = [settings, *(step for step, _ in steps)]
    return {row.first.key: row_command(known, row.scores) for row in rows}


def missing_target_rows(session: Session, scores: Sequence[TargetScore], methods: Mapping[str, str]) -> list[NotRun]:
    """Return the rows of several labels or of numbers that the run requests and that have no score.

    `methods` are those of the task, each with its verb.
    """
    missing: dict[NotRun, None] = {}
    for settings, verbs in requested_steps(session):
        seeds = {*range(settings.fitting.seed, settings.fitting.seed + settings.fitting.seeds)}
        wanted = requested_target_methods(session, settings, verbs, methods)
        for text, spec in zip(settings.nets.backbones, settings.nets.specs, strict=True):
            of_net = [score for score in scores if score.backbone == spec.name and _is_of(spec, settings, score)]
            for tap in settings.reading.taps:
                read = [
                    score
                    for score in of_net
                    if is_read_as_requested(settings, tap, score) and has_requested_grid(settings, score)
                ]
                for method, options in wanted:
                    scored = {score.seed for score in read if score.method == method.name}
                    if not (seeds if method.seeded else {None}) <= scored:
                        net = spec.name if tap == PENULTIMATE or method.trains else f"{spec.name} at {tap}"
                        command = command_line(settings, method.verb, **_same_net(settings, text, of_net), **options)
                        missing[NotRun(f"{method.title} of {net}", command)] = None
    return list(missing)


def row_command(known: Sequence[Settings], scores: Sequence[Score] | Sequence[TargetScore]) -> str:
    score = scores[0]
    if score.method == Method.ADDED:
        return command_line(known[0], "compare")
    method = method_info(score.method)
    seeds = [score.seed for score in scores if score.seed is not None]
    own: dict[str, Any] = {
        # What a verb does not use is left as it is by default.
        **{name: option.default for name, option in OPTIONS.items() if name not in _KEPT},
        "backbones": (score.backbone,),
        **_input(known, score),
        "precision": score.precision,
        "metric": score.options.get("select_by", TOP1),
        "class_weights": class_weight_words(score.options),
        "ordinal": tuple(score.options.get("order", ())),
        "alpha": Decoding.of(score.options).background,
        "grey_range": Decoding.of(score.options).grey_range,
        "taps": (PENULTIMATE,) if method.trains else (score.tap,),
        "views": 0 if method.trains else score.views,
    }
    if method.seeded and seeds:
        own |= {"seed": min(seeds), "seeds": max(seeds) - min(seeds) + 1}
    if score.method == Method.PROBE_SGD:
        own["sgd"] = _words(SGD, score.options)
    elif score.method == Method.PROBE_MLP:
        # Without any word there is no MLP head.
        own["mlp"] = _words(MLP, score.options) or (f"width={MLP['width'].values[0]}",)
    elif score.method == Method.PROBE_ATTENTIVE:
        own["attentive"] = _words(ATTENTIVE, score.options) or (f"queries={ATTENTIVE['queries'].values[0]}",)
    elif score.method in READ_TEXTS:
        own |= prompt_words(score.options)
    elif ESTIMATOR.fullmatch(score.method):
        own |= {"estimator": score.options.get("estimator"), "estimator_params": _parameters(score.options)}
    elif method.trains:
        own |= _training(known, score, own.get("weights", score.weights))
    return command_line(known[0].changed(**own), method.verb)


def _input(known: Sequence[Settings], score: Score | TargetScore) -> dict[str, Any]:
    """Return the options of weights and image size; embeddings from elsewhere have none."""
    if not score.image_size:
        return {}
    return {"weights": _weights(known, score), "image_size": score.image_size}


def _weights(known: Sequence[Settings], score: Score | TargetScore) -> str:
    """Return the option of a score's weights; of training from scratch the requested ones, for their preprocessing."""
    if score.method != Method.SCRATCH:
        return weights_option(known, score.backbone, score.weights)
    specs = (spec for settings in known for spec in settings.nets.specs if spec.name == score.backbone)
    return next((spec.weights for spec in specs), known[0].nets.weights)


def weights_option(known: Sequence[Settings], backbone: str, weights: str) -> str:
    """Return the value of ``--weights`` for the weights that a record names, with their file's folder if known."""
    specs = [spec.weights for settings in known for spec in settings.nets.specs if spec.name == backbone]
    for path in (*specs, *(settings.nets.weights for settings in known)):
        if is_weights_file(path) and Path(path).name == weights:
            return path
    if is_weights_file(weights):
        return f"{UNKNOWN_FOLDER}/{weights}"
    if backbone.startswith(TIMM) and weights not in ("none", "wheel"):
        return "DEFAULT"  # its weights are part of the name
    return weights


def _training(known: Sequence[Settings], score: Score | TargetScore, weights: str) -> dict[str, Any]:
    """Return the options of a row of training."""
    options, settings = score.options, known[0]
    strategies = [strategy for strategy in Strategy if method_of(strategy) == score.method]
    strategy = strategies[0] if strategies else score.method
    task = score.task if isinstance(score, TargetScore) else SINGLE_LABEL
    words = _words({name: axis for name, axis in train_axes(strategy, task).items() if name != "lr"}, options)
    rates = options.get("lr")
    if isinstance(rates, list):
        words += (f"lr={','.join(map(str, rates))}",)
    return {
        **({} if rates is None or isinstance(rates, list) else {"lr": rates}),
        "strategies": (strategy,),
        "epochs": options.get("epochs", settings.training.epochs),
        "train": words,
        "batch_size": options.get("batch_size", settings.compute.batch_size),
        "views": options.get("views", 0),
        "unfreeze": tuple(options.get("unfreeze", ())),
        "freeze_batchnorm": bool(options.get("freeze_batchnorm", False)) and strategy != Strategy.LORA,
        "teacher": _teacher(known, options.get("teacher"), weights),
        "second": _second(known, str(options.get("second", ""))),
    }


def _teacher(known: Sequence[Settings], name: str | None, weights: str) -> str | None:
    """Return the option of a teacher, with its own weights if they are known and not those of the row."""
    for settings in known:
        if settings.training.teacher is not None:
            spec = BackboneSpec.parse(settings.training.teacher, settings.nets.weights)
            if spec.name == name:
                return name if spec.weights == weights else f"{name}@{spec.weights}"
    return name


def _second(known: Sequence[Settings], title: str) -> tuple[str, ...]:
    """Return the option of a second task: groups of classes as they are, a file with its folder if that is known."""
    name = re.sub(r" \([0-9a-f]{8}\)$", "", title)
    if "=" in name:
        return tuple(re.split(r" (?=[^ =,]+=)", name))
    for settings in known:
        if [Path(word).name for word in settings.training.second] == [name]:
            return settings.training.second
    return (f"{UNKNOWN_FOLDER}/{name}",) if name else ()


def _words(axes: Mapping[str, Axis], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words that request a grid: of the axes that differ from their defaults, and have a value."""
    words = []
    for name, axis in axes.items():
        value = options.get(name, axis.values)
        values = tuple(value if isinstance(value, list | tuple) else [value])
        if values != axis.values and None not in values:
            words.append(f"{name}={','.join(map(str, values))}")
    return tuple(words)


def _parameters(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words that request the grid of a classifier."""
    grid = options.get("grid", {})
    return tuple(f"{name}={','.join(map(str, values))}" for name, values in grid.items())


def missing_rows(session: Session, scores: Sequence[Score]) -> list[NotRun]:
    """Return the rows that the run requests and that have no score."""
    steps = requested_steps(session)
    return list(dict.fromkeys(row for step in steps for row in _missing(session, step, scores)))


def requested_steps(session: Session) -> Sequence[Step]:
    """Return what the run requests: a recipe's steps, or all verbs that score under its one group of settings."""
    return session.steps or ((session.settings, tuple({method.verb for method in METHODS})),)


def _missing(session: Session, step: Step, scores: Sequence[Score]) -> list[NotRun]:
    settings, verbs = step
    seeds = range(settings.fitting.seed, settings.fitting.seed + settings.fitting.seeds)
    missing = []
    for text, spec in zip(settings.nets.backbones, settings.nets.specs, strict=True):
        of_net = [score for score in scores if score.backbone == spec.name and _is_of(spec, settings, score)]
        net_options = _same_net(settings, text, of_net)
        for tap in settings.reading.taps:
            scored = {
                (score.method, score.seed)
                for score in of_net
                if is_read_as_requested(settings, tap, score) and is_fitted_as_requested(settings, score)
            }
            for method, options in requested_methods(settings, verbs):
                if (method.trains and not session.has_images) or not is_read_by(method, tap):
                    continue
                requested = list(seeds) if method.seeded else [None]
                # A classifier of another package may or may not have seeds.
                absent = [seed for seed in requested if not {(method.name, seed), (method.name, None)} & scored]
                if absent:
                    net = spec.name if tap == PENULTIMATE or method.trains else f"{spec.name} at {tap}"
                    which = f", seed {', '.join(map(str, absent))}" if len(absent) < len(requested) else ""
                    command = command_line(settings, method.verb, **{**net_options, **options})
                    missing.append(NotRun(f"{method.title} of {net}{which}", command))
    return missing


def _same_net(settings: Settings, text: str, scores: Sequence[Score] | Sequence[TargetScore]) -> dict[str, Any]:
    """Return the options of a missing row's net; what the run leaves open is as in the other rows."""
    nets = {(score.weights, score.image_size) for score in scores if score.method != Method.SCRATCH}
    if len(nets) != 1:
        return {"backbones": (text,)}
    ((weights, image_size),) = nets
    if not image_size:
        return {"backbones": (text,)}
    options = {"backbones": (text,), "image_size": image_size}
    spec = BackboneSpec.parse(text, settings.nets.weights)
    if spec.weights == "DEFAULT" and "@" not in text:
        options["weights"] = weights_option([settings], spec.name, weights)
    return options


def requested_methods(settings: Settings, verbs: Collection[str]) -> list[tuple[MethodInfo, dict[str, Any]]]:
    """Return the methods that these verbs score under the settings, with the options that are their own."""
    heads: list[tuple[MethodInfo, dict[str, Any]]] = [
        (method, {})
        for method in METHODS
        if not method.trains
        and (method.name != Method.PROBE_MLP or settings.heads.mlp)
        and (method.name != Method.ORDINAL or settings.heads.ordinal)
        and (method.name != Method.PROBE_ATTENTIVE or settings.heads.attentive)
        and (method.name not in READ_TEXTS or settings.heads.zero_shot)
    ]
    trainings = training_methods(settings.training.strategies)
    own: list[tuple[MethodInfo, dict[str, Any]]] = []
    if settings.heads.estimator:
        own = [(method_info(estimator_method(settings.heads.estimator)), {})]
    return [(method, options) for method, options in (*heads, *own, *trainings) if method.verb in verbs]


def requested_target_methods(
    session: Session, settings: Settings, verbs: Collection[str], methods: Mapping[str, str]
) -> list[tuple[MethodInfo, dict[str, Any]]]:
    """Return the same for a data set of several labels or of numbers, given the methods of its task with their verb."""
    heads: list[tuple[MethodInfo, dict[str, Any]]] = [
        (method_info(name), {})
        for name, verb in methods.items()
        if verb in verbs and (name != Method.PROBE_MLP or settings.heads.mlp)
    ]
    if "finetune" not in verbs or not session.has_images:
        return heads
    return heads + training_methods([name for name in settings.training.strategies if name not in OF_CLASSES])


def training_methods(strategies: Iterable[str]) -> list[tuple[MethodInfo, dict[str, Any]]]:
    """Return the methods of strategies, with the options that are their own."""
    return [
        (method_info(method_of(strategy)), {"taps": (PENULTIMATE,), "views": 0, "strategies": (strategy,)})
        for strategy in strategies
    ]


def is_read_by(method: MethodInfo, tap: str) -> bool:
    """Return whether a method reads the rows of a tap: tokens are read by the attentive probe, and by nothing else."""
    if method.name in READ_TEXTS:
        return tap == JOINT
    return method.trains or (method.name == Method.PROBE_ATTENTIVE) == reads_tokens(tap)


def is_as_requested(settings: Settings, score: Score | Curve) -> bool:
    """Return whether a score or a curve is of the requested weights, input size and precision."""
    specs = [spec for spec in settings.nets.specs if spec.name == score.backbone]
    return any(
        _is_of(spec, settings, score) and (score.method == Method.SCRATCH or spec.gives(score.weights))
        for spec in specs or [BackboneSpec(score.backbone, settings.nets.weights)]
    )


def _is_of(spec: BackboneSpec, settings: Settings, score: Score | TargetScore | Curve) -> bool:
    """Return whether a score is of a backbone as requested; any weights will do for ``DEFAULT``."""
    weights = spec.weights == "DEFAULT" or score.method == Method.SCRATCH or spec.gives(score.weights)
    size = settings.nets.image_size in (None, score.image_size)
    decoding = Decoding.of(score.options) == Decoding(settings.nets.alpha, settings.nets.grey_range)
    return weights and size and decoding and score.precision == settings.nets.precision


def is_read_as_requested(settings: Settings, tap: str, score: Score | TargetScore) -> bool:
    """Return whether a head has the requested tap and views; training has neither.

    Which blocks ``last-4`` stands for only the net knows: any tap will do.
    """
    if method_info(score.method).trains:
        return True
    return (score.tap == tap or any(map(LAST_K.fullmatch, split_tap(tap)))) and score.views == settings.reading.views


def is_fitted_as_requested(settings: Settings, score: Score) -> bool:
    """Return whether a row is selected and weighted as requested, and of the requested grid if minibatches train it."""
    requested_fit = fit_options(settings, score.class_names, weighs_classes=method_info(score.method).weighs_classes)
    if shared_options(score.options) != requested_fit:
        return False
    heads = settings.heads
    if score.method in READ_TEXTS:
        prompts = prompt_options(heads, score.class_names)
        return all(score.options.get(name) == prompts.get(name) for name in ("templates", "class_texts"))
    if ESTIMATOR.fullmatch(score.method):
        return settings.heads.estimator in (None, score.options.get("estimator"))
    if score.method == Method.ORDINAL and heads.ordinal:
        return class_order(heads.ordinal, score.class_names) == tuple(score.options.get("order", ()))
    return has_requested_grid(settings, score)


def has_requested_grid(settings: Settings, score: Score | TargetScore) -> bool:
    """Return whether a row is of the requested grid, if minibatches train it."""
    heads, task = settings.heads, score.task if isinstance(score, TargetScore) else SINGLE_LABEL
    axes = {
        Method.PROBE_SGD: ("sgd", SGD, heads.sgd),
        Method.PROBE_MLP: ("mlp", mlp_axes(task), heads.mlp),
        Method.PROBE_ATTENTIVE: ("attentive", ATTENTIVE, heads.attentive),
    }
    if score.method not in axes:
        return True
    requested = grid(*axes[Method(score.method)]).values
    return all(score.options.get(name) == list(values) for name, values in requested.items())


def is_trained_as_requested(settings: Settings, strategies: Sequence[str], record: Score | TargetScore | Curve) -> bool:
    """Return whether a training is one of the strategies, with the requested options; a head has none."""
    task = record.task if isinstance(record, TargetScore) else SINGLE_LABEL
    requested = [training_options(settings, name, task) for name in strategies if method_of(name) == record.method]
    return not method_info(record.method).trains or any(
        all(
            record.options.get(name) == (values[0] if len(values) == 1 else list(values))
            for name, values in own.items()
        )
        for own in requested
    )
