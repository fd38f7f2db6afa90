"""Data sets by their specs, and rows of a data set by theirs."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from probeline.data.manifests import place_of_manifest
from probeline.data.source import LoadRequest, Source
from probeline.errors import BadOption, ProbelineError, UnknownName
from probeline.files.reading import is_file, is_folder
from probeline.format import abridge, few
from probeline.plugins import Plugins
from probeline.types import DataSet, Skipped

_BY_SUFFIX = {
    **dict.fromkeys((".csv", ".tsv", ".parquet"), "table"),
    **dict.fromkeys((".npz", ".npy"), "arrays"),
    ".tar": "wds",
}

_KINDS = 12
"""More reasons why files are skipped are only counted."""

SOURCES: Plugins[Source] = Plugins("data source", "probeline.data.sources", "probeline.data", ("SPEC", "load"))


def load(spec: str, request: LoadRequest) -> DataSet:
    """Return the data set of a spec, which is one of :func:`names` with an argument in place of the capitals.

    Raises
    ------
    UnknownName, BadOption, MissingData, BadData, DownloadFailed, CannotWrite, MissingExtra
    """
    prefix, _, argument = spec.partition(":")
    if SOURCES.has(prefix):
        source = SOURCES.load(prefix)
        takes_argument = ":" in source.SPEC
        if bool(argument) == takes_argument and (takes_argument or spec == prefix):
            return source.load(argument, request)
    remedy = None
    if own := spec_of_path(spec):
        remedy = f"a {'folder of images' if own.startswith('folder:') else 'file of this kind'} is {own}"
    elif "/" in spec and ":" not in spec:
        remedy = f"a folder of images is folder:{spec}"
    raise UnknownName("data set", spec, names(), remedy=remedy)


def spec_of_path(path: str) -> str | None:
    """Return the spec of a folder of images, a table, arrays or a tar; None for a path of anything else."""
    own = Path(os.path.expanduser(path))  # noqa: PTH111 - expanduser of Path raises for an unknown user
    if is_folder(own):
        return f"folder:{path}"
    kind = _BY_SUFFIX.get(own.suffix.lower())
    return f"{kind}:{path}" if kind and is_file(own) else None


def gives_embeddings(spec: str) -> bool:
    """Return whether a spec's data set consists of embeddings from elsewhere instead of images."""
    prefix = spec.partition(":")[0]
    return prefix in SOURCES.own() and getattr(SOURCES.load(prefix), "GIVES_EMBEDDINGS", False) is True


def place_of(spec: str) -> Path | None:
    """Return the file or folder that a spec names; None if it names none that exists, or is of a Python object."""
    source, _, argument = spec.partition(":")
    if source == "memory":
        return None
    path = Path(os.path.expanduser(argument))  # noqa: PTH111 - expanduser of Path raises for an unknown user
    if source == "manifest" and (place := place_of_manifest(path)):
        return place
    return path if argument and (is_folder(path) or is_file(path)) else None


def names() -> tuple[str, ...]:
    """Return the spec of each source, those without an argument first; the bare name of one that cannot be loaded.

    A source with ``LISTED = False`` is left out.
    """
    own = (name for name in SOURCES.own() if getattr(SOURCES.load(name), "LISTED", True))
    specs = [_spec(name) for name in (*own, *SOURCES.added())]
    return tuple(sorted(specs, key=lambda spec: ":" in spec))


def _spec(name: str) -> str:
    try:
        return SOURCES.load(name).SPEC
    except ProbelineError:
        return name


def parse_row(spec: str, dataset: DataSet) -> tuple[str, int]:
    """Return the part and the row of ``PART:ROW``; the part may be omitted if the data set has only one.

    Raises
    ------
    BadOption, UnknownName
        The data set has no such row or part.
    """
    named, _, number = spec.rpartition(":")
    if not re.fullmatch(r"\d{1,18}", number, re.ASCII):
        raise BadOption("no row", where=repr(spec), expected="[PART:]ROW, the row a number from 0")
    parts = tuple(dataset.parts)
    part = named or parts[0]
    if part not in parts:
        raise UnknownName("part", part, parts)
    if not named and len(parts) > 1:
        raise BadOption(
            "row of which part?", where=spec, expected="one of: " + ", ".join(f"{name}:{number}" for name in parts)
        )
    n = len(dataset.parts[part])
    if int(number) >= n:
        raise BadOption("no such row", where=spec, expected=f"0 to {n - 1}: {part} of {dataset.name} has {n:,} rows")
    return part, int(number)


def count_skipped(skipped: Sequence[Skipped]) -> str:
    """Return one line that counts skipped files by reason, the most frequent first, with the first folders by name."""
    kinds = Counter(file.reason for file in skipped)
    shown = []
    for reason, count in kinds.most_common(_KINDS):
        folders = [abridge(file.path) for file in skipped if file.is_folder and file.reason == reason]
        shown.append(f"{count} {reason}" + (f" ({few(folders, 2)})" if folders else ""))
    if len(kinds) > _KINDS:
        shown.append(f"and others for {len(kinds) - _KINDS:,} more reasons")
    return f"skipped {len(skipped)} file{'s' if len(skipped) > 1 else ''}: {', '.join(shown)} (-v names them)"
