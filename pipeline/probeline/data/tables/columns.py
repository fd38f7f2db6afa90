"""Which column of a table is what: by the names that people use, or as ``--columns`` says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from probeline.data.tables.reading import Table
from probeline.errors import BadData

USUAL = {
    "file_name": (
        "file_name", "filename", "path", "file_path", "filepath", "image_path", "img_path", "image", "img", "file",
        "image_name", "img_name", "image_file", "image_filename", "image_id", "img_id", "sample_id", "id", "name",
    ),
    "label": ("label", "labels", "class", "class_name", "label_name", "target", "category", "category_name", "y"),
    "split": ("split", "subset", "set", "part", "partition", "fold", "dataset"),
    "group": ("group", "group_id", "patient", "patient_id"),
}  # fmt: skip
"""For each kind of column the names that are recognised, in lower case, the preferred ones first."""


def find_column(header: Sequence[str], kind: str, columns: Mapping[str, str], usual: Sequence[str] = ()) -> str | None:
    """Return the column of a kind: the one that `columns` names for it, else the first usual name; None if missing."""
    if kind in columns:
        return columns[kind] or None
    by_name: dict[str, str] = {}
    for name in header:
        by_name.setdefault(fold_name(name), name)
    return next((by_name[name] for name in usual or USUAL[kind] if name in by_name), None)


def find_columns(header: Sequence[str], kind: str, columns: Mapping[str, str]) -> tuple[str | None, ...]:
    """Return the columns of a kind: those that `columns` lists, separated by commas, or the one of a usual name."""
    given = columns.get(kind, "")
    if "," in given and given not in header:
        return tuple(name.strip() if name.strip() in header else name for name in given.split(","))
    return (find_column(header, kind, columns),)


def are_plain(columns: Mapping[str, str | None]) -> bool:
    """Return whether images and labels are in columns called so, and no column is recognised by another name."""
    taken = {kind: column for kind, column in columns.items() if column}
    return {"file_name", "label"} <= taken.keys() and all(kind == column for kind, column in taken.items())


def fold_name(name: str) -> str:
    """Return a column's name as names are compared: ``Image Path``, ``image-path`` and ``image_path`` are one."""
    return re.sub(r"[\s\-.]+", "_", name.strip()).lower()


def read_values(table: Table, column: str) -> list[str]:
    """Return the values of a column as they stand; BadData if the header lacks it or has it twice."""
    if table.header.count(column) != 1:
        raise BadData(
            f"the {table.what} has {'two columns' if column in table.header else 'no column'} {column!r}",
            where=table.path,
            expected="one of: " + ", ".join(table.header),
            remedy="name the columns by --columns, such as file_name=img label=class",
        )
    index = table.header.index(column)
    return [row[index] for _, row in table.rows]
