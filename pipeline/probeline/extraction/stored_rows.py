"""Where the features of some rows are in the cache, and their first values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from probeline.cache.reading import is_done, read_rows
from probeline.errors import MissingData
from probeline.extraction.confirm import confirm_records
from probeline.images import View
from probeline.options.command_line import command_line
from probeline.session import Session
from probeline.types import Backbone

PartRow = tuple[str, int]
"""A part, and a row of it."""


def read_stored_rows(session: Session, backbone: Backbone, rows: Sequence[PartRow]) -> list[list[dict[str, Any]]]:
    """Return the cached features of each row by one backbone, one record per view; each shard is read once.

    Raises
    ------
    MissingData
        A row that is not extracted yet.
    BadCache
    """
    stored: dict[PartRow, list[dict[str, Any]]] = {row: [] for row in rows}
    parts = dict.fromkeys(part for part, _ in rows)
    for part, view in ((name, view) for name in parts for view in session.views(name)):
        entry = session.entry(backbone, part, view)
        numbers = sorted({number for name, number in rows if name == part})
        for number in numbers:
            if not is_done(entry, number // entry.rows_per_shard):
                raise MissingData(
                    f"row {number} of {entry.part} is not extracted yet",
                    where=entry.folder,
                    remedy=f"run: {command_line(session.settings, 'extract')}",
                )
        for number, values in zip(numbers, read_rows(entry, np.array(numbers)), strict=True):
            shard, offset = divmod(number, entry.rows_per_shard)
            stored[part, number].append(
                {
                    "backbone": backbone.name,
                    "tap": backbone.tap,
                    "view": view.number if isinstance(view, View) else None,
                    "key": entry.key,
                    "shard": str(entry.shard_path(shard)),
                    "offset": offset,
                    "norm": float(np.linalg.norm(values.astype(np.float64))),
                    "first": values[:3].tolist(),
                }
            )
    confirm_records(session, session.asked_as(backbone.name, backbone.weights), [backbone])
    return [stored[row] for row in rows]
