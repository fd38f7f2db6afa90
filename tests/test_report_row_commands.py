"""The command that makes a row asks for just what its score says it was made with."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest

from probeline.cli.program import _config, _parser
from probeline.finetune.run import training_options
from probeline.options.config import Config
from probeline.options.grids import MLP, SGD, grid
from probeline.report.model.row_commands import commands
from probeline.report.model.rows import blocks
from probeline.results.score import Score
from test_report_rows import make_score

HERE = Config(dataset="cifar10", limit=200, data_seed=3)


def command(config: Config, *scores: Score) -> str:
    (line,) = commands(config, blocks(scores)).values()
    return line


def read(line: str) -> Config:
    words = shlex.split(line)
    assert words[0] == "probeline"
    return _config(_parser().parse_args(words[1:]))[0]


def listed(options: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    return {name: values[0] if len(values) == 1 else list(values) for name, values in options.items()}


@pytest.mark.parametrize(
    ("strategy", "asked"),
    [
        ("full", {}),
        ("full", {"train": ("lr=1e-3,1e-2", "clip=1.0", "augment=views"), "views": 2, "epochs": 3}),
        ("scratch", {"lr": 0.02, "batch_size": 16}),
        ("scratch", {"train": ("body=0.5",)}),
        ("last-2", {"train": ("optimizer=sgd", "schedule=one-cycle")}),
        ("gradual", {"unfreeze": (2, 4), "freeze_batchnorm": True}),
        ("distill", {"teacher": "resnet50", "train": ("alpha=0.9",)}),
        ("multi-task", {"second": ("alive=cat,polar bear,dog", "made=car,ship")}),
        ("full", {"train": ("lr=1e-3,1e-2", "decay=0.5,1.0", "optimizer=adam,sgd")}),
    ],
)
def test_a_training_is_asked_for_as_it_was(strategy: str, asked: dict[str, Any]) -> None:
    config = replace(HERE, strategies=(strategy,), **asked)
    options = listed(training_options(config, strategy))
    for name in ("views", "unfreeze", "teacher"):
        if name in asked:
            options[name] = list(asked[name]) if name == "unfreeze" else asked[name]
    if "second" in asked:
        options["second"] = f"{' '.join(asked['second'])} (0123abcd)"
    name = "finetune" if strategy == "full" else strategy
    scores = [make_score("finetune", seed=seed, n_test=20) for seed in (4, 5)]
    scores = [replace(score, method=name, options={"version": 2, "weights": "x", **options}) for score in scores]
    if strategy == "scratch":
        scores = [replace(score, weights="none") for score in scores]
    line = command(HERE, *scores)
    assert line.startswith("probeline finetune ")
    again = read(line)
    assert again.strategies == (strategy,)
    assert listed(training_options(again, strategy)) == listed(training_options(config, strategy))
    assert (again.seed, again.seeds, again.limit, again.data_seed) == (4, 2, 200, 3)
    assert (again.unfreeze, again.teacher, again.second) == (config.unfreeze, config.teacher, config.second)
    assert again.weights == ("DEFAULT" if strategy == "scratch" else "IMAGENET1K_V1")


@pytest.mark.parametrize(("name", "axes"), [("sgd", SGD), ("mlp", MLP)])
def test_a_grid_is_asked_for_as_it_was(name: str, axes: Any) -> None:
    words = ("lr=0.0001,0.3", "epochs=4") if name == "sgd" else ("width=8", "epochs=4")
    for asked in (words, ()):
        values = grid(name, axes, asked).values
        options = {"version": 3, **{key: list(some) for key, some in values.items()}}
        score = replace(make_score("probe-sgd", seed=0, n_test=20), method=f"probe-{name}", options=options)
        again = read(command(HERE, score))
        given = getattr(again, name)
        assert grid(name, axes, given).values == values
        assert given or name == "sgd", "without a grid of its own there is no MLP head"


def test_a_head_is_asked_for_at_its_tap() -> None:
    score = make_score("probe", n_test=20, tap="layer3+penultimate", views=3, precision="bf16")
    again = read(command(replace(HERE, epochs=50, strategies=("head",), recipe="demo"), score))
    assert (again.taps, again.views, again.precision) == (("layer3+penultimate",), 3, "bf16")
    assert (again.backbones, again.weights) == (("mobilenet_v2",), "IMAGENET1K_V1")
    assert (again.epochs, again.strategies) == (Config().epochs, Config().strategies), "of no concern to a head"


def test_weights_are_named_as_they_can_be_asked_for() -> None:
    file = replace(HERE, weights="/data/net.pth")
    assert read(command(file, make_score(n_test=20, weights="net.pth"))).weights == "/data/net.pth"
    assert read(command(HERE, make_score(backbone="timm:resnet10t", n_test=20, weights="c3_in1k"))).weights == "DEFAULT"
    for weights in ("none", "wheel"):
        score = make_score(backbone="timm:resnet10t", n_test=20, weights=weights)
        assert read(command(HERE, score)).weights == weights


def test_sizes_are_told_where_they_differ() -> None:
    scores = [make_score(n_test=20, image_size=size) for size in (128, 224)]
    lines = commands(HERE, blocks(scores)).values()
    assert sorted(read(line).image_size or 0 for line in lines) == [128, 224]
    assert read(command(HERE, scores[0])).image_size is None
    assert read(command(replace(HERE, image_size=128), scores[0])).image_size == 128
