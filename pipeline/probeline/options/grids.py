"""Grids of the hyper-parameters of training: the defaults, and ``name=value,value`` in their place."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from probeline.errors import BadOption, nearest
from probeline.names import (
    AT_ONE_RATE,
    DISTILLED,
    LORA_OPTIONS,
    MULTI_LABEL,
    REGRESSION,
    SINGLE_LABEL,
    TWO_HEADED,
    Strategy,
)

_MOST = 2**31 - 1
_NAME = re.compile(r"[A-Za-z0-9_]+([.+][A-Za-z0-9_]+){0,30}")


@dataclass(frozen=True)
class Axis:
    """One hyper-parameter: its default values, all of one type, and whether several can be compared.

    `within` has the least and the most of a number, or the valid names; if it is empty, a name may have letters, digits
    and ``_ . +``.
    """

    values: tuple[Any, ...]
    within: tuple[Any, ...]
    several: bool = True


_SHARE = (0.0, 0.999)
_TRAINING = {"epochs": Axis((30,), (1, _MOST), several=False), "batch_size": Axis((256,), (1, _MOST), several=False)}

SGD: Mapping[str, Axis] = {
    "lr": Axis((1e-4, 3e-4, 1e-3, 3e-3, 1e-2), (1e-12, 100.0)),
    "weight_decay": Axis((5e-4,), (0.0, 100.0)),
    "dropout": Axis((0.0,), _SHARE),
    "label_smoothing": Axis((0.0,), _SHARE),
    "optimizer": Axis(("adam",), ("adam", "adamw", "sgd")),
    "schedule": Axis(("cosine",), ("constant", "cosine", "one-cycle", "step")),
    **_TRAINING,
}
"""The courses' recipe, Adam with a cosine schedule, at several learning rates."""

MLP: Mapping[str, Axis] = {
    "lr": Axis((3e-4, 1e-3, 3e-3), (1e-12, 100.0)),
    "weight_decay": Axis((1e-2,), (0.0, 100.0)),
    "dropout": Axis((0.5,), _SHARE),
    "label_smoothing": Axis((0.0,), _SHARE),
    "width": Axis((512,), (1, 65536)),
    "activation": Axis(("gelu",), ("gelu", "relu")),
    **_TRAINING,
}
"""One hidden layer, with AdamW and the dropout that it needs."""

ATTENTIVE: Mapping[str, Axis] = {
    "lr": Axis((3e-4, 1e-3, 3e-3, 1e-2), (1e-12, 100.0)),
    "weight_decay": Axis((1e-2,), (0.0, 100.0)),
    "queries": Axis((8,), (1, 4096)),
    "heads": Axis((1,), (1, 4096)),
    "dim": Axis((0,), (0, 65536)),
    "keys": Axis(("tokens",), ("projected", "tokens")),
    **_TRAINING,
    "batch_size": Axis((64,), (1, _MOST), several=False),
}
"""Queries that pool tokens, with AdamW; a `dim` of 0 pools to as many channels as the tokens have. Batches are smaller
than those of linear heads, since a small data set gives too few steps otherwise."""

KEPT = ("none", "views")
"""Augmentations that repeat the same images, so that the outputs of frozen stages can be cached."""

AUGMENTATIONS = (*KEPT, "flip-crop", "jitter", "randaugment")

TRAIN: Mapping[str, Axis] = {
    "lr": Axis((1e-3,), (1e-12, 100.0)),
    "body": Axis((0.1,), (0.0, 1.0)),
    "decay": Axis((1.0,), (0.0, 1.0)),
    "optimizer": Axis(("adamw",), ("adam", "adamw", "sgd")),
    "weight_decay": Axis((0.01,), (0.0, 100.0)),
    "schedule": Axis(("cosine",), ("constant", "cosine", "one-cycle", "step")),
    "warmup": Axis((0.0,), (0.0, 1e6)),
    "label_smoothing": Axis((0.0,), _SHARE),
    "clip": Axis((0.0,), (0.0, 1e6)),
    "dropout": Axis((0.0,), _SHARE),
    "accumulate": Axis((1,), (1, 65536), several=False),
    "patience": Axis((0,), (0, _MOST), several=False),
    "augment": Axis(("flip-crop",), AUGMENTATIONS, several=False),
    "temperature": Axis((4.0,), (0.01, 1000.0), several=False),
    "alpha": Axis((0.5,), (0.0, 1.0), several=False),
    "second_weight": Axis((0.5,), (0.0, 100.0), several=False),
    "lora_r": Axis((8,), (1, 65536)),
    "lora_alpha": Axis((16.0,), (1e-6, 1e6)),
    "lora_dropout": Axis((0.0,), _SHARE),
    "lora_targets": Axis(("auto",), ()),
    "wise_steps": Axis((10,), (1, 1000), several=False),
    "loss": Axis(("mse",), ("huber", "mse"), several=False),
    "huber_delta": Axis((1.0,), (1e-6, 1e6)),
}
"""How a whole net, or its upper part, is trained."""

