"""The declaration of an option: once, as a field of a group, for parser, help, reference and recipes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, TypedDict, Unpack, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Option:
    """One option, as a field of a group declares it.

    Attributes
    ----------
    name : str
        Of the field, unique among all groups; a recipe's file uses it too.
    flag, short : str
        On the command line, ``--batch-size``, and in one letter, ``-q``; empty if it has none.
    kind : type
        Of one value: str, int, float, bool or Path.
    is_list : bool
        Whether it takes several values; its default is a tuple.
    shown_default : str
        The default in words; may be empty.
    within : tuple of 2 numbers, or None
        Least and most of a number.
    choices : tuple of str
        The valid values; empty if any is.
    local : bool
        Whether it is about places on one machine or how a run is watched, so that recipes cannot have it.
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


class _Facts(TypedDict, total=False):
    metavar: str
    flag: str
    short: str
    shown_default: str
    within: tuple[float, float]
    choices: tuple[str, ...]
    local: bool


_DEFAULTS: _Facts = {"metavar": "", "flag": "", "short": "", "choices": (), "local": False}


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
        yield _option(declared, hints[declared.name])


def _option(declared: Field[Any], hint: Any) -> Option:
    is_list = get_origin(hint) is tuple
    kinds = [kind for kind in get_args(hint) if kind not in (NoneType, Ellipsis)] or [hint]
    default = declared.default_factory() if declared.default_factory is not MISSING else declared.default
    facts = dict(declared.metadata)
    shown, within = facts.pop("shown_default", None), facts.pop("within", None)
    return Option(
        name=declared.name,
        within=within,
        kind=kinds[0],
        is_list=is_list,
        default=default,
        shown_default=_words(default) if shown is None else shown,
        **{**facts, "flag": facts["flag"] or "--" + declared.name.replace("_", "-")},
    )


def _words(default: object) -> str:
    if default is None or default is False or default == ():
        return ""
    if isinstance(default, tuple):
        return " ".join(map(_words, default))
    return (
        f"{default:g}" if isinstance(default, float) else f"{default}/" if isinstance(default, Path) else str(default)
    )
