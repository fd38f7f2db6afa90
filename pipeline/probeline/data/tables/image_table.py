"""A data set from a table that names image files."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from probeline.data.annotations.groups import attach_groups
from probeline.data.annotations.targets import attach_targets
from probeline.data.assemble import RawPart, assemble
from probeline.data.folders.walk import list_images
from probeline.data.label_values import number_labels
from probeline.data.source import LoadRequest
from probeline.data.sources.folder import load_files
from probeline.data.tables.columns import USUAL, are_plain, find_column, find_columns, fold_name, read_values
from probeline.data.tables.matching import clean_path, match_names
from probeline.data.tables.reading import Table
from probeline.data.tables.splits import names_parts, read_splits
from probeline.data.target_values import TargetValues, are_many_numbers, refuse_ambiguous, targets_of_cells
from probeline.errors import BadData, MissingData
from probeline.files.reading import is_file, is_folder, why_unreachable
from probeline.format import plural
from probeline.names import AUTO, MULTI_LABEL, REGRESSION
from probeline.text import is_printable, shown_names
from probeline.types import DataSet

_SHOWN = 3


@dataclass(frozen=True)
class _Row:
    sample_id: str
    path: Path
    label: str
    part: str
    group: str
    number: int
    """Of its line."""


def build_table(table: Table, name: str, folder: Path, request: LoadRequest) -> DataSet:
    """Return the data set of a table; a sample id is the image's path below `folder`, and rows are sorted by it.

    Columns are recognised by their usual names, or named by the request; what was taken is a note of the data set. If
    no image exists as written, they are looked for below the folder without extension, or by their file name. A row
    with an empty label stays in its part and is in no split; without any label the data set has none. Of equal rows one
    is kept.

    Raises
    ------
    MissingData
        Images that do not exist: all are listed.
    BadData
        No column of images, rows that contradict each other, unknown splits, or a single class.
    """
    columns = {kind: find_column(table.header, kind, request.columns) for kind in USUAL}
    file_column = columns["file_name"]
    if file_column is None:
        raise BadData(
            f"the {table.what} has no column of images",
            where=table.path,
            expected=", ".join(USUAL["file_name"][:4]) + " or the like",
            got=", ".join(table.header)[:80] or "an empty file",
            remedy="name it: --columns file_name=COLUMN",
        )
    if not table.rows:
        raise BadData(f"the {table.what} has no rows", where=table.path)
    if not is_folder(folder):
        raise MissingData(
            "no such folder of images", where=folder, got=why_unreachable(folder), remedy="name it by --images DIR"
        )
    if request.task in (MULTI_LABEL, REGRESSION):
        columns["label"] = None  # its columns may be several, and are read as what they are
    values = {kind: read_values(table, column) for kind, column in columns.items() if column}
    if "split" in values and "split" not in request.columns and not names_parts(values["split"], columns["split"]):
        columns["split"] = None
    paths, how = _find_images(table, values["file_name"], folder, request)
    targets = _read_targets(table, request)
    if targets is None:
        labels = _clean_labels(table, [value.strip() for value in values.get("label", [])])
        if request.task == AUTO:
            refuse_ambiguous(labels, table.path)
    else:
        labels = [" ".join(f"{value:g}" for value in row) for row in targets.values]
    split = columns["split"]
    parts = read_splits(values["split"], split, table.path) if split else ["all"] * len(table.rows)
    blank = [""] * len(table.rows)
    rows = [
        _Row(*location, label, part, group.strip(), number)
        for location, label, part, group, (number, _) in zip(
            paths, labels or blank, parts, values.get("group", blank), table.rows, strict=True
        )
    ]
    kept, repeated = _merge_repeated(table, rows)
    by_part: dict[str, list[_Row]] = defaultdict(list)
    for row in sorted(kept, key=lambda row: row.sample_id):
        by_part[row.part].append(row)
    names = {part: [row.label if targets is None else "" for row in own] for part, own in by_part.items()}
    class_names, numbers = number_labels(names, table.path)
    raw = {
        part: RawPart(
            [row.sample_id for row in part_rows],
            numbers[part],
            partial(load_files, [row.path for row in part_rows], request=request),
        )
        for part, part_rows in by_part.items()
    }
    if targets is not None:
        columns["label"] = ", ".join(targets.columns)
    notes = list(filter(None, [_describe_columns(table, columns, how)]))
    if repeated:
        notes.append(f"table: {plural(repeated, 'repeated row')} left out")
    labelled = {row.part for row in kept if row.label}
    notes += _describe_labels(class_names, sum(not row.label for row in kept if row.part in labelled))
    dataset = assemble(name, raw, class_names, request, notes=notes)
    if targets is not None:
        dataset = attach_targets(dataset, request.task, targets, [row.sample_id for row in rows], table.path.name)
    if any(row.group for row in kept):
        return attach_groups(dataset, {row.sample_id: row.group for row in kept}, f"column {columns['group']}")
    return dataset


def _read_targets(table: Table, request: LoadRequest) -> TargetValues | None:
    """Return the targets of the rows of a table; None for a task of classes."""
    if request.task not in (MULTI_LABEL, REGRESSION):
        return None
    named = [name for name in find_columns(table.header, "label", request.columns) if name]
    if not named:
        raise BadData(
            f"the {table.what} has no column of labels",
            where=table.path,
            expected=", ".join(USUAL["label"][:4]) + " or the like",
            got=", ".join(table.header)[:80],
            remedy="name it, or several: --columns label=COLUMN,COLUMN",
        )
    cells = {name: read_values(table, name) for name in named}
    return replace(targets_of_cells(cells, request.task, table.path, request.separator), columns=tuple(named))


def _find_images(
    table: Table, names: Sequence[str], folder: Path, request: LoadRequest
) -> tuple[list[tuple[str, Path]], str | None]:
    """Return the sample id and the path of each name, and how they were found, if not as written."""
    locations = [_locate(name, folder) for name in names]
    how, ambiguous = None, 0
    below: dict[str, Path] = {}
    if not all(locations):
        below = {_compose(path.relative_to(folder).as_posix()): path for path in list_images(folder, [])}
        shown = shown_names(below)  # our own tables have such names written out
        locations = [
            at or ((shown[name], below[shown[name]]) if name in shown else None)
            for at, name in zip(locations, names, strict=True)
        ]
    if not any(locations):
        matching = match_names(names, below)
        locations = [(image, below[image]) if image is not None else None for image in matching.images]
        how, ambiguous = matching.how, matching.ambiguous
    missing = [(number, name) for (number, _), name, at in zip(table.rows, names, locations, strict=True) if at is None]
    if missing:
        for number, name in missing:
            request.console.say(f"missing: {name or 'an empty name'} ({table.line_word} {number})")
        raise MissingData(
            f"{len(missing):,} of {len(names):,} images of the {table.what} do not exist"
            + (f", or their names are not unique: {ambiguous:,}" if ambiguous else ""),
            where=folder,
            got=", ".join(repr(name) for _, name in missing[:_SHOWN]) + (" ..." if len(missing) > _SHOWN else ""),
            remedy="name their folder by --images DIR, or remove these rows",
        )
    return [at for at in locations if at is not None], how


def _locate(name: str, folder: Path) -> tuple[str, Path] | None:
    """Return the sample id and the path of an image that exists as written; None if it does not."""
    for written in dict.fromkeys((name, clean_path(name))):
        path = folder / written
        if written and is_file(path):
            cleaned = clean_path(written)
            if not cleaned.startswith(("/", "..")):
                return cleaned, path
            is_below = Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))  # noqa: PTH100 - links stay
            return clean_path(os.path.relpath(path, folder) if is_below else written), path
    return None


def _compose(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _clean_labels(table: Table, labels: Sequence[str]) -> list[str]:
    """Return labels; whole numbers that a missing one turned into 3.0 are 3 again. BadData if one cannot be printed."""
    for (number, _), label in zip(table.rows, labels, strict=False):
        if not is_printable(label):
            raise BadData(f"the {table.what} has a label that cannot be printed", where=table.where(number))
    if sum(re.fullmatch(r"-?\d*\.\d*[1-9]\d*", label) is not None for label in labels) * 2 > len(labels):
        raise BadData(
            f"the labels of the {table.what} are numbers that are not whole",
            where=table.path,
            got=next(label for label in labels if "." in label),
            remedy="numbers are predicted with --task regression; else name the column of classes by --columns "
            "label=COLUMN, or --columns label= for none",
        )
    if all(re.fullmatch(r"\d+\.0", label) for label in labels if label):
        return [label.removesuffix(".0") for label in labels]
    return list(labels)


def _merge_repeated(table: Table, rows: Sequence[_Row]) -> tuple[list[_Row], int]:
    """Return the rows with each image once, and how many are left out; BadData if two rows of one image differ."""
    first: dict[str, _Row] = {}
    differing = []
    for row in rows:
        other = first.setdefault(row.sample_id, row)
        if other is not row and replace(row, number=other.number, path=other.path) != other:
            differing.append((other, row))
    if differing:
        first_row, other = differing[0]
        raise BadData(
            f"the {table.what} has {len(differing):,} rows that contradict another row of the same image",
            where=table.where(other.number),
            expected=f"as in {table.line_word} {first_row.number}: {_facts(first_row)}",
            got=_facts(other),
            remedy="keep one row per image",
        )
    return list(first.values()), len(rows) - len(first)


def _facts(row: _Row) -> str:
    return ", ".join(filter(None, (row.sample_id, row.label, "" if row.part == "all" else row.part, row.group)))


def _describe_columns(table: Table, columns: Mapping[str, str | None], how: str | None) -> str:
    """Return one line about which column was taken for what, and which others have a usual name too.

    It is empty if the columns are called by what they are, so that nothing was guessed.
    """
    words = {"file_name": "images", "label": "labels", "split": "parts", "group": "groups"}
    taken = [
        f"{words[kind]} from column {column!r}" + (f", {how}" if kind == "file_name" and how else "")
        for kind, column in columns.items()
        if column
    ]
    others = [
        name
        for name in table.header
        if name not in columns.values() and any(fold_name(name) in USUAL[kind] for kind in ("label", "split"))
    ]
    if are_plain(columns) and table.has_header and not how and not others:
        return ""
    line = ("table: " if table.has_header else "table: without a header; ") + "; ".join(taken)
    if not columns["label"]:
        unused = [name for name in table.header if name not in columns.values()]
        line += "; no labels" + (f" (--columns label=COLUMN takes one of: {', '.join(unused)[:80]})" if unused else "")
    elif others:
        line += f"; not used: {', '.join(others)} (--columns chooses)"
    return line


def _describe_labels(class_names: Sequence[str], unlabelled: int) -> list[str]:
    """Return notes about rows without a label, and about classes that differ in capitals alone."""
    notes = []
    if class_names and unlabelled:
        notes.append(f"table: {plural(unlabelled, 'row')} without a label, in no split")
    if are_many_numbers(class_names):
        notes.append(f"table: {len(class_names)} classes are whole numbers; --task regression predicts numbers")
    by_fold: dict[str, list[str]] = defaultdict(list)
    for name in class_names:
        by_fold[name.casefold()].append(name)
    if variants := [" and ".join(names) for names in by_fold.values() if len(names) > 1]:
        notes.append(f"table: classes that differ in capitals alone: {', '.join(variants)}")
    return notes
