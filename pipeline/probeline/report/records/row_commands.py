"""The commands of rows: which made a row, which would make a row that is missing, and what else could be asked for.

A score names a file of weights or of a second task without its folder. The settings of the run that shows the score may
know it; if not, the command has ``PATH-TO/`` in its place, which every verb refuses.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from probeline.names import (
    LAST_K,
    PENULTIMATE,
    TIMM,
    BackboneSpec,
    Method,
    Strategy,
    is_weights_file,
    method_of,
    split_tap,
)
from probeline.options.command_line import UNKNOWN_FOLDER, command_line
from probeline.options.grids import MLP, SGD, TRAIN, Axis, grid
from probeline.options.settings import OPTIONS, Settings, Step
from probeline.report.model.content import ReportContent
from probeline.report.model.row import Block
from probeline.report.records.not_run import NotRun
from probeline.results.curve import Curve
from probeline.results.methods import METHODS, MethodInfo, method_info
from probeline.results.score import Score
from probeline.session import Session

_KEPT = (
    *("dataset", "data", "cache", "reports", "device", "limit", "data_seed", "labels", "groups", "batch_size"),
    *("workers", "recipe", "quiet", "verbose", "json", "dry_run"),
)
"""Options that are the run's and not the row's."""

_OTHERS = ("mobilenet_v2", "resnet50")
"""Backbones to offer as another one."""


def commands(settings: Settings, table: Sequence[Block], steps: Sequence[Step] = ()) -> dict[str, str]:
    """Return, by the key of each row's first score, the command that makes the row.

    Parameters
    ----------
    settings : Settings
        Of the run: data, folders and device are its own, all else is the row's.
    table : sequence of Block
    steps : sequence of Step
        All steps of the recipe, if there is one.
    """
    rows = [scores for block in table for scores in block.scores]
    known = [settings, *(step for step, _ in steps)]
    return {scores[0].key: _command(known, scores) for scores in rows}


def _command(known: Sequence[Settings], scores: Sequence[Score]) -> str:
    score = scores[0]
    method = method_info(score.method)
    seeds = [one.seed for one in scores if one.seed is not None]
    own: dict[str, Any] = {
        # What a verb does not use is left as it is by default.
        **{name: option.default for name, option in OPTIONS.items() if name not in _KEPT},
        "backbones": (score.backbone,),
        "weights": _weights(known, score),
        "precision": score.precision,
        "image_size": score.image_size,
        "taps": (PENULTIMATE,) if method.trains else (score.tap,),
        "views": 0 if method.trains else score.views,
    }
    if method.seeded and seeds:
        own |= {"seed": min(seeds), "seeds": max(seeds) - min(seeds) + 1}
    if score.method == Method.PROBE_SGD:
        own["sgd"] = _words(SGD, score.options)
    elif score.method == Method.PROBE_MLP:
        own["mlp"] = _words(MLP, score.options) or _all_words(MLP, "width", score.options)
    elif method.trains:
        own |= _training(known, score, own["weights"])
    return command_line(known[0].changed(**own), method.verb)


def _weights(known: Sequence[Settings], score: Score) -> str:
    """Return the option of a score's weights; a net that is trained from scratch sees its images as they say."""
    if score.method != Method.SCRATCH:
        return weights_option(known, score.backbone, score.weights)
    specs = (spec for settings in known for spec in settings.nets.specs if spec.name == score.backbone)
    return next((spec.weights for spec in specs), known[0].nets.weights)


def weights_option(known: Sequence[Settings], backbone: str, weights: str) -> str:
    """Return the value of ``--weights`` that stands for the weights which a record names.

    Parameters
    ----------
    known : sequence of Settings
        They may know in which folder a file of weights is.
    backbone, weights : str
        As a record has them: of a file its name alone.
    """
    specs = [spec.weights for settings in known for spec in settings.nets.specs if spec.name == backbone]
    for path in (*specs, *(settings.nets.weights for settings in known)):
        if is_weights_file(path) and Path(path).name == weights:
            return path
    if is_weights_file(weights):
        return f"{UNKNOWN_FOLDER}/{weights}"
    if backbone.startswith(TIMM) and weights not in ("none", "wheel"):
        return "DEFAULT"  # its weights are part of the name
    return weights


