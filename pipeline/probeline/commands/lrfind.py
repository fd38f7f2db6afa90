"""Range test: which learning rate a fine-tune bears, found by its first steps while the rate rises."""

from __future__ import annotations

from typing import Any

from probeline.environment import environment
from probeline.evaluate.requests import ScoreRequest, reuse
from probeline.finetune.objectives import Goal, goals
from probeline.finetune.run import Solution, ask, begin, begun_with, single, training_options
from probeline.metrics.lr_range import HIGHEST, LOWEST, SMOOTHING, STEPS, TOO_HIGH
from probeline.names import Strategy
from probeline.options.command_line import command_line
from probeline.report.records.range_tests import round_rate, suggest_rates, suggestion_in_words
from probeline.results.range_test import RANGE_TESTS, RangeTest
from probeline.session import Session
from probeline.types import Backbone

_UNUSED = ("lr", "schedule", "warmup", "epochs", "patience")
"""Options of a training that say nothing about its first steps once their rates are given."""

_TEST = {"rates": (LOWEST, HIGHEST, STEPS), "smoothing": (SMOOTHING,), "too_high": (TOO_HIGH,)}


def run(session: Session) -> list[dict[str, Any]]:
    """Test each strategy on each backbone where there is no test of it yet, with the first seed; return all outcomes.

    Of the images only train rows take part. Where a strategy is fed with what frozen stages give, that is extracted
    for whole parts, as finetune does and uses again.

    Raises
    ------
    ProbelineError
    """
    outcomes = []
    towards = goals(session, session.settings.training.strategies)
    for name in session.settings.nets.backbones:
        pretrained, _ = session.backbone(name)
        solution = Solution(session, pretrained)
        for strategy in session.settings.training.strategies:
            test = _test(session, begun_with(pretrained, strategy), strategy, solution, towards[strategy])
            outcomes.append(_outcome(session, test, strategy))
    return outcomes


def _test(session: Session, backbone: Backbone, strategy: str, solution: Solution, goal: Goal) -> RangeTest:
    settings, splits = session.settings, session.splits
    options = training_options(settings, strategy)
    # How many epochs there are says which stages a gradual training begins with.
    used = {name: values for name, values in options.items() if name not in _UNUSED}
    used |= {"epochs": options["epochs"]} if strategy == Strategy.GRADUAL else {}
    asked = ask(session, backbone, strategy, settings.seeding.seed, {**used, **_TEST}, goal)
    title = f"lrfind: {session.dataset.name} x {backbone.name}, {asked.method}, seed {settings.seeding.seed}"
    if there := _there(session, backbone, asked, title):
        return there

    from probeline.backbones.device import exact_float32
    from probeline.finetune.lr_range import range_test

    # At a rate of 1 what a group has of it is its share, to the last digit.
    once = single(options | {name: options[name][:1] for name in _UNUSED}, "lrfind") | {
        "lr": 1.0,
        "seed": settings.seeding.seed,
    }
    begun = begin(session, backbone, strategy, once, solution, goal)
    with exact_float32(settings.nets.precision):
        swept = range_test(begun.trainer, splits.train.rows, console=settings.console, title=title)
    test = RangeTest(
        dataset=session.dataset.title,
        backbone=backbone.name,
        weights=backbone.weights,
        method=asked.method,
        precision=settings.nets.precision,
        key=asked.key,
        splits=session.splits_sha256,
        options=asked.options,
        image_size=backbone.preprocess.crop,
        n_train=len(splits.train),
        seed=settings.seeding.seed,
        rates=swept.rates,
        losses=swept.losses,
        ended=swept.ended,
        seconds=swept.seconds,
        environment=environment(begun.device),
    )
    RANGE_TESTS.save(session.reports, test)
    settings.console.say(f"{title}: {len(test.losses)} steps in {test.seconds:.0f} s; {suggestion_in_words(test)}")
    return test


def _there(session: Session, backbone: Backbone, asked: ScoreRequest, title: str) -> RangeTest | None:
    """Return the test that is asked for and tell the user that it is there; None where it is yet to be made."""
    test = RANGE_TESTS.find(session.reports, backbone.name, asked.method, asked.key)
    told = f"{title}: it is there; {suggestion_in_words(test)}" if isinstance(test, RangeTest) else ""
    return reuse(session, test, session.reports / "lr", title, told)


def _outcome(session: Session, test: RangeTest, strategy: str) -> dict[str, Any]:
    """Return what ``--json`` tells of a test, and say what to run next."""
    settings, descent = session.settings, suggest_rates(test)
    command = None
    if descent is not None:
        command = command_line(
            settings,
            "finetune",
            backbones=(test.backbone,),
            strategies=(strategy,),
            train=tuple(word for word in settings.training.train if not word.startswith("lr=")),
            lr=round_rate(descent.steepest),
        )
        settings.console.say(f"lrfind: next: {command}")
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
        "file": str(RANGE_TESTS.path(session.reports, test.backbone, test.method, test.key)),
    }
