"""Backbone names, and the source that a name's prefix stands for; imports no torch."""

from __future__ import annotations

from probeline.backbones.source import BackboneSource, ChecksNames
from probeline.errors import BadOption, ProbelineError, UnknownName
from probeline.plugins import Plugins
from probeline.text import is_printable

SOURCES: Plugins[BackboneSource] = Plugins(
    "backbone source",
    "probeline.backbones.sources",
    "probeline.backbones",
    ("SPEC", "names", "knows", "weights", "create", "pretrained", "preprocess", "options", "categories"),
)

WITHOUT_PREFIX = "torchvision"
"""The source of names that have no prefix."""


def find(name: str) -> tuple[BackboneSource, str]:
    """Return the source of a backbone and its name there: ``timm:NAME`` is timm's ``NAME``."""
    check_name(name)
    prefix, colon, rest = name.partition(":")
    return (SOURCES.load(prefix), rest) if colon else (SOURCES.load(WITHOUT_PREFIX), name)


def check_name(name: str) -> None:
    """Refuse a backbone that does not exist, with suggestions; names with a prefix are left to their source."""
    if not is_printable(name) or "\\" in name:
        raise BadOption("bad --backbone", expected="a name without control characters and backslashes", got=repr(name))
    prefix, colon, rest = name.partition(":")
    if colon and rest and prefix != WITHOUT_PREFIX and SOURCES.has(prefix):
        source = SOURCES.load(prefix) if prefix in SOURCES.own() else None
        if isinstance(source, ChecksNames):
            source.check(rest)
        return
    if not colon and SOURCES.load(WITHOUT_PREFIX).knows(name):
        return
    # timm:NAME for NAME, and NAME for torchvision:NAME
    known = [f"{other}:{name}" for other in SOURCES.own() if SOURCES.load(other).knows(name)]
    meant = [rest] if prefix == WITHOUT_PREFIX else known
    remedy = f"did you mean {' or '.join(meant)}?" if meant else "see probeline list backbones"
    raise UnknownName("backbone", name, names(), remedy=remedy)


IN_PYTHON_ONLY = "module"
"""The source of nets that a Python program registers."""

_RUN_CODE = ("hub", "module", "python")
"""The sources of this package that run code of the user's or of a repository."""


def names_code(name: str) -> bool:
    """Return whether a backbone is a function of the user's or of a repository, by its name."""
    prefix, colon, _ = name.partition(":")
    return bool(colon) and prefix in _RUN_CODE


def runs_code(name: str) -> bool:
    """Return whether a backbone is built by code of the user's, of a repository or of another package."""
    prefix, colon, _ = name.partition(":")
    return names_code(name) or (bool(colon) and prefix not in SOURCES.own())


def names() -> tuple[str, ...]:
    """Return all names that can be listed, torchvision's first; the pattern of a name if a source has too many."""
    listed = SOURCES.load(WITHOUT_PREFIX).names()
    for prefix in (*SOURCES.own(), *SOURCES.added()):
        if prefix not in (WITHOUT_PREFIX, IN_PYTHON_ONLY):
            listed += _listed(prefix)
    return listed


def _listed(prefix: str) -> tuple[str, ...]:
    """Return the names of a source with its prefix; the prefix alone if the source does not load."""
    try:
        source = SOURCES.load(prefix)
    except ProbelineError:
        return (prefix,)
    return tuple(f"{prefix}:{name}" for name in source.names()) or (source.SPEC,)
