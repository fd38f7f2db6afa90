"""A table of images: a CSV, TSV or Parquet file with a column of paths, and maybe of labels, splits and groups."""

from __future__ import annotations

import os
from pathlib import Path

from probeline.data.source import LoadRequest
from probeline.data.tables.image_table import build_table
from probeline.data.tables.reading import read_table
from probeline.types import DataSet

SPEC = "table:FILE"


def load(file: str, request: LoadRequest) -> DataSet:
    """Return the data set of a table, with the name ``table--`` and the file's name without its extension.

    Images are named relative to ``--images``, by default to the folder of the table. See :func:`build_table`.
    """
    path = Path(os.path.expanduser(file))  # noqa: PTH111 - expanduser of Path raises for an unknown user
    return build_table(read_table(path, "table"), f"table--{path.stem}", request.images or path.parent, request)
