"""Several labels or numbers of each image, joined to a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from probeline.data.annotations.csv_columns import digest_values, read_columns
from probeline.data.assemble import pass_over_unlabelled_test
from probeline.data.target_values import TargetValues, targets_of_cells
from probeline.errors import BadData, BadOption
from probeline.format import few, plural
from probeline.identity import digest
from probeline.names import MULTI_LABEL, REGRESSION
from probeline.types import DROPPED, DataSet, DoubleArray, Join, Targets


def attach_targets(dataset: DataSet, task: str, found: TargetValues, sample_ids: Sequence[str], source: str) -> DataSet:
    """Return the data set with targets by sample id in place of its labels; rows without any are in no split.

    Raises
    ------
    BadData
        No row of the train part has a target.
    """
    row_of = {sample_id: row for row, sample_id in enumerate(sample_ids)}
    unknown = np.full((1, len(found.names)), np.nan)
    padded = np.concatenate([found.values, unknown])  # -1, the row of an image without a line
    by_part = {
        name: padded[[row_of.get(sample_id, -1) for sample_id in part.sample_ids]]
        for name, part in dataset.parts.items()
    }
    return with_targets(dataset, task, found, by_part, source)


def with_targets(
    dataset: DataSet, task: str, found: TargetValues, by_part: Mapping[str, DoubleArray], source: str
) -> DataSet:
    """Return the data set with targets float64 [N, T] of each part in place of its labels.

    Raises
    ------
    BadData
        No row of the train part has a target.
    """
    known = {name: ~np.isnan(values).all(axis=1) for name, values in by_part.items()}
    parts = {
        name: replace(part, labels=np.where(known[name], 0, DROPPED).astype(np.int64), class_names=())
        for name, part in dataset.parts.items()
    }
    if not known[dataset.train].any():
        raise BadData("no image to fit on has a target", where=source, expected="values for images of the train part")
    targets = Targets("multi-label" if task == MULTI_LABEL else "regression", found.names, by_part)
    notes = [*dataset.notes, *_describe(targets, found.note, source)]
    own = replace(dataset, parts=parts, class_names=(), targets=targets, notes=tuple(notes))
    return pass_over_unlabelled_test(own)


def join_targets(
    dataset: DataSet,
    path: Path,
    task: str,
    *,
    whole: bool,
    columns: Mapping[str, str] | None = None,
    separator: str | None = None,
) -> DataSet:
    """Return the data set with the targets of a CSV file, as ``--labels`` names it.

    An image without a line is in no split, and is counted. `columns` gives columns other names: ``label`` may name
    several, separated by commas.

    Raises
    ------
    MissingData, BadData
        As :func:`probeline.data.annotations.csv_columns.read_columns` and
        :func:`probeline.data.target_values.targets_of_cells`.
    """
    read = read_columns(path, "label", dataset, whole=whole, option="labels", columns=columns or {})
    found = targets_of_cells(read.by_column, task, path, separator)
    joined = attach_targets(dataset, task, found, read.sample_ids, path.name)
    by_part = {
        name: [row.tolist() for row in joined.targets.by_part[name]] if joined.targets else [] for name in joined.parts
    }
    sha256 = digest({"task": task, "targets": list(found.names), "parts": digest_values(joined, by_part)})
    word = "labels" if task == MULTI_LABEL else "targets"
    join = Join("labels", sha256, f"{path.name}: {plural(len(found.names), word.removesuffix('s'))}")
    return replace(joined, notes=(*joined.notes, *read.notes), joins=(*joined.joins, join))


def check_task(dataset: DataSet, task: str) -> None:
    """Raise BadOption for a data set of classes where the task is of several labels or of numbers."""
    if task in (MULTI_LABEL, REGRESSION) and dataset.targets is None:
        what = "several labels of each image" if task == MULTI_LABEL else "numbers"
        raise BadOption(
            f"--task {task} needs {what}",
            got=f"the classes of {dataset.name}" if dataset.has_labels else f"{dataset.name}, which has no labels",
            remedy="give them by --dataset table:FILE or --labels FILE.csv, with --columns label=COLUMN,COLUMN",
        )


def require_classes(dataset: DataSet, what: str) -> None:
    """Raise BadOption for a data set of several labels or of numbers, where `what` needs one class for each image."""
    if dataset.targets is not None:
        raise BadOption(
            f"{what} needs one class for each image",
            got=f"{plural(len(dataset.targets.names), 'target')} of {dataset.name} ({dataset.targets.task})",
            remedy="probeline probe, baselines, finetune and compare take these",
        )


def _describe(targets: Targets, note: str, source: str) -> list[str]:
    """Return notes of what was recognised, of rows in no split, and of labels that all images have or none has."""
    values = np.concatenate(list(targets.by_part.values()))
    known = ~np.isnan(values)
    used = values[known.any(axis=1)]
    names = targets.names
    notes = []
    if targets.task == MULTI_LABEL:
        per_image = float(np.nansum(used)) / len(used)
        shown = few(names)
        line = f"targets: {plural(len(names), 'label')} from {source} ({shown}), {per_image:.2f} an image"
        notes.append(line + (f"; {note}" if note else ""))
        constant = [name for name, own in zip(names, used.T, strict=True) if len(np.unique(own[~np.isnan(own)])) < 2]
        if constant:
            notes.append(f"targets: no image has, or lacks, {few(constant)}: nothing can be learned of it")
    else:
        notes.append(f"targets: {plural(len(names), 'number')} from {source} ({few(names)})")
    if unknown := len(values) - len(used):
        notes.append(f"targets: {plural(unknown, 'image')} without any known value, in no split")
    if missing := int((~known[known.any(axis=1)]).sum()):
        notes.append(f"targets: {missing:,} of {used.size:,} values are unknown, and left out of fits and metrics")
    return notes
