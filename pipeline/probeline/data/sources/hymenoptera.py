"""Ants and bees: the photos of PyTorch's transfer learning tutorial, 244 to fit on and 153 to test on.

The sha256 is the one by which the tutorials' own build verifies the archive (``.jenkins/download_data.py`` of
github.com/pytorch/tutorials).
"""

from __future__ import annotations

import numpy as np

from probeline.data.archives.download import Archive, obtain
from probeline.data.source import LoadRequest
from probeline.data.sources import folder
from probeline.errors import BadData
from probeline.types import DataSet

SPEC = "hymenoptera"

ARCHIVE = Archive(
    url="https://download.pytorch.org/tutorial/hymenoptera_data.zip",
    sha256="fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209",
    size=47_286_322,
    folder="hymenoptera_data",
    entries=1_000,
    unpacked=100_000_000,
)

PHOTOS = {"train": {"ants": 123, "bees": 121}, "val": {"ants": 70, "bees": 83}}
"""Photos per part and class; a GIF among the train ants does not count."""


def load(_: str, request: LoadRequest) -> DataSet:
    """Return the data set, with the parts ``train`` and ``val``; val is the test part.

    Raises
    ------
    BadData, MissingData, CannotWrite, DownloadFailed
    """
    root = obtain((ARCHIVE,), request.data, request.console, download=request.download)
    listing = folder.scan(root)
    photos = {}
    for name, part in listing.parts.items():
        counts = np.bincount(part.labels, minlength=len(listing.class_names)).tolist()
        photos[name] = dict(zip(listing.class_names, counts, strict=True))
    if photos != PHOTOS:
        raise BadData(
            "folder does not hold the ants and bees of the tutorial",
            where=root,
            expected=PHOTOS,
            got=photos,
            remedy=f"remove it to have it downloaded, or use it as --dataset folder:{root}",
        )
    return folder.build(listing, "hymenoptera", request)
