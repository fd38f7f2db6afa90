"""Data sets that a Python program has made, by a name that this process knows."""

from __future__ import annotations

import re
from collections.abc import Callable

from probeline.data.source import LoadRequest
from probeline.errors import BadOption, MissingData
from probeline.types import DataSet

SPEC = "memory:NAME"
LISTED = False

Loader = Callable[[LoadRequest], DataSet]

_LOADERS: dict[str, Loader] = {}


def register(loader: Loader, name: str) -> str:
    """Return the spec of the data set that `loader` loads; a later one of the same name replaces it.

    Raises
    ------
    BadOption
        A name with other characters than letters, digits, dots, dashes and underscores.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise BadOption("bad name of a data set", expected="letters, digits, dots, dashes, underscores", got=repr(name))
    _LOADERS[name] = loader
    return f"memory:{name}"


def load(name: str, request: LoadRequest) -> DataSet:
    """Return the data set that was registered under a name.

    Raises
    ------
    MissingData
        None was in this process, which is always so on the command line.
    """
    if name not in _LOADERS:
        raise MissingData(
            "no such data set in this process",
            where=f"memory:{name}",
            remedy="it exists in Python only, in the program that made it; the command line takes files: folder:PATH",
        )
    return _LOADERS[name](request)
