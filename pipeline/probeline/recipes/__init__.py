"""Packaged experiments: options of a run, as TOML."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from importlib.resources import files
from typing import Any

from probeline.config import Config
from probeline.errors import UnknownName

_PLACES = ("data", "cache", "reports", "labels", "groups", "console")
"""What a recipe leaves to whoever runs it: it says what is run, not where."""


def names() -> tuple[str, ...]:
    """Return the names of the packaged recipes."""
    return tuple(sorted(file.name[:-5] for file in files(__name__).iterdir() if file.name.endswith(".toml")))


def read(name: str) -> dict[str, Any]:
    """Return the options of a recipe, as fields of :class:`probeline.config.Config`.

    Raises
    ------
    UnknownName
        No such recipe, or an option in it that a run does not have.
    """
    if name not in names():
        raise UnknownName("recipe", name, names())
    options = tomllib.loads((files(__name__) / f"{name}.toml").read_text(encoding="utf-8"))
    known = [field.name for field in fields(Config) if field.name not in _PLACES]
    for option in options:
        if option not in known:
            raise UnknownName(f"option in recipe {name}", option, known)
    return {option: tuple(value) if isinstance(value, list) else value for option, value in options.items()}
