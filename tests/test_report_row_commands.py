"""The command that makes a row asks for just what its score says it was made with."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest

from made_scores import make_score
from probeline.cli.parser import parse
from probeline.cli.steps import settings_of
from probeline.errors import BadOption
from probeline.finetuning.requests import training_options
from probeline.options.grids import MLP, SGD, grid
from probeline.options.settings import Settings
from probeline.report.model.rows import blocks
from probeline.report.records.row_commands import commands, is_fitted_as_requested, requested_methods
from probeline.results.score import Score

HERE = Settings.of(dataset="cifar10", limit=200, data_seed=3)


def command(settings: Settings, *scores: Score) -> str:
    (line,) = commands(settings, blocks(scores)).values()
    return line


def read(line: str) -> Settings:
    words = shlex.split(line)
    assert words[0] == "probeline"
    return settings_of(parse(words[1:]))[0]


def listed(options: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    return {name: values[0] if len(values) == 1 else list(values) for name, values in options.items()}


@pytest.mark.parametrize(
    ("strategy", "requested"),
    [
        ("full", {}),
        ("full", {"train": ("lr=1e-3,1e-2", "clip=1.0", "augment=views"), "views": 2, "epochs": 3}),
        ("scratch", {"lr": 0.02, "batch_size": 16}),
        ("scratch", {"train": ("body=0.5",)}),
        ("scratch", {"train": ("body=0.1",)}),
        ("bitfit", {"train": ("body=0.1",), "freeze_batchnorm": True}),
        ("lora", {"train": ("lora_r=4,8", "lora_alpha=32.0", "lora_targets=qkv+fc1", "lora_dropout=0.1")}),
        ("lora", {"freeze_batchnorm": True}),
        ("wise-ft", {"train": ("wise_steps=20",)}),
        ("last-2", {"train": ("optimizer=sgd", "schedule=one-cycle")}),
        ("gradual", {"unfreeze": (2, 4), "freeze_batchnorm": True}),
        ("distill", {"teacher": "resnet50", "train": ("alpha=0.9",)}),
        ("multi-task", {"second": ("alive=cat,polar bear,dog", "made=car,ship")}),
        ("full", {"train": ("lr=1e-3,1e-2", "decay=0.5,1.0", "optimizer=adam,sgd")}),
    ],
)
def test_a_training_s_command_has_its_options(strategy: str, requested: dict[str, Any]) -> None:
    settings = HERE.changed(strategies=(strategy,), **requested)
    options = listed(training_options(settings, strategy))
    for name in ("views", "unfreeze", "teacher"):
        if name in requested:
            options[name] = list(requested[name]) if name == "unfreeze" else requested[name]
    if "second" in requested:
        options["second"] = f"{' '.join(requested['second'])} (0123abcd)"
    name = "finetune" if strategy == "full" else strategy
    scores = [make_score("finetune", seed=seed, n_test=20) for seed in (4, 5)]
    scores = [replace(score, method=name, options={"version": 2, "weights": "x", **options}) for score in scores]
    if strategy == "scratch":
        scores = [replace(score, weights="none") for score in scores]
    line = command(HERE, *scores)
    assert line.startswith("probeline finetune ")
    again = read(line)
    assert again.training.strategies == (strategy,)
    assert listed(training_options(again, strategy)) == listed(training_options(settings, strategy))
    assert (again.fitting.seed, again.fitting.seeds, again.data.limit, again.data.data_seed) == (4, 2, 200, 3)
    assert (again.training.unfreeze, again.training.teacher, again.training.second) == (
        settings.training.unfreeze,
        settings.training.teacher,
        settings.training.second,
    )
    assert again.nets.weights == ("DEFAULT" if strategy == "scratch" else "IMAGENET1K_V1")


@pytest.mark.parametrize(("name", "axes"), [("sgd", SGD), ("mlp", MLP)])
def test_a_grid_s_command_has_its_options(name: str, axes: Any) -> None:
    words = ("lr=0.0001,0.3", "epochs=4") if name == "sgd" else ("width=8", "epochs=4")
    for requested in (words, ()):
        values = grid(name, axes, requested).values
        options = {"version": 3, **{key: list(some) for key, some in values.items()}}
        score = replace(make_score("probe-sgd", seed=0, n_test=20), method=f"probe-{name}", options=options)
        again = read(command(HERE, score))
        given = getattr(again.heads, name)
        assert grid(name, axes, given).values == values
        assert given or name == "sgd", "without a grid of its own there is no MLP head"


def test_an_ordinal_probe_s_command_has_the_order() -> None:
    plain = make_score("probe", n_test=20)
    order = [plain.class_names[-1], *plain.class_names[:-1]]
    score = replace(plain, method="ordinal", options={"l2": [1.0], "order": order})
    line = command(HERE, score)
    assert read(line).heads.ordinal == tuple(order)
    assert read(line).heads == replace(read(command(HERE, plain)).heads, ordinal=tuple(order))
    assert is_fitted_as_requested(read(line), score)
    assert is_fitted_as_requested(read(command(HERE, plain)), score), "nothing else is asked for"
    backwards = read(line).changed(ordinal=tuple(order[::-1]))
    assert not is_fitted_as_requested(backwards, score)
    requested = [[method.name for method, _ in requested_methods(one, ["probe"])] for one in (backwards, HERE)]
    assert ["ordinal" in names for names in requested] == [True, False]


def test_a_head_s_command_names_its_tap() -> None:
    score = make_score("probe", n_test=20, tap="layer3+penultimate", views=3, precision="bf16")
    again = read(command(HERE.changed(epochs=50, strategies=("head",), recipe="demo"), score))
    assert (again.reading.taps, again.reading.views, again.nets.precision) == (("layer3+penultimate",), 3, "bf16")
    assert (again.nets.backbones, again.nets.weights) == (("mobilenet_v2",), "IMAGENET1K_V1")
    assert (again.training.epochs, again.training.strategies) == (
        Settings().training.epochs,
        Settings().training.strategies,
    ), "of no concern to a head"


def test_weights_are_named_as_the_option_takes_them() -> None:
    file = HERE.changed(weights="/data/net.pth")
    assert read(command(file, make_score(n_test=20, weights="net.pth"))).nets.weights == "/data/net.pth"
    assert (
        read(command(HERE, make_score(backbone="timm:resnet10t", n_test=20, weights="c3_in1k"))).nets.weights
        == "DEFAULT"
    )
    for weights in ("none", "wheel"):
        score = make_score(backbone="timm:resnet10t", n_test=20, weights=weights)
        assert read(command(HERE, score)).nets.weights == weights


def test_a_file_whose_folder_nobody_knows_is_a_place_to_fill_in() -> None:
    line = command(HERE, make_score(n_test=20, weights="net.pth"))
    assert "--weights PATH-TO/net.pth" in line
    with pytest.raises(BadOption, match=r"the folder of net\.pth is not on record.*PATH-TO"):
        read(line)
    score = make_score(n_test=20, weights="net.pth")
    for known in ("mobilenet_v2@/data/net.pth", "resnet18@/data/net.pth"):
        (line,) = commands(HERE, blocks([score]), [(HERE.changed(backbones=(known,)), ("probe",))]).values()
        assert ("--weights /data/net.pth" in line) == known.startswith("mobilenet"), "a file is of one net"


def test_a_teacher_has_its_own_weights() -> None:
    score = replace(make_score("finetune", seed=0, n_test=20), method="distill", options={"teacher": "resnet50"})
    for requested, weights, teacher in (
        ("resnet50", "DEFAULT", "resnet50@DEFAULT"),
        ("resnet50", "IMAGENET1K_V1", "resnet50"),
        ("resnet50@/data/t.pth", "DEFAULT", "resnet50@/data/t.pth"),
    ):
        again = read(command(HERE.changed(teacher=requested, weights=weights), score))
        assert again.training.teacher == teacher


def test_the_file_of_a_second_task_is_named_by_its_path() -> None:
    options = {"second": "colours.csv (0123abcd)"}
    score = replace(make_score("finetune", seed=0, n_test=20), method="multi-task", options=options)
    assert read(command(HERE.changed(second=("/data/colours.csv",)), score)).training.second == ("/data/colours.csv",)
    with pytest.raises(BadOption, match=r"the folder of colours\.csv is not on record"):
        read(command(HERE, score))


def test_each_command_has_the_size_of_its_row() -> None:
    scores = [make_score(n_test=20, image_size=size) for size in (128, 224)]
    lines = commands(HERE, blocks(scores)).values()
    assert sorted(read(line).nets.image_size or 0 for line in lines) == [128, 224]
    for settings in (HERE, HERE.changed(image_size=64)):
        assert read(command(settings, scores[0])).nets.image_size == 128


def test_an_option_without_a_value_is_left_out() -> None:
    score = make_score("finetune", n_test=20)
    whole = {"version": 2, "weights": "x", **listed(training_options(HERE.changed(strategies=("full",)), "full"))}
    lines = [command(HERE, replace(score, options=options)) for options in (whole, {**whole, "patience": None})]
    assert lines[1] == lines[0]