def _training(known: Sequence[Settings], score: Score, weights: str) -> dict[str, Any]:
    options, settings = score.options, known[0]
    strategy = next((one for one in Strategy if method_of(one) == score.method), score.method)
    words = [word for word in _words(TRAIN, options) if not word.startswith("lr=") and not _usual(word, score.method)]
    rates = options.get("lr")
    found: dict[str, Any] = {"strategies": (strategy,), "epochs": options.get("epochs", settings.training.epochs)}
    if isinstance(rates, list):
        words.append(f"lr={','.join(map(str, rates))}")
    elif rates is not None:
        found["lr"] = rates
    return {
        **found,
        "train": tuple(words),
        "batch_size": options.get("batch_size", settings.compute.batch_size),
        "views": options.get("views", 0),
        "unfreeze": tuple(options.get("unfreeze", ())),
        "freeze_batchnorm": bool(options.get("freeze_batchnorm", False)),
        "teacher": _teacher(known, options.get("teacher"), weights),
        "second": _second(known, str(options.get("second", ""))),
    }


def _teacher(known: Sequence[Settings], name: str | None, weights: str) -> str | None:
    """Return the option of a teacher, with its own weights where the row has others and the run knows them."""
    for settings in known:
        if settings.training.teacher is not None:
            spec = BackboneSpec.parse(settings.training.teacher, settings.nets.weights)
            if spec.name == name:
                return name if spec.weights == weights else f"{name}@{spec.weights}"
    return name


def _second(known: Sequence[Settings], title: str) -> tuple[str, ...]:
    """Return the option of a second task: groups of classes as they are, and a file where the run knows it to lie."""
    called = re.sub(r" \([0-9a-f]{8}\)$", "", title)
    if "=" in called:
        return tuple(re.split(r" (?=[^ =,]+=)", called))
    for settings in known:
        if [Path(word).name for word in settings.training.second] == [called]:
            return settings.training.second
    return (f"{UNKNOWN_FOLDER}/{called}",) if called else ()


def _usual(word: str, name: str) -> bool:
    """Return whether a word is what a training from scratch has without being asked: all of the net at one rate."""
    return name == Method.SCRATCH and word == "body=1.0"


