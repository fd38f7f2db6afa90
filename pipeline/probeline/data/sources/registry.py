"""Which pictures, in which order: a data set by name."""

from __future__ import annotations

import os
from pathlib import Path

from probeline.console import Console
from probeline.data.sampling.subset import Subset
from probeline.data.sources import cifar10, digits, folder, hymenoptera
from probeline.errors import UnknownName
from probeline.memo import Memo
from probeline.types import DataSet

NAMES = ("digits", "cifar10", "hymenoptera", "folder:PATH")


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
        ``digits``, ``cifar10``, ``hymenoptera`` or ``folder:PATH``.
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
    UnknownName, BadOption, MissingData, BadData, DownloadFailed, CannotWrite
    """
    subset = Subset(limit, data_seed)
    if name.removeprefix("folder:") not in ("", name):
        # Not Path.expanduser, which raises for the home of nobody.
        path = os.path.expanduser(name.removeprefix("folder:"))  # noqa: PTH111
        return folder.load(Path(path), subset, memo, console=console)
    if name == "digits":
        return digits.load(subset)
    if name == "cifar10":
        return cifar10.load(data, subset, console=console, download=download)
    if name == "hymenoptera":
        return hymenoptera.load(data, subset, memo, console=console, download=download)
    remedy = f"a folder of images is folder:{name}" if "/" in name or Path(name).is_dir() else None
    raise UnknownName("data set", name, NAMES, remedy=remedy)
