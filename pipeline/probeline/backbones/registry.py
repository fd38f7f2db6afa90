"""Backbones by name: finds the source that a name's prefix stands for, without importing torch."""

from __future__ import annotations

from probeline.backbones.source import BackboneSource
from probeline.errors import ProbelineError, UnknownName
from probeline.plugins import Plugins

SOURCES: Plugins[BackboneSource] = Plugins(
    "backbone source",
    "probeline.backbones.sources",
    "probeline.backbones",
    ("SPEC", "names", "knows", "weights", "create", "pretrained", "preprocess", "options", "categories"),
)

WITHOUT_PREFIX = "torchvision"
"""The source of names that have no prefix."""


def find(name: str) -> tuple[BackboneSource, str]:
    """Return the source of a backbone and what it calls the net: ``timm:NAME`` is timm's ``NAME``.

    Raises
    ------
    UnknownName
        Suggests the nearest, or the same name of another source.
    MissingExtra, BadOption
        The source of another package cannot be loaded.
    """
    check_name(name)
    prefix, colon, rest = name.partition(":")
    return (SOURCES.load(prefix), rest) if colon else (SOURCES.load(WITHOUT_PREFIX), name)


def check_name(name: str) -> None:
    """Refuse a backbone that does not exist; which names a prefix has is left to its source.

    Raises
    ------
    UnknownName
        Suggests the nearest, or the same name of another source.
    """
    prefix, colon, rest = name.partition(":")
    if colon and rest and prefix != WITHOUT_PREFIX and SOURCES.has(prefix):
        return
    if not colon and SOURCES.load(WITHOUT_PREFIX).knows(name):
        return
    # timm:NAME for NAME, and NAME for torchvision:NAME
    known = [f"{other}:{name}" for other in SOURCES.own() if SOURCES.load(other).knows(name)]
    meant = [rest] if prefix == WITHOUT_PREFIX else known
    remedy = f"did you mean {' or '.join(meant)}?" if meant else "see probeline list backbones"
    raise UnknownName("backbone", name, names(), remedy=remedy)


def is_own(name: str) -> bool:
    """Return whether a backbone is of a source of this package."""
    prefix, colon, _ = name.partition(":")
    return not colon or prefix in SOURCES.own()


def names() -> tuple[str, ...]:
    """Return every name that can be listed, and how those are asked for that cannot; torchvision's first."""
    others = [name for name in (*SOURCES.own(), *SOURCES.added()) if name != WITHOUT_PREFIX]
    listed = [_listed(name) for name in others]
    return SOURCES.load(WITHOUT_PREFIX).names() + tuple(name for some in listed for name in some)


def _listed(prefix: str) -> tuple[str, ...]:
    """Return the names of a source with its prefix; the prefix alone if the source does not load."""
    try:
        source = SOURCES.load(prefix)
    except ProbelineError:
        return (prefix,)
    return tuple(f"{prefix}:{name}" for name in source.names()) or (source.SPEC,)