def _words(axes: Mapping[str, Axis], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words that ask for a grid, of those axes that are not as they are by default."""
    return tuple(
        word
        for name, axis in axes.items()
        if name in options and tuple(_listed(options[name])) != axis.values
        for word in _all_words(axes, name, options)
    )


def _all_words(axes: Mapping[str, Axis], name: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    values = _listed(options[name]) if name in options else axes[name].values
    return (f"{name}={','.join(map(str, values))}",)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def missing_rows(session: Session, scores: Sequence[Score]) -> list[NotRun]:
    """Return the rows that the run requests and that have no score."""
    steps = requested_steps(session)
    return list(dict.fromkeys(row for step in steps for row in _missing(step, scores)))


def requested_steps(session: Session) -> Sequence[Step]:
    """Return what the run asks for: a recipe's steps, or all verbs that score under its one group of settings."""
    return session.steps or ((session.settings, tuple({one.verb for one in METHODS})),)


def _missing(step: Step, scores: Sequence[Score]) -> list[NotRun]:
    settings, verbs = step
    seeds = range(settings.seeding.seed, settings.seeding.seed + settings.seeding.seeds)
    missing: dict[NotRun, None] = {}
    for text, spec in zip(settings.nets.backbones, settings.nets.specs, strict=True):
        name = spec.name
        of_net = [score for score in scores if score.backbone == name and _is_of(spec, settings, score)]
        net_options = _same_net(settings, text, of_net)
        for tap in settings.reading.taps:
            scored = {
                (score.method, score.seed)
                for score in of_net
                if is_read_as_requested(settings, tap, score) and is_fitted_as_requested(settings, score)
            }
            for method, options in requested_methods(settings, verbs):
                wanted = list(seeds) if method.seeded else [None]
                absent = [seed for seed in wanted if (method.name, seed) not in scored]
                if absent:
                    net = name if tap == PENULTIMATE or method.trains else f"{name} at {tap}"
                    few = f", seed {', '.join(map(str, absent))}" if len(absent) < len(wanted) else ""
                    command = command_line(settings, method.verb, **{**net_options, **options})
                    missing[NotRun(f"{method.title} of {net}{few}", command)] = None
    return list(missing)


def _same_net(settings: Settings, text: str, scores: Sequence[Score]) -> dict[str, Any]:
    """Return the options of the net that a missing row is asked for: what is left open is as in the other rows."""
    pretrained = [score for score in scores if score.method != Method.SCRATCH]
    nets = {(score.weights, score.image_size) for score in pretrained}
    spec = BackboneSpec.parse(text, settings.nets.weights)
    if len(nets) != 1:
        return {"backbones": (text,)}
    ((weights, image_size),) = nets
    if spec.weights == "DEFAULT" and "@" not in text:
        return {
            "backbones": (text,),
            "weights": weights_option([settings], spec.name, weights),
            "image_size": image_size,
        }
    return {"backbones": (text,), "image_size": image_size}


def requested_methods(settings: Settings, verbs: Collection[str]) -> list[tuple[MethodInfo, dict[str, Any]]]:
    """Return the methods that these verbs score under the settings, with the options that are their own."""
    heads: list[tuple[MethodInfo, dict[str, Any]]] = [
        (one, {}) for one in METHODS if not one.trains and (one.name != Method.PROBE_MLP or settings.heads.mlp)
    ]
    trainings = [
        (method_info(method_of(strategy)), {"taps": (PENULTIMATE,), "views": 0, "strategies": (strategy,)})
        for strategy in settings.training.strategies
    ]
    return [(one, options) for one, options in (*heads, *trainings) if one.verb in verbs]


def _is_of(spec: BackboneSpec, settings: Settings, score: Score) -> bool:
    """Return whether a score is of a backbone as it is asked for; if its weights are left open, any will do."""
    weights = spec.weights == "DEFAULT" or score.method == Method.SCRATCH or spec.gives(score.weights)
    size = settings.nets.image_size in (None, score.image_size)
    return weights and size and score.precision == settings.nets.precision


def is_read_as_requested(settings: Settings, tap: str, score: Score) -> bool:
    """Return whether a head was given this tap, and the views that are asked for; a training concerns neither.

    Which blocks ``last-4`` stands for only the net knows: any tap will do.
    """
    if method_info(score.method).trains:
        return True
    return (score.tap == tap or any(map(LAST_K.fullmatch, split_tap(tap)))) and score.views == settings.reading.views


def is_fitted_as_requested(settings: Settings, score: Score) -> bool:
    """Return whether a head that is trained in minibatches had the grid that is asked for."""
    axes = {Method.PROBE_SGD: ("sgd", SGD, settings.heads.sgd), Method.PROBE_MLP: ("mlp", MLP, settings.heads.mlp)}
    if score.method not in axes:
        return True
    requested = grid(*axes[Method(score.method)]).values
    return all(score.options.get(name) == list(values) for name, values in requested.items())


def is_as_requested(settings: Settings, score: Score | Curve) -> bool:
    """Return whether a score or a curve is of the weights, input size and precision that the settings ask for."""
    specs = [spec for spec in settings.nets.specs if spec.name == score.backbone]
    default = BackboneSpec(score.backbone, settings.nets.weights)
    weights = score.method == Method.SCRATCH or any(spec.gives(score.weights) for spec in specs or [default])
    size = settings.nets.image_size in (None, score.image_size)
    return weights and size and score.precision == settings.nets.precision


def further_commands(settings: Settings, content: ReportContent) -> list[NotRun]:
    """Return what a report could show in addition, with the commands for it."""
    records = {
        "curve": ("learning curves", content.curves),
        "pictures": ("common errors, an embedding map and the first filters", content.pictures),
        "doctor": ("a check of the data", content.findings),
        "latency": ("the latency of a forward pass", content.latencies),
    }
    further = [NotRun(what, command_line(settings, verb)) for verb, (what, shown) in records.items() if not shown]
    backbones = {row.backbone for row in content.rows}
    if len(backbones) == 1:
        other = next(name for name in _OTHERS if name not in backbones)
        # Taps, and weights if there are any, may be of this net alone.
        weights = settings.nets.weights if settings.nets.weights == "none" else Settings().nets.weights
        command = command_line(settings, "run", backbones=(other,), taps=Settings().reading.taps, weights=weights)
        further.append(NotRun(f"another backbone, such as {other}", command))
    return further
