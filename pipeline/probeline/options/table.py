"""The declaration of an option: once, as a field of a group, for parser, help, reference and recipes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, TypedDict, Unpack, get_args, get_origin, get_type_hints

MOST = 2**31 - 1
"""The largest whole number of an option."""


@dataclass(frozen=True)
class Option:
    """One option, as a field of a group declares it.

    Attributes
    ----------
    name : str
        Of the field, unique among all groups; a recipe's file uses it too.
    kind : type
        Of one value: str, int, float, bool or Path; the value of a list is a tuple of them.
    within : tuple of 2 numbers, or None
        Least and most of a number.
    choices : tuple of str
        The valid values; empty if any is.
    local : bool
        Whether it is about places on one machine or how a run is watched, so that recipes cannot have it.
    rare : bool
        Whether the help of ``run`` and ``compare`` only names it, and the verb that uses it explains it.
    """

    name: str
    flag: str
    short: str
    kind: type
    is_list: bool
    default: Any
    metavar: str
    help: str
    shown_default: str
    within: tuple[float, float] | None
    choices: tuple[str, ...]
    local: bool
    rare: bool


class _Facts(TypedDict, total=False):
    metavar: str
    flag: str
    short: str
    shown_default: str | None
    within: tuple[float, float] | None
    choices: tuple[str, ...]
    local: bool
    rare: bool


_DEFAULTS = _Facts(metavar="", flag="", short="", shown_default=None, within=None, choices=(), local=False, rare=False)


def option(default: Any, help: str, **facts: Unpack[_Facts]) -> Any:  # noqa: A002
    """Return the field of a group that declares an option; a function is called for the default."""
    metadata = {**_DEFAULTS, "help": help, **facts}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def options_in(group: type) -> Iterator[Option]:
    """Yield the options that a group declares, in their order."""
    hints = get_type_hints(group)
    for declared in fields(group):
        hint, facts = hints[declared.name], dict(declared.metadata)
        kinds = [kind for kind in get_args(hint) if kind not in (NoneType, Ellipsis)] or [hint]
        default = declared.default_factory() if declared.default_factory is not MISSING else declared.default
        shown = facts.pop("shown_default")
        yield Option(
            name=declared.name,
            flag=facts.pop("flag") or "--" + declared.name.replace("_", "-"),
            kind=kinds[0],
            is_list=get_origin(hint) is tuple,
            default=default,
            shown_default=_words(default) if shown is None else shown,
            **facts,
        )


def _words(default: object) -> str:
    if default is None or default is False or default == ():
        return ""
    if isinstance(default, tuple):
        return " ".join(map(_words, default))
    if isinstance(default, float):
        return f"{default:g}"
    return f"{default}/" if isinstance(default, Path) else str(default)
