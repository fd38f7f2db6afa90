"""Settings as the command that gives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from probeline.options.settings import OPTIONS, Settings
from probeline.options.table import Option
from probeline.options.verbs import VERBS
from probeline.text import shell_word

_LEFT_OUT = ("recipe", "dry_run", "json", "quiet", "verbose")
"""Options that printed commands lack; those of a recipe are printed one by one."""

UNKNOWN_FOLDER = "PATH-TO"
"""Placeholder in a printed command for a folder that is not on record; every verb refuses it."""


def command_line(settings: Settings, verb: str, **changes: object) -> str:
    """Return the command that runs a verb with these settings, changed by name: the data set, and no defaults."""
    return shell_command(command_words(settings, verb, **changes))


def shell_command(words: Sequence[str]) -> str:
    """Return words after the program's name as a shell takes them, with that name."""
    return " ".join(map(_shown, ["probeline", *words]))


def command_words(settings: Settings, verb: str, **changes: object) -> list[str]:
    """Return the words of that command after the program's name, not quoted for a shell."""
    settings, defaults = settings.changed(**changes), Settings()
    used = VERBS[verb]
    words = [verb, *(settings.words if used.words else ())]
    for name in (name for name in OPTIONS if name in used.options and name not in _LEFT_OUT):
        value = settings.value(name)
        if name == "dataset" or value != defaults.value(name):
            words += _words(OPTIONS[name], value)
    return words


def _words(option: Option, value: object) -> list[str]:
    if value is True:
        return [option.flag]
    values = [str(item) for item in value] if isinstance(value, tuple) else [str(value)]
    if isinstance(value, Path) and values[0].startswith("-"):
        values = [f"./{value}"]  # otherwise a folder called -- could not be named
    if values[0].startswith("-"):
        return [f"{option.flag}={values[0]}"]
    return [option.flag, *values]


def _shown(word: str) -> str:
    flag, equals, value = word.partition("=")
    return f"{flag}={shell_word(value)}" if equals and flag.startswith("--") else shell_word(word)