CONCERNS: Mapping[str, Sequence[Strategy]] = {
    **dict.fromkeys(("temperature", "alpha"), DISTILLED),
    "second_weight": TWO_HEADED,
    **dict.fromkeys(LORA_OPTIONS, (Strategy.LORA,)),
    "wise_steps": (Strategy.WISE_FT,),
}
"""The strategies that use an axis of `TRAIN` which others do not."""

OF_NUMBERS = ("loss", "huber_delta")
"""Axes of `TRAIN` that only numbers use."""

UNUSED: Mapping[str, Sequence[str]] = {
    SINGLE_LABEL: OF_NUMBERS,
    MULTI_LABEL: OF_NUMBERS,
    REGRESSION: ("label_smoothing",),
}
"""Axes of `TRAIN` and of `MLP` that a task has no use for."""


def mlp_axes(task: str) -> dict[str, Axis]:
    """Return the axes of `MLP` that a task has a use for."""
    return {name: axis for name, axis in MLP.items() if name not in UNUSED[task]}


def train_axes(strategy: str, task: str = SINGLE_LABEL) -> dict[str, Axis]:
    """Return the axes of `TRAIN` that a strategy uses for a task, with their own defaults."""
    axes = {
        name: axis
        for name, axis in TRAIN.items()
        if strategy in CONCERNS.get(name, (strategy,)) and name not in UNUSED[task]
    }
    if task == REGRESSION:  # a mirrored or cropped image may not have the number any more
        axes["augment"] = replace(TRAIN["augment"], values=("none",))
    return axes | ({"body": replace(TRAIN["body"], values=(1.0,))} if strategy in AT_ONE_RATE else {})


@dataclass(frozen=True)
class Grid:
    """The values of every axis, by name."""

    values: Mapping[str, tuple[Any, ...]]
    axes: Mapping[str, Axis]

    def candidates(self) -> list[dict[str, Any]]:
        """Return every combination of the axes that have several values; the last axis changes first."""
        several = self._several()
        return [dict(zip(several, values, strict=True)) for values in product(*several.values())]

    def fixed(self) -> dict[str, Any]:
        """Return the value of each axis that has a single one."""
        return {name: values[0] for name, values in self.values.items() if len(values) == 1}

    def edge(self, candidate: Mapping[str, Any]) -> bool:
        """Return whether a candidate is at the edge of a numeric axis of three values or more that could be longer."""
        return any(
            candidate[name] in {min(values), max(values)} - set(self.axes[name].within)
            for name, values in self._several().items()
            if len(values) > 2 and not isinstance(values[0], str)
        )

    def _several(self) -> dict[str, tuple[Any, ...]]:
        return {name: values for name, values in self.values.items() if len(values) > 1}


def grid(option: str, axes: Mapping[str, Axis], words: Sequence[str]) -> Grid:
    """Return the grid of `axes` with the values in `words`, such as ``lr=1e-4,1e-3``, in place of the defaults.

    BadOption is raised, under the name of the option, for an unknown or repeated axis and for an invalid value.
    """
    values = {name: axis.values for name, axis in axes.items()}
    pairs = [word.partition("=")[::2] for word in words]
    for name, listed in pairs:
        if name not in axes or [other for other, _ in pairs].count(name) > 1:
            close = [] if name in axes else nearest(name, axes)
            raise BadOption(
                f"bad --{option}",
                expected=f"NAME=VALUE[,VALUE...] of {', '.join(axes)}",
                got=f"{name} twice" if name in axes else f"{name}={listed}",
                remedy=f"did you mean {' or '.join(close)}?" if close else None,
            )
        values[name] = _values(option, name, axes[name], listed)
    return Grid(values, axes)


def estimator_grid(words: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each parameter in words such as ``C=0.1,1`` and ``kernel=rbf,linear``.

    A value is a number, True, False, None, or else text. BadOption is raised for anything else than NAME=V[,V...].
    """
    values: dict[str, tuple[Any, ...]] = {}
    for word in words:
        name, equals, listed = word.partition("=")
        if not name or not equals or not listed or name in values:
            got = f"{name} twice" if name in values else word
            raise BadOption("bad --estimator-params", expected="NAME=VALUE[,VALUE...]", got=got)
        values[name] = tuple(dict.fromkeys(map(_literal, listed.split(","))))
    return values


def _literal(text: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if value is None or isinstance(value, bool | int | float) else text


def _values(option: str, name: str, axis: Axis, listed: str) -> tuple[Any, ...]:
    of_type = type(axis.values[0])
    try:
        values = tuple(sorted({of_type(text) for text in listed.split(",")}))
    except ValueError:
        values = ()
    if of_type is str and not axis.within:
        expected = "names of letters, digits and _ . +"
        known = all(_NAME.fullmatch(value) for value in values)
    elif of_type is str:
        expected = f"one of {', '.join(axis.within)}"
        known = all(value in axis.within for value in values)
    else:
        least, most = axis.within
        expected = f"{'whole numbers' if of_type is int else 'numbers'} from {least} to {most}"
        known = all(least <= value <= most for value in values)
    if not values or not known or (len(values) > 1 and not axis.several):
        alone = "" if axis.several else ", a single one"
        raise BadOption(f"bad --{option} {name}", expected=expected + alone, got=listed or "nothing")
    return values
