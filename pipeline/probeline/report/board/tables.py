"""All rows of a board as a table for other programs: CSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from probeline.report.board.board import Board
from probeline.report.board.sections.section import use
from probeline.report.terminal import row_record
from probeline.text import csv_text


def board_records(board: Board) -> list[dict[str, Any]]:
    """Return all fields of each row as single values, shares in [0, 1]; the data set and the backbone come first.

    ``use`` is ``shown``, ``comparable`` or ``not on all``; ``normalised`` and ``chance`` are of the data set, and
    ``mean_rank`` is that of the backbone, None outside of the ranking.
    """
    ranked = {one.net: one for one in board.standing.nets} if board.standing else {}
    records = []
    for entry in board.entries:
        own = row_record(entry.data.name, entry.row)
        standing = ranked.get(entry.net)
        first = {
            "dataset": own.pop("dataset"),
            "title": board.titles[entry.net],
            "use": use(board, entry),
            "normalised": entry.data.normalised(entry.row.top1),
            "chance": entry.data.chance,
            "mean_rank": standing.mean_rank if standing else None,
            "splits": entry.data.splits,
        }
        records.append({**first, **own})
    return records


def csv_table(records: Sequence[dict[str, Any]]) -> str:
    """Return a header and one line for each row; empty without rows."""
    return csv_text([records[0], *(record.values() for record in records)]) if records else ""


def has_parquet() -> bool:
    """Return whether pyarrow is installed."""
    return find_spec("pyarrow") is not None


def parquet_table(records: Sequence[dict[str, Any]]) -> bytes:
    """Return the rows as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    data = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(records)), data)
    return data.getvalue()
