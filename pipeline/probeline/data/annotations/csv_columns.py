"""Two columns of a CSV file: a value for each image, by sample id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from probeline.data.tables.columns import USUAL, find_column, find_columns, read_values
from probeline.data.tables.matching import match_names
from probeline.data.tables.reading import Table, read_table
from probeline.errors import BadData
from probeline.identity import digest_lines
from probeline.text import is_printable
from probeline.types import DataSet

SAMPLE_ID = ("sample_id", *USUAL["file_name"])
"""Usual names of the column of sample ids."""


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
    return _single(read_columns(path, kind, dataset, whole=whole, option=option, columns=columns, several=False))


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
    key = find_column(table.header, "file_name", given, SAMPLE_ID)
    named = find_columns(table.header, kind, columns) if several else (find_column(table.header, kind, columns),)
    values = [name for name in named if name]
    if not key or len(values) < len(named) or {table.header.count(name) for name in (key, *values)} != {1}:
        raise BadData(
            f"the {what} has another header",
            where=path,
            expected=f"a first line sample_id,{kind}",
            got=repr(",".join(table.header)[:80]),
            remedy=f"or name its columns: --columns sample_id=COLUMN {kind}=COLUMN" if table.header else None,
        )
    return _join_columns(table, (key, *values), kind, dataset, whole=whole, option=option)


def join_column(
    table: Table, key: str, value: str, kind: str, dataset: DataSet, *, whole: bool, option: str, repeats: bool = False
) -> Column:
    """Return the values of the column `value` of a table by sample id, with the images named in the column `key`.

    Everything is as for :func:`read_columns`; with `repeats` an image may have several rows of one value.
    """
    return _single(_join_columns(table, (key, value), kind, dataset, whole=whole, option=option, repeats=repeats))


def _single(read: Columns) -> Column:
    (values,) = read.by_column.values()
    return Column(dict(zip(read.sample_ids, values, strict=True)), read.notes)


def _join_columns(
    table: Table,
    named: Sequence[str],
    kind: str,
    dataset: DataSet,
    *,
    whole: bool,
    option: str,
    repeats: bool = False,
) -> Columns:
    """Return the values of columns of a table, of which the first of the `named` has the images."""
    key, *values = named
    known = {sample_id for part in dataset.parts.values() for sample_id in part.sample_ids}
    known |= {image.sample_id for image in dataset.unreadable}
    names = read_values(table, key)
    matching = match_names(names, known)
    cells = list(zip(*([text.strip() for text in read_values(table, name)] for name in values), strict=True))
    of_image: dict[str, tuple[str, ...]] = {}
    for (number, _), name, sample_id, own in zip(table.rows, names, matching.images, cells, strict=True):
        image = sample_id or name
        if image in of_image and not (repeats and of_image[image] == own):
            twice = "names an image twice" + (", with different values" if repeats else "")
            raise BadData(f"the {table.what} {twice}", where=table.where(number), got=repr(name))
        if not all(map(is_printable, own)):
            raise BadData(f"the {table.what} has a {kind} that cannot be printed", where=table.where(number))
        of_image[image] = own
    unknown = [name for name, found in zip(names, matching.images, strict=True) if found is None]
    if whole and unknown:
        raise BadData(
            f"the {table.what} names images that {dataset.name} does not have",
            where=table.path,
            expected=f"sample ids such as {min(known, default='')!r}",
            got=f"{len(unknown):,} others, the first {unknown[0]!r}",
        )
    by_column = {name: [own[place] for own in of_image.values()] for place, name in enumerate(values)}
    if key == "sample_id" and values == [kind] and matching.how is None:
        return Columns(tuple(of_image), by_column, ())
    how = f", {matching.how}" if matching.how else ""
    words = ", ".join(map(repr, values))
    note = f"{option}: images from column {key!r}{how}, {kind} from column {words}"
    return Columns(tuple(of_image), by_column, (note,))


def digest_values(dataset: DataSet, values: Mapping[str, Iterable[object]]) -> dict[str, str]:
    """Return a sha256 per part over its sample ids with their values, in row order."""
    return {
        name: digest_lines(f"{i}\0{value}" for i, value in zip(part.sample_ids, values[name], strict=True))
        for name, part in dataset.parts.items()
    }
