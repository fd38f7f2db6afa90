"""From the arguments of a function to the session that a command would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from probeline.api.console import LogConsole
from probeline.backbones.registry import check_name
from probeline.options.checks import check_settings
from probeline.options.settings import OPTIONS, Settings
from probeline.session import Session


def open_session(*, verbose: bool = False, **options: Any) -> Session:
    """Return the session of some options, each with the name that it has on the command line, or with its field's.

    An option that is None has its default. A single value does for an option that takes several.

    Raises
    ------
    TypeError
        No option has this name.
    ProbelineError
        A value is not valid.
    """
    values = {}
    for name, value in options.items():
        if value is None:
            continue
        own = name if name in OPTIONS else _BY_FLAG.get(name, name)
        values[own] = _value(own, value) if own in OPTIONS else value
    settings = Settings.of(console=LogConsole(verbose=verbose), **values)
    check_settings(settings)
    session = Session(settings)
    if not session.has_images:
        return session.under(session.with_embeddings(settings))
    for spec in settings.nets.specs:
        check_name(spec.name)
    return session


_BY_FLAG = {option.flag.removeprefix("--").replace("-", "_"): name for name, option in OPTIONS.items()}
"""The field of each option by the words of its flag: ``tap`` is `taps`."""


def _value(name: str, value: Any) -> Any:
    """Return a value as its option has it."""
    option = OPTIONS[name]
    if option.is_list:
        return tuple(value) if isinstance(value, list | tuple) else (option.kind(value),)
    return Path(value).expanduser() if option.kind is Path else value
