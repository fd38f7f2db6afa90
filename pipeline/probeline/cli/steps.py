"""From a parsed command line to the settings of each step to run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from probeline.cli.console import Terminal
from probeline.console import Console, Silence
from probeline.errors import BadOption
from probeline.options.checks import check_settings
from probeline.options.settings import OPTIONS, Settings, Step
from probeline.options.share import torchrun_share
from probeline.options.verbs import BOARD_ALONE, STAGES, VERBS
from probeline.text import shell_word

if TYPE_CHECKING:
    from probeline.recipes import Recipe

Experiment = tuple[Settings, tuple[Step, ...]]
"""The settings of one data set, and the steps of its recipe; none without one."""

_OTHER_CLASSES = ("NAME=CLASS,CLASS",)
"""This object itself marks a recipe's second task whose classes are not those of the given data set."""


def speaks(verb: str) -> bool:
    """Return whether this process says what a verb does: of several that train together the first one alone."""
    share = torchrun_share(os.environ)
    return verb != "finetune" or share is None or share.index == 0


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the command line, by name."""
    values = {}
    for name, value in vars(arguments).items():
        if name not in OPTIONS or value is None:
            continue
        if value == []:  # argparse takes the value of --option=-- away
            flag = OPTIONS[name].flag
            raise BadOption(f"no value of {flag}", got="--", remedy="a folder of that name is ./--")
        if isinstance(value, list):  # a word may come twice, but in an order that is refused
            value = tuple(value if name == "ordinal" else dict.fromkeys(value))
        values[name] = value
    return values


def settings_of(arguments: argparse.Namespace) -> Experiment:
    """Return the settings of a run on one data set, and the steps of its recipe; none without one."""
    recipe = _recipe_of(arguments)
    own = _options_of_one(recipe, given_options(arguments)) if recipe is not None else {}
    return _experiment(arguments, recipe, own, _console_of(arguments))


def experiments_of(arguments: argparse.Namespace) -> tuple[Settings, list[Experiment]]:
    """Return the settings of a board, and the settings and steps of each data set of its recipe; none without one."""
    recipe, console = _recipe_of(arguments), _console_of(arguments)
    settings, _ = _experiment(arguments, recipe, {}, console)
    if recipe is None:
        return settings, []
    return settings, [_experiment(arguments, recipe, own, console) for own in recipe.datasets or [{}]]


def _console_of(arguments: argparse.Namespace) -> Console:
    if not speaks(arguments.verb):
        return Silence()
    watch = {name: getattr(arguments, name, None) or False for name in ("json", "quiet", "verbose")}
    return Terminal(**watch, data_lines=(getattr(arguments, "format", None) or "table") != "table")


def _recipe_of(arguments: argparse.Namespace) -> Recipe | None:
    name = getattr(arguments, "recipe", None)
    if name is None:
        return None
    from probeline.recipes import read

    return read(name)


def _options_of_one(recipe: Recipe, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of the one data set of a recipe, or of the one of several that is given."""
    if recipe.datasets and "dataset" not in given:
        listed = [str(own["dataset"]) for own in recipe.datasets]
        raise BadOption(
            f"recipe {recipe.name} is of several data sets",
            got=", ".join(listed),
            remedy=f"run them all by probeline board --recipe {shell_word(recipe.name)}, or one by --dataset",
        )
    return next((own for own in recipe.datasets if own["dataset"] == given["dataset"]), {})


def _experiment(
    arguments: argparse.Namespace, recipe: Recipe | None, own: Mapping[str, Any], console: Console
) -> Experiment:
    """Return the settings and steps of a recipe, with the options that are one data set's own."""
    given, words = given_options(arguments), tuple(getattr(arguments, "words", ()))
    if recipe is None:
        return _checked({}, given, words, console), ()
    options, steps = {**recipe.options, **own}, []
    for step in recipe.steps:
        settings = _checked({**options, **step.options}, given, words, console)
        own_classes = settings.data.dataset == options.get("dataset", Settings().data.dataset)
        if settings.training.second and "second" not in given and not own_classes:
            console.say("recipe: its second task is of other classes, so it is left out; --second gives one of these")
            settings = settings.changed(second=_OTHER_CLASSES)
        steps.append((settings, step.verbs))
    return _checked(options, given, words, console), tuple(steps)


def check_launched(verb: str, runs: Sequence[Step]) -> None:
    """Refuse to train in several processes within ``run``: all other verbs would be done by each of them."""
    share = torchrun_share(os.environ)
    if verb != "finetune" and share is not None and any("finetune" in verbs for _, verbs in runs):
        raise BadOption(
            f"{verb} does not divide its work among processes",
            got=f"process {share.index + 1} of {share.count}, as torchrun says by RANK and WORLD_SIZE",
            remedy="start extract and finetune by torchrun, then the same command without it, with --train "
            f"accumulate={share.count}",
        )


def check_used(verb: str, given: Mapping[str, Any], runs: Sequence[Step]) -> None:
    """Refuse an option of `run` or `board` that is used by none of the verbs to run."""
    own = {name: {*(BOARD_ALONE if name == "board" else one.options)} for name, one in VERBS.items() if name != "run"}
    ran = {verb, *(one for _, verbs in runs for one in verbs)} & own.keys()
    used = {name for one in ran for name in own[one]}
    for name in given:
        if name not in used | {"recipe", "dry_run"}:
            users = ", ".join(user for user, options in own.items() if name in options)
            raise BadOption(f"nothing that is run uses {OPTIONS[name].flag}", expected=f"it with {users}")


def _checked(
    options: Mapping[str, Any], given: Mapping[str, Any], words: tuple[str, ...], console: Console
) -> Settings:
    """Return the checked settings of a recipe's options, overridden by those of the command line."""
    settings = Settings.of(words=words, console=console, **{**options, **given})
    training, nets = settings.training, settings.nets
    cut_short = training.unfreeze and max(training.unfreeze) >= training.epochs
    if cut_short and "epochs" in given and "unfreeze" not in given:
        epochs = " ".join(map(str, training.unfreeze))
        console.say(
            f"recipe: --epochs {training.epochs} ends before --unfreeze {epochs}: stages follow at equal distances"
        )
        settings = settings.changed(unfreeze=())
    replaced = training.teacher and "backbones" in given and "teacher" not in given
    if replaced and training.teacher not in nets.backbones:
        console.say(f"recipe: --backbone {nets.backbones[0]} takes the place of the teacher {training.teacher} too")
        settings = settings.changed(teacher=nets.backbones[0])
    check_settings(settings)
    return settings


def steps_of(verb: str, settings: Settings, steps: Sequence[Step]) -> list[Step]:
    """Return the steps of a verb on one data set.

    They are for ``run`` all of the recipe and then ``compare``, for ``board`` the same, or nothing without a recipe,
    and for any other its own.
    """
    runs: tuple[Step, ...]
    if verb in ("run", "board") and steps:
        runs = (*steps, (settings, ("compare",)))
    elif verb in ("run", "board"):
        runs = ((settings, STAGES),) if verb == "run" else ()
    else:
        runs = tuple((step, (verb,)) for step, verbs in steps if verb in verbs) or ((settings, (verb,)),)
    return [(step, verbs) for step, verbs in runs if step.training.second is not _OTHER_CLASSES]
