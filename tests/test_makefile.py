"""The Makefile passes to each verb the options that it uses, and no others."""

from __future__ import annotations

import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest

from made_commands import run_make
from probeline.cli.parser import parse
from probeline.options.settings import OPTIONS
from probeline.options.verbs import STAGES, VERBS

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = dict(re.findall(r"^([a-z-]+):.*\n\t\$\(PROBELINE\) (\w+)", MAKEFILE, re.MULTILINE))
"""The verb that each target runs at last."""

VARIABLE = {
    "backbones": "BACKBONES",
    "taps": "TAPS",
    "strategies": "STRATEGY",
    "curve_strategies": "CURVE_STRATEGY",
    "groups": "GROUP_FILE",
    "columns": "COLUMN_NAMES",
    "images": "IMAGE_FOLDER",
    "recipe": "NAME",
}
"""Variables that are not called as their options are."""

WITHOUT = {
    "dry_run": "make has -n of its own, and a target may run several verbs",
    "json": "a target may run several verbs, and their objects would not be one",
    "quiet": "make has -s of its own",
    "verbose": "of use in a terminal",
    "repair": "to be typed on purpose",
    "yes": "of verbs that have no target",
    "sha256": "of verbs that have no target",
    "share": "launchers of many processes start the command itself",
    "store": "of many machines, whose launcher starts the command itself",
    "crew": "starts the command itself, several times",
    "crew_size": "of a crew",
    "crew_with": "of a crew",
}
"""Options without a variable, and why."""

SAMPLE = {"map": "tsne", "precision": "bf16", "format": "csv", "device": "cpu", "dataset": "folder:my pictures"}


def variable(option: str) -> str:
    return VARIABLE.get(option, option.upper())


def sample(option: str) -> str:
    return SAMPLE.get(option, "1" if OPTIONS[option].kind in (int, float, bool) else option)


@cache
def commands(target: str) -> list[list[str]]:
    """Return the words of the commands that a target runs if every variable has a value."""
    values = [f"{variable(option)}={sample(option)}" for option in OPTIONS if option not in WITHOUT]
    shown = run_make("-n", target, "IMAGES=a.png b.png", "ONLY=path", *values)
    return [shlex.split(line) for line in re.findall(r"bin/probeline (.*)$", shown, re.MULTILINE)]


def expected(target: str, verb: str) -> set[str]:
    """Return the options that a target should pass to a verb."""
    if target == "demo":
        return {"recipe"}
    used = {option for stage in STAGES for option in VERBS[stage].options} if target == "all" else VERBS[verb].options
    return set(used) - WITHOUT.keys() - ({"recipe"} if target not in ("recipe", "board") else set())


@pytest.mark.parametrize("target", TARGETS)
def test_a_verb_is_given_what_it_uses_and_nothing_else(target: str) -> None:
    assert commands(target)[-1][0] == TARGETS[target]
    for words in commands(target):
        flags = {word for word in words if word.startswith("--")}
        given = {name for name, option in OPTIONS.items() if option.flag in flags}
        assert given == expected(target, words[0])
        parsed = vars(parse(words))
        if target != "demo":
            assert {name: str(parsed[name]) for name in given if OPTIONS[name].kind is str} == {
                name: str([sample(name)]) if OPTIONS[name].is_list else sample(name)
                for name in given
                if OPTIONS[name].kind is str
            }


def test_every_variable_is_that_of_an_option() -> None:
    calls = re.findall(r"\$\(call (?:option|quoted|flag),(\w+),([\w-]+)\)", MAKEFILE)
    flags = {variable(name): option.flag for name, option in OPTIONS.items() if name not in WITHOUT}
    assert {name: f"--{flag}" for name, flag in calls} == {**flags, "ONLY": "--only"}


def test_nothing_is_passed_that_nobody_gave() -> None:
    shown = run_make("-n", "all")
    assert shlex.split(shown.splitlines()[-1])[1:] == ["run"]


def test_a_recipe_needs_its_name() -> None:
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        run_make("-n", "recipe")
    assert "make recipe needs NAME, such as NAME=demo or NAME=my.toml" in refusal.value.stderr


def test_the_name_that_bash_reserves_is_refused() -> None:
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        run_make("-n", "probe", "GROUPS=scenes.csv")
    assert "GROUPS is called GROUP_FILE" in refusal.value.stderr


def test_help_names_every_variable() -> None:
    shown = run_make("help")
    given = {
        *re.findall(r"\$\(call \w+,(\w+),", MAKEFILE),
        *re.findall(r"^(\w+) +\?=", MAKEFILE, re.MULTILINE),
        "IMAGES",
    }
    assert {name for name in given if not re.search(rf"\b{name}=", shown)} == set()
