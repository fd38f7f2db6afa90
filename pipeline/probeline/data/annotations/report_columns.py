"""``--report-by``: a column whose values put the images of a data set into groups, for the report alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from probeline.data.annotations.csv_columns import SAMPLE_ID, join_column
from probeline.data.tables.columns import find_column
from probeline.data.tables.reading import SUFFIXES, read_table
from probeline.errors import BadData, BadOption, UnknownName
from probeline.options.groups.data import DataOptions
from probeline.types import DataSet


@dataclass(frozen=True)
class ReportColumn:
    """The values of a column by sample id; an image that is missing, or has an empty value, has none."""

    name: str
    path: Path
    values: Mapping[str, str]
    notes: tuple[str, ...]


def read_report_column(dataset: DataSet, spec: str, data: DataOptions, columns: Mapping[str, str]) -> ReportColumn:
    """Return the column of a spec: ``FILE:COLUMN`` of a CSV, TSV or Parquet file, or ``COLUMN`` of ``table:FILE``.

    Images are recognised as those of ``--labels``; several rows of one image must have one value. With ``--limit`` the
    file may name more images.

    Raises
    ------
    BadOption
        A column without a file, of a data set that is no table.
    UnknownName
        The file has no such column.
    MissingData, BadData
        As :func:`probeline.data.annotations.csv_columns.read_column`; or no image of the data set has a value.
    """
    path, name, is_own = _parse(spec, data)
    table = read_table(path, "--report-by file")
    given = {"file_name": columns["sample_id"]} if "sample_id" in columns else columns
    key = find_column(table.header, "file_name", given, SAMPLE_ID)
    if name not in table.header:
        raise UnknownName(f"column of {path.name} in --report-by", name, table.header)
    if not key:
        raise BadData(
            "the --report-by file has no column of sample ids",
            where=path,
            expected=f"a first line sample_id,{name}",
            got=repr(",".join(table.header)[:80]),
            remedy="or name it: --columns sample_id=COLUMN",
        )
    whole = data.limit is None and not is_own  # of a table, images may be left out already
    column = join_column(table, key, name, name, dataset, whole=whole, option="report-by", repeats=True)
    sample_ids = [i for part in dataset.parts.values() for i in part.sample_ids]
    if not any(column.values.get(i) for i in sample_ids):
        raise BadData(
            f"the --report-by file gives no image of {dataset.name} a {name}",
            where=path,
            expected=f"sample ids such as {sample_ids[0]!r}",
            got=f"{len(column.values):,} lines",
        )
    return ReportColumn(name, path, column.values, column.notes)


def _parse(spec: str, data: DataOptions) -> tuple[Path, str, bool]:
    """Return the file and the column that a spec names, and whether it is the data set's own table."""
    file, _, name = spec.rpartition(":")
    if file and Path(file).suffix.lower() in SUFFIXES and name:
        return _user_path(file), name, False
    source, _, table = data.dataset.partition(":")
    if source != "table":
        raise BadOption(
            "no file for --report-by",
            expected="FILE.csv:COLUMN; a COLUMN alone is one of --dataset table:FILE",
            got=spec,
        )
    return _user_path(table), spec, True


def _user_path(file: str) -> Path:
    return Path(os.path.expanduser(file))  # noqa: PTH111 - expanduser of Path raises for an unknown user
