"""Other classes for the same images, without extracting them again: ``--labels`` and ``--second``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from probeline.data.annotations.csv_columns import digest_values, read_column
from probeline.data.annotations.targets import join_targets
from probeline.data.assemble import pass_over_unlabelled_test
from probeline.data.source import LoadRequest
from probeline.data.target_values import refuse_ambiguous
from probeline.errors import BadData, BadOption, UnknownName
from probeline.identity import digest
from probeline.names import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from probeline.options.checks import parse_second
from probeline.types import DROPPED, DataSet, IntArray, Join, Part


@dataclass(frozen=True)
class SecondTask:
    """Another classification of the same images, for a second head.

    Attributes
    ----------
    class_names : tuple of str [K]
    labels : mapping of str to int64 [N]
        Of each part's rows, or `DROPPED` for an image without one.
    sha256 : str
        Over the classes and the labels.
    title : str
        Unique among the second tasks of a data set.
    """

    class_names: tuple[str, ...]
    labels: Mapping[str, IntArray]
    sha256: str
    title: str


def join_labels(dataset: DataSet, path: Path, request: LoadRequest, *, whole: bool) -> DataSet:
    """Return the data set with the labels of a file, whatever the request says that they are.

    Raises
    ------
    MissingData, BadData
        As :func:`relabel` and :func:`probeline.data.annotations.targets.join_targets`.
    """
    task, columns = request.task, request.columns
    if task in (MULTI_LABEL, REGRESSION):
        return join_targets(dataset, path, task, whole=whole, columns=columns, separator=request.separator)
    return relabel(dataset, path, whole=whole, columns=columns, may_be_several=task == SINGLE_LABEL)


def relabel(
    dataset: DataSet,
    path: Path,
    *,
    whole: bool,
    columns: Mapping[str, str] | None = None,
    may_be_several: bool = False,
) -> DataSet:
    """Return the data set with the labels of a CSV file with the columns ``sample_id`` and ``label``.

    The classes are the labels that occur: in the data set's order if all are classes of it, else sorted. An image
    with an empty label is in no split, but keeps its row with the label `DROPPED`, so that keys and features stay
    valid; one that cannot be read has no row, and is no longer counted as unreadable. Without `whole` the file may name
    images that the data set does not have; `columns` gives columns other names. A test part of a data set without
    labels of its own may have no line: it is left out with a note. Labels that look like several for one image are
    refused unless they `may_be_several`.

    Raises
    ------
    MissingData, BadData
        An image without a line, fewer than two classes, or as
        :func:`probeline.data.annotations.csv_columns.read_column`.
    """
    column = read_column(path, "label", dataset, whole=whole, option="labels", columns=columns or {})
    labels = column.values
    if not may_be_several:
        refuse_ambiguous(labels.values(), path)
    unnamed = [
        sample_id
        for part in dataset.parts.values()
        if not _is_unlabelled_test(dataset, part, labels)
        for sample_id in part.sample_ids
        if sample_id not in labels
    ]
    if unnamed:
        raise BadData(
            "the --labels file leaves images out",
            where=path,
            expected="a line for every image, with an empty label where it is to be dropped",
            got=f"{len(unnamed):,} images without one, the first {unnamed[0]!r}",
        )
    by_part, occurring = _label_parts(dataset, labels)
    dataset = replace(dataset, notes=(*dataset.notes, *column.notes))
    own = [name for name in dataset.class_names if name in occurring]
    class_names = tuple(own) if len(own) == len(occurring) else tuple(occurring)
    numbers = _number_labels(by_part, class_names, path, "too few classes")
    parts = {name: replace(part, labels=numbers[name], class_names=class_names) for name, part in dataset.parts.items()}
    dataset = pass_over_unlabelled_test(replace(dataset, parts=parts, class_names=class_names))
    dropped = sum(by_part[name].count("") for name in dataset.parts)
    summary = f"{path.name}: {len(class_names)} classes" + (f"; {dropped:,} images are dropped" if dropped else "")
    sha256 = digest({"classes": list(class_names), "parts": digest_values(dataset, by_part)})
    joins = (*dataset.joins, Join("labels", sha256, summary))
    unreadable = tuple(image for image in dataset.unreadable if labels.get(image.sample_id) != "")
    return replace(dataset, joins=joins, unreadable=unreadable)


def _is_unlabelled_test(dataset: DataSet, part: Part, labels: Mapping[str, str]) -> bool:
    is_test = part.name == "test" and not dataset.has_labels and dataset.test != dataset.train
    return is_test and not any(sample_id in labels for sample_id in part.sample_ids)


def read_second_task(dataset: DataSet, words: Sequence[str], *, whole: bool) -> SecondTask:
    """Return the task of the words after ``--second``.

    Groups put each of the data set's classes into one coarser class, in the order of the words. A file has the columns
    ``sample_id`` and ``label``; its classes are the labels that occur, sorted, and an image without a line, or with an
    empty label, has none. Without `whole` the file may name images that the data set does not have.

    Raises
    ------
    BadOption, UnknownName
        The words are not groups that contain each class once.
    MissingData, BadData
        A file with fewer than two labels, or as :func:`probeline.data.annotations.csv_columns.read_column`.
    """
    spec = parse_second(words)
    if not isinstance(spec, Path):
        title = " ".join(f"{name}={','.join(classes)}" for name, classes in spec.items())
        return _second_task(dataset, tuple(spec), _group_classes(dataset, spec), title)
    column = read_column(spec, "label", dataset, whole=whole, option="second", columns={})
    by_part, class_names = _label_parts(dataset, column.values)
    labels = _number_labels(by_part, class_names, spec, "too few classes of the second task")
    return _second_task(dataset, class_names, labels, spec.name)


def _label_parts(dataset: DataSet, labels: Mapping[str, str]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Return the label of each row of each part, empty if it has none, and the labels that occur, sorted."""
    by_part = {name: [labels.get(i, "") for i in part.sample_ids] for name, part in dataset.parts.items()}
    occurring = {label for values in by_part.values() for label in values} - {""}
    return by_part, tuple(sorted(occurring))


