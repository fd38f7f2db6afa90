"""Range test: which learning rate a fine-tune bears, found by its first steps while the rate rises."""

from __future__ import annotations

from typing import Any

from probeline.environment import environment
from probeline.finetune.objectives import Goal, goals
from probeline.finetune.run import Solution, ask, begin, begun_with, single, training_options
from probeline.metrics.lr_range import HIGHEST, LOWEST, SMOOTHING, STEPS, TOO_HIGH
from probeline.names import Strategy
from probeline.options.config import command_line
from probeline.report.sections.lr_range import found, rate, verdict
from probeline.results.range_test import RANGE_TESTS, RangeTest
from probeline.session import Asked, Inputs
from probeline.types import Backbone

_UNUSED = ("lr", "schedule", "warmup", "epochs", "patience")
"""Options of a training that say nothing about its first steps once their rates are given."""

_TEST = {"rates": (LOWEST, HIGHEST, STEPS), "smoothing": (SMOOTHING,), "too_high": (TOO_HIGH,)}


def run(inputs: Inputs) -> list[dict[str, Any]]:
    """Test each strategy on each backbone where there is no test of it yet, with the first seed; return all outcomes.

    Of the images only train rows take part. Where a strategy is fed with what frozen stages give, that is extracted
    for whole parts, as finetune does and uses again.

    Raises
    ------
    ProbelineError
    """
    outcomes = []
    towards = goals(inputs, inputs.config.strategies)
    for name in inputs.config.backbones:
        pretrained, _ = inputs.backbone(name)
        solution = Solution(inputs, pretrained)
        for strategy in inputs.config.strategies:
            test = _test(inputs, begun_with(pretrained, strategy), strategy, solution, towards[strategy])
            outcomes.append(_outcome(inputs, test, strategy))
    return outcomes


def _test(inputs: Inputs, backbone: Backbone, strategy: str, solution: Solution, goal: Goal) -> RangeTest:
    config, splits = inputs.config, inputs.splits
    options = training_options(config, strategy)
    # How many epochs there are says which stages a gradual training begins with.
    used = {name: values for name, values in options.items() if name not in _UNUSED}
    used |= {"epochs": options["epochs"]} if strategy == Strategy.GRADUAL else {}
    asked = ask(inputs, backbone, strategy, config.seed, {**used, **_TEST}, goal)
    title = f"lrfind: {inputs.dataset.name} x {backbone.name}, {asked.method}, seed {config.seed}"
    if there := _there(inputs, backbone, asked, title):
        return there

    from probeline.backbones.device import exact_float32
    from probeline.finetune.lr_range import range_test

    # At a rate of 1 what a group has of it is its share, to the last digit.
    once = single(options | {name: options[name][:1] for name in _UNUSED}, "lrfind") | {"lr": 1.0, "seed": config.seed}
    begun = begin(inputs, backbone, strategy, once, solution, goal)
    with exact_float32(config.precision):
        swept = range_test(begun.trainer, splits.train.rows, console=config.console, title=title)
    test = RangeTest(
        dataset=inputs.dataset.title,
        backbone=backbone.name,
        weights=backbone.weights,
        method=asked.method,
        precision=config.precision,
        key=asked.key,
        splits=inputs.splits_sha256,
        options=asked.options,
        image_size=backbone.preprocess.crop,
        n_train=len(splits.train),
        seed=config.seed,
        rates=swept.rates,
        losses=swept.losses,
        ended=swept.ended,
        seconds=swept.seconds,
        environment=environment(begun.device),
    )
    RANGE_TESTS.save(inputs.reports, test)
    config.console.say(f"{title}: {len(test.losses)} steps in {test.seconds:.0f} s; {verdict(test)}")
    return test


def _there(inputs: Inputs, backbone: Backbone, asked: Asked, title: str) -> RangeTest | None:
    """Return the test that is asked for and tell the user that it is there; None where it is yet to be made."""
    test = RANGE_TESTS.find(inputs.reports, backbone.name, asked.method, asked.key)
    told = f"{title}: it is there; {verdict(test)}" if isinstance(test, RangeTest) else ""
    return inputs.there(test, inputs.range_tests, told, title)


def _outcome(inputs: Inputs, test: RangeTest, strategy: str) -> dict[str, Any]:
    """Return what ``--json`` tells of a test, and say what to run next."""
    config, descent = inputs.config, found(test)
    command = None
    if descent is not None:
        command = command_line(
            config,
            "finetune",
            backbones=(test.backbone,),
            strategies=(strategy,),
            train=tuple(word for word in config.train if not word.startswith("lr=")),
            lr=rate(descent.steepest),
        )
        config.console.say(f"lrfind: next: {command}")
    return {
        "backbone": test.backbone,
        "weights": test.weights,
        "method": test.method,
        "seed": test.seed,
        "steps": len(test.losses),
        "ended": test.ended,
        "steepest": None if descent is None else descent.steepest,
        "tenth": None if descent is None else descent.tenth,
        "next": command,
        "file": str(RANGE_TESTS.path_of(inputs.reports, test)),
    }
