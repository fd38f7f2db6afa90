"""Ants and bees: the photos of PyTorch's transfer learning tutorial, 244 to fit on and 153 to test on.

The sha256 is the one by which the tutorials' own build verifies the archive (``.jenkins/download_data.py`` of
github.com/pytorch/tutorials).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from probeline.console import Console
from probeline.data.sampling.subset import Subset
from probeline.data.sources import folder
from probeline.data.sources.fetch import Archive, obtain
from probeline.errors import BadData
from probeline.memo import Memo
from probeline.types import DataSet

ARCHIVE = Archive(
    url="https://download.pytorch.org/tutorial/hymenoptera_data.zip",
    sha256="fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209",
    size=47_286_322,
    folder="hymenoptera_data",
    entries=1_000,
    unpacked=100_000_000,
)

PHOTOS = {"train": {"ants": 123, "bees": 121}, "val": {"ants": 70, "bees": 83}}
"""Photos of each part and class; a GIF among the train ants is none."""


def load(data: Path, subset: Subset, memo: Memo, *, console: Console, download: bool) -> DataSet:
    """Return the data set, with the parts ``train`` and ``val``; its val is what we test on.

    Parameters
    ----------
    data : Path
        The parent of ``hymenoptera_data`` or of its archive.
    subset : Subset
    memo : Memo
    console : Console
    download : bool
        Whether the archive may be downloaded where there is none.

    Raises
    ------
    BadData, MissingData, CannotWrite, DownloadFailed
    """
    root = obtain((ARCHIVE,), data, console, download=download)
    listing = folder.scan(root)
    photos = {
        name: dict(
            zip(listing.class_names, np.bincount(part.labels, minlength=len(listing.class_names)).tolist(), strict=True)
        )
        for name, part in listing.parts.items()
    }
    if photos != PHOTOS:
        raise BadData(
            "folder does not hold the ants and bees of the tutorial",
            where=root,
            expected=PHOTOS,
            got=photos,
            remedy=f"remove it to have it downloaded, or use it as --dataset folder:{root}",
        )
    return folder.build(listing, "hymenoptera", subset, memo, console)
