"""Embeddings that were computed elsewhere, of images, texts or sounds, from a file."""

from __future__ import annotations

import os
from pathlib import Path

from probeline.data.source import LoadRequest
from probeline.types import DataSet

SPEC = "features:FILE"

GIVES_EMBEDDINGS = True


def load(file: str, request: LoadRequest) -> DataSet:
    """Return the data set of a file, with the name ``features--`` and the file's name without its extension.

    Raises
    ------
    MissingData, BadData, MissingExtra
        As :func:`probeline.data.embeddings.files.read_embeddings` and
        :func:`probeline.data.embeddings.table.build_dataset`.
    """
    from probeline.data.embeddings.files import read_embeddings
    from probeline.data.embeddings.table import build_dataset

    path = Path(os.path.expanduser(file))  # noqa: PTH111 - expanduser of Path raises for an unknown user
    return build_dataset(f"features--{path.stem}", read_embeddings(path, request.columns), request)
