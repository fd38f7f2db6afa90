"""Two columns of a CSV file: a value for each image, by sample id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from probeline.data.tables.columns import USUAL, find_column, find_columns, read_values
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


@dataclass(frozen=True)
class Columns:
    """The values of some columns, for each row of a file."""

    sample_ids: tuple[str, ...]
    """Those of the data set, or the name as it stands where it has no such image."""
    by_column: Mapping[str, Sequence[str]]
    notes: tuple[str, ...]
    """As of `Column`."""


def read_column(
    path: Path, kind: str, dataset: DataSet, *, whole: bool, option: str, columns: Mapping[str, str]
) -> Column:
    """Return the values of one column by sample id, as :func:`read_columns` reads them."""
    read = read_columns(path, kind, dataset, whole=whole, option=option, columns=columns, several=False)
    (values,) = read.by_column.values()
    return Column(dict(zip(read.sample_ids, values, strict=True)), read.notes)


def read_columns(
    path: Path,
    kind: str,
    dataset: DataSet,
    *,
    whole: bool,
    option: str,
    columns: Mapping[str, str],
    several: bool = True,
) -> Columns:
    """Return the values of a kind for each image: of one column, or if `several` of those that `columns` lists.

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
    named = find_columns(table.header, kind, columns) if several else (find_column(table.header, kind, columns),)
    if not key or not all(named) or {table.header.count(name) for name in (key, *named) if name} != {1}:
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
    by_column = {name: [text.strip() for text in read_values(table, name)] for name in named if name}
    sample_ids = tuple(found or name for name, found in zip(names, matching.images, strict=True))
    seen: set[str] = set()
    for row, ((number, _), name, sample_id) in enumerate(zip(table.rows, names, sample_ids, strict=True)):
        if sample_id in seen:
            raise BadData(f"the {what} names an image twice", where=table.where(number), got=repr(name))
        seen.add(sample_id)
        if not all(is_printable(texts[row]) for texts in by_column.values()):
            raise BadData(f"the {what} has a {kind} that cannot be printed", where=table.where(number))
    unknown = [name for name, found in zip(names, matching.images, strict=True) if found is None]
    if whole and unknown:
        raise BadData(
            f"the {what} names images that {dataset.name} does not have",
            where=path,
            expected=f"sample ids such as {min(known, default='')!r}",
            got=f"{len(unknown):,} others, the first {unknown[0]!r}",
        )
    if key == "sample_id" and tuple(by_column) == (kind,) and matching.how is None:
        return Columns(sample_ids, by_column, ())
    how = f", {matching.how}" if matching.how else ""
    words = ", ".join(map(repr, by_column))
    return Columns(sample_ids, by_column, (f"{option}: images from column {key!r}{how}, {kind} from column {words}",))


def digest_values(dataset: DataSet, values: Mapping[str, Iterable[object]]) -> dict[str, str]:
    """Return a sha256 per part over its sample ids with their values, in row order."""
    return {
        name: digest_lines(f"{i}\0{value}" for i, value in zip(part.sample_ids, values[name], strict=True))
        for name, part in dataset.parts.items()
    }
