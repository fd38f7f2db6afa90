"""Two columns of a CSV file: a value for each image, by sample id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from probeline.data.tables.columns import USUAL, find_column, read_values
from probeline.data.tables.matching import match_names
from probeline.data.tables.reading import read_table
from probeline.errors import BadData
from probeline.identity import digest_lines
from probeline.text import is_printable
from probeline.types import DataSet

_SAMPLE_ID = ("sample_id", *USUAL["file_name"])


@dataclass(frozen=True)
class Column:
    """The values of one column by sample id."""

    values: Mapping[str, str]
    notes: tuple[str, ...]
    """One line if columns or images were recognised by other names than ``sample_id`` and the sample ids."""


def read_column(
    path: Path, kind: str, dataset: DataSet, *, whole: bool, option: str, columns: Mapping[str, str]
) -> Column:
    """Return the values of one column by sample id.

    The file is CSV, TSV or Parquet with a header; other columns are ignored. The usual names of columns are
    recognised, or `columns` gives them. Sample ids are compared in Unicode's composed form, as data sets have them; if
    none occurs, images are recognised without their extension or folder. Values are stripped. An id that the data set
    lacks is an error if `whole`; with ``--limit`` the file may name more images. Messages name the file by its
    `option`.

    Raises
    ------
    MissingData
        No such file.
    BadData
        Anything else that is wrong with it; names the line if there is one.
    """
    what = f"--{option} file"
    table = read_table(path, what)
    given = {"file_name": columns["sample_id"]} if "sample_id" in columns else columns
    key = find_column(table.header, "file_name", given, _SAMPLE_ID)
    value = find_column(table.header, kind, columns)
    if not key or not value or {table.header.count(key), table.header.count(value)} != {1}:
        raise BadData(
            f"the {what} has another header",
            where=path,
            expected=f"a first line sample_id,{kind}",
            got=repr(",".join(table.header)[:80]),
            remedy=f"or name its columns: --columns sample_id=COLUMN {kind}=COLUMN" if table.header else None,
        )
    known = {sample_id for part in dataset.parts.values() for sample_id in part.sample_ids}
    known |= {image.sample_id for image in dataset.unreadable}
    names = read_values(table, key)
    matching = match_names(names, known)
    values: dict[str, str] = {}
    unknown: list[str] = []
    for (number, _), name, sample_id, text in zip(
        table.rows, names, matching.images, read_values(table, value), strict=True
    ):
        if (sample_id or name) in values:
            raise BadData(f"the {what} names an image twice", where=table.where(number), got=repr(name))
        if not is_printable(text.strip()):
            raise BadData(f"the {what} has a {kind} that cannot be printed", where=table.where(number))
        values[sample_id or name] = text.strip()
        if sample_id is None:
            unknown.append(name)
    if whole and unknown:
        raise BadData(
            f"the {what} names images that {dataset.name} does not have",
            where=path,
            expected=f"sample ids such as {min(known, default='')!r}",
            got=f"{len(unknown):,} others, the first {unknown[0]!r}",
        )
    if key == "sample_id" and value == kind and matching.how is None:
        return Column(values, ())
    how = f", {matching.how}" if matching.how else ""
    return Column(values, (f"{option}: images from column {key!r}{how}, {kind} from column {value!r}",))


def digest_values(dataset: DataSet, values: Mapping[str, Iterable[object]]) -> dict[str, str]:
    """Return a sha256 per part over its sample ids with their values, in row order."""
    return {
        name: digest_lines(f"{i}\0{value}" for i, value in zip(part.sample_ids, values[name], strict=True))
        for name, part in dataset.parts.items()
    }
