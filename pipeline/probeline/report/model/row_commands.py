"""Which command makes a row: told from what its score says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probeline.names import PENULTIMATE, TIMM, Method, Strategy, is_weights_file, method_of
from probeline.options.command_line import command_line
from probeline.options.grids import MLP, SGD, TRAIN, Axis
from probeline.options.settings import OPTIONS, Settings
from probeline.report.model.rows import Block
from probeline.results.methods import method_info
from probeline.results.score import Score


def commands(settings: Settings, table: Sequence[Block]) -> dict[str, str]:
    """Return, by the key of each row's first score, the command that makes the row.

    Parameters
    ----------
    settings : Settings
        Of the run: data, folders and device are its own, all else is the row's.
    table : sequence of Block
    """
    rows = [scores for block in table for scores in block.scores]
    sized = settings.nets.image_size is not None or len({scores[0].image_size for scores in rows}) > 1
    return {scores[0].key: _command(settings, scores, sized=sized) for scores in rows}


def _command(settings: Settings, scores: Sequence[Score], *, sized: bool) -> str:
    score = scores[0]
    known = method_info(score.method)
    seeds = [one.seed for one in scores if one.seed is not None]
    own: dict[str, Any] = {
        # What a verb knows nothing of is left as it is by default.
        **{name: option.default for name, option in OPTIONS.items() if name not in _ASIDE},
        "backbones": (score.backbone,),
        "weights": _weights(settings, score),
        "precision": score.precision,
        "image_size": score.image_size if sized else None,
        "taps": (PENULTIMATE,) if known.trains else (score.tap,),
        "views": 0 if known.trains else score.views,
    }
    if known.seeded and seeds:
        own |= {"seed": min(seeds), "seeds": max(seeds) - min(seeds) + 1}
    if score.method == Method.PROBE_SGD:
        own["sgd"] = _words(SGD, score.options)
    elif score.method == Method.PROBE_MLP:
        own["mlp"] = _words(MLP, score.options) or _all_words(MLP, "width", score.options)
    elif known.trains:
        own |= _training(settings, score)
    return command_line(settings.changed(**own), known.verb)


_ASIDE = (
    *("dataset", "data", "cache", "reports", "device", "limit", "data_seed", "labels", "groups", "batch_size"),
    *("workers", "recipe", "quiet", "verbose", "json", "dry_run"),
)
"""Options that are the run's and not the row's."""


def _weights(settings: Settings, score: Score) -> str:
    """Return the option of a score's weights: a score names a file without its folder, which the run may know."""
    specs = [spec for spec in settings.nets.specs if spec.name == score.backbone]
    if score.method == Method.SCRATCH:
        return specs[0].weights if specs else settings.nets.weights
    files = (spec.weights for spec in specs if is_weights_file(spec.weights) and spec.gives(score.weights))
    if file := next(files, None):
        return file
    if score.backbone.startswith(TIMM) and score.weights not in ("none", "wheel"):
        return "DEFAULT"  # its weights are part of the name
    return score.weights


def _training(settings: Settings, score: Score) -> dict[str, Any]:
    options = score.options
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
        "teacher": options.get("teacher"),
        "second": _second(settings, str(options.get("second", ""))),
    }


def _second(settings: Settings, title: str) -> tuple[str, ...]:
    """Return the option of a second task: a file is told by its name alone, and the run may know where it lies."""
    called = re.sub(r" \([0-9a-f]{8}\)$", "", title)
    if "=" in called:
        return tuple(re.split(r" (?=[^ =,]+=)", called))
    if [Path(word).name for word in settings.training.second] == [called]:
        return settings.training.second
    return (called,) if called else ()


def _usual(word: str, name: str) -> bool:
    """Say whether a word is what a training from scratch has without being asked: all of the net at one rate."""
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
