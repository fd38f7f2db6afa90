"""From the arguments of a function to the session that a command would have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probeline.api.console import LogConsole
from probeline.backbones.registry import check_name
from probeline.data.pixels.functions import register_function
from probeline.errors import BadOption, nearest
from probeline.files.memory import DECODING
from probeline.files.paths import path_of
from probeline.options.checks import check_settings
from probeline.options.settings import OPTIONS, Settings
from probeline.session import Session


def open_session(*, verbose: bool = False, **options: Any) -> Session:
    """Return the session of some options, each with the name that it has on the command line, or with its field's.

    An option that is None has its default. A single value does for an option that takes several, and a mapping for one
    that takes ``NAME=VALUE``.

    Raises
    ------
    TypeError
        No option has this name.
    ProbelineError
        A value is not valid.
    """
    settings = Settings.of(console=LogConsole(verbose=verbose), **option_values(options))
    check_settings(settings)
    DECODING.limit(settings.compute.decode_gb)
    session = Session(settings)
    if not session.has_images:
        return session.under(session.with_embeddings(settings))
    for spec in settings.nets.specs:
        check_name(spec.name)
    return session


_BY_FLAG = {option.flag.removeprefix("--").replace("-", "_"): name for name, option in OPTIONS.items()}
_BY_FLAG["data_folder"] = "data"
"""The field of each option by the words of its flag: ``tap`` is `taps`; ``data`` is the data set itself in Python."""


_OF_COMMANDS = ("share", "crew", "crew_size", "crew_with", "recipe", "json")
"""Options that say how a command is run; a function is one process and returns what it finds."""


def option_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as settings have them, by their fields; those that are None are left out. Raises TypeError."""
    values = {}
    for name, value in options.items():
        own = name if name in OPTIONS else _BY_FLAG.get(name, name)
        if own not in OPTIONS:
            close = nearest(name, [*OPTIONS, *_BY_FLAG])
            raise TypeError(f"no option is called {name}" + (f"; did you mean {' or '.join(close)}?" if close else ""))
        if own in _OF_COMMANDS:
            raise TypeError(f"{name} is an option of the command line alone")
        if value is not None:
            values[own] = _value(own, value)
    return values


def _value(name: str, value: Any) -> Any:
    """Return a value as its option has it: of a list, one value alone, or a mapping of names to values."""
    option = OPTIONS[name]
    if not option.is_list:
        if option.kind is Path or isinstance(value, os.PathLike):
            path = path_of(value).expanduser()
            return path if option.kind is Path else str(path)
        return value
    if isinstance(value, Mapping):
        return tuple(f"{key}={_joined(own)}" for key, own in value.items())
    kind = path_of if option.kind is Path else option.kind
    return tuple(map(kind, value)) if isinstance(value, list | tuple) else (kind(value),)


def _joined(values: Any) -> str:
    return ",".join(map(str, values)) if isinstance(values, list | tuple) else str(values)


def register_net(net: Any, preprocess: Any, preprocess_name: str | None) -> str:
    """Return the backbone text of a net, whose name says its class and, in eight digits, what it computes."""
    from torch import nn

    from probeline.backbones.sources.module import register

    if not isinstance(net, nn.Module):
        raise BadOption("no backbone", expected="a name or a torch.nn.Module", got=type(net).__name__)
    record = preprocess if preprocess_name is None else register_function(preprocess_name, preprocess)
    return register(net, preprocess=record)
