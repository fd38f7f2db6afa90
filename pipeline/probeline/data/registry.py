"""Data sets by name: finds the source that a spec names, and loads from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from probeline.console import Console
from probeline.data.sampling.subset import Subset
from probeline.data.source import LoadRequest, Source
from probeline.errors import ProbelineError, UnknownName
from probeline.memo import Memo
from probeline.plugins import Plugins
from probeline.types import DataSet, Skipped

SOURCES: Plugins[Source] = Plugins("data source", "probeline.data.sources", "probeline.sources", ("SPEC", "load"))


def load(
    name: str,
    data: Path,
    memo: Memo,
    *,
    limit: int | None,
    data_seed: int,
    console: Console,
    download: bool = True,
) -> DataSet:
    """Return a data set: its parts, where their pixels are, and what was left out.

    Parameters
    ----------
    name : str
        One of :func:`names`, an argument in the place of what stands in capitals.
    data : Path
        The parent of ``cifar-10-batches-bin`` and ``hymenoptera_data``; downloads go there.
    memo : Memo
        Remembers the hashes of image files.
    limit : int or None
        At most so many images of each part, stratified and seeded; the data set's name says so.
    data_seed : int
        Of `limit`; without one it changes nothing here.
    console : Console
    download : bool
        Whether what is missing may be downloaded.

    Raises
    ------
    UnknownName, BadOption, MissingData, BadData, DownloadFailed, CannotWrite, MissingExtra
    """
    prefix, _, argument = name.partition(":")
    if SOURCES.has(prefix):
        source = SOURCES.load(prefix)
        takes_argument = ":" in source.SPEC
        if bool(argument) == takes_argument and (takes_argument or name == prefix):
            return source.load(argument, LoadRequest(data, Subset(limit, data_seed), memo, console, download))
    remedy = f"a folder of images is folder:{name}" if "/" in name or Path(name).is_dir() else None
    raise UnknownName("data set", name, names(), remedy=remedy)


def names() -> tuple[str, ...]:
    """Return how each source is asked for, those without an argument first; one that does not load by its name."""
    specs = [_spec(name) for name in (*SOURCES.own(), *SOURCES.added())]
    return tuple(sorted(specs, key=lambda spec: ":" in spec))


def _spec(name: str) -> str:
    try:
        return SOURCES.load(name).SPEC
    except ProbelineError:
        return name


def count_skipped(skipped: Sequence[Skipped]) -> str:
    """Return one line that counts skipped files by the reason, the most frequent first."""
    by_reason = Counter(one.reason for one in skipped).most_common()
    kinds = ", ".join(f"{count} {reason}" for reason, count in by_reason)
    return f"skipped {len(skipped)} file{'s' if len(skipped) > 1 else ''}: {kinds} (-v names them)"