def _number_labels(
    by_part: Mapping[str, Sequence[str]], class_names: tuple[str, ...], path: Path, problem: str
) -> dict[str, IntArray]:
    """Return the class number of each label, `DROPPED` if it is empty; fewer than two classes are a problem."""
    if len(class_names) < 2:
        raise BadData(problem, where=path, expected="two labels or more", got=", ".join(class_names) or "none")
    numbers = {"": DROPPED, **{name: number for number, name in enumerate(class_names)}}
    return {name: np.array([numbers[label] for label in values], np.int64) for name, values in by_part.items()}


def _group_classes(dataset: DataSet, groups: Mapping[str, tuple[str, ...]]) -> dict[str, IntArray]:
    """Return the group of each row of each part, by the group that its class is in."""
    group_of: dict[str, int] = {}
    for number, classes in enumerate(groups.values()):
        for name in classes:
            if name not in dataset.class_names:
                raise UnknownName("class in --second", name, dataset.class_names)
            if name in group_of:
                raise BadOption("bad --second", expected="every class once", got=f"{name} twice")
            group_of[name] = number
    if missing := [name for name in dataset.class_names if name not in group_of]:
        raise BadOption("bad --second", expected="every class once", got=f"no group with {', '.join(missing)}")
    # The label DROPPED, -1, is the index of the last number.
    numbers = np.array([*(group_of[name] for name in dataset.class_names), DROPPED], np.int64)
    return {name: numbers[part.labels] for name, part in dataset.parts.items()}


def _second_task(
    dataset: DataSet, class_names: tuple[str, ...], labels: Mapping[str, IntArray], title: str
) -> SecondTask:
    values = {name: numbers.tolist() for name, numbers in labels.items()}
    sha256 = digest({"classes": list(class_names), "parts": digest_values(dataset, values)})
    return SecondTask(class_names, labels, sha256, f"{title} ({sha256[:8]})")
