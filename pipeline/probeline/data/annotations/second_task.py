"""``--second``: another task on the same images, for a second head: groups of the classes, or a file's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probeline.data.annotations import csv_columns as columns
from probeline.errors import BadData, BadOption, UnknownName
from probeline.identity import digest, digest_lines
from probeline.options.checks import parse_second
from probeline.types import DROPPED, DataSet, IntArray


@dataclass(frozen=True)
class Second:
    """Another task.

    Attributes
    ----------
    class_names : tuple of str [K]
    labels : mapping of str to int64 [N]
        Of each part's rows, or `DROPPED` where an image has none.
    sha256 : str
        Over the classes and what each image has.
    title : str
        How it was asked for; no two tasks of one data set share it.
    """

    class_names: tuple[str, ...]
    labels: Mapping[str, IntArray]
    sha256: str
    title: str


def second_task(dataset: DataSet, words: Sequence[str], *, whole: bool) -> Second:
    """Return the task that ``--second`` asks for.

    Groups put each of the data set's classes into one coarser class, in the order of the words. A file has the columns
    ``sample_id`` and ``label``; its classes are the labels that occur, sorted, and an image without a line, or with an
    empty label, has none.

    Parameters
    ----------
    dataset : DataSet
    words : sequence of str
    whole : bool
        Whether the data set has all its images, so that a file may name no others.

    Raises
    ------
    BadOption, UnknownName
        The words are no groups of its classes, each once.
    MissingData, BadData
        What is wrong with the file: fewer than two labels, or as :func:`probeline.data.annotations.csv_columns.read`.
    """
    task = parse_second(words)
    return _of_file(dataset, task, whole=whole) if isinstance(task, Path) else _of_groups(dataset, task)


def _of_groups(dataset: DataSet, groups: Mapping[str, tuple[str, ...]]) -> Second:
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
    # The last place is that of the label DROPPED.
    numbers = np.array([*(group_of[name] for name in dataset.class_names), DROPPED], np.int64)
    labels = {name: numbers[part.labels] for name, part in dataset.parts.items()}
    return _task(
        dataset, tuple(groups), labels, " ".join(f"{name}={','.join(classes)}" for name, classes in groups.items())
    )


def _of_file(dataset: DataSet, path: Path, *, whole: bool) -> Second:
    given = columns.read(path, "label", dataset, whole=whole, option="second")
    by_part = {name: [given.get(i, "") for i in part.sample_ids] for name, part in dataset.parts.items()}
    class_names = tuple(sorted({label for values in by_part.values() for label in values} - {""}))
    if len(class_names) < 2:
        raise BadData(
            "too few classes of the second task",
            where=path,
            expected="two labels or more",
            got=", ".join(class_names) or "none",
        )
    numbers = {"": DROPPED, **{name: number for number, name in enumerate(class_names)}}
    labels = {name: np.array([numbers[label] for label in values], np.int64) for name, values in by_part.items()}
    return _task(dataset, class_names, labels, path.name)


def _task(dataset: DataSet, class_names: tuple[str, ...], labels: Mapping[str, IntArray], called: str) -> Second:
    by_id = {
        name: digest_lines(f"{i}\0{label}" for i, label in zip(part.sample_ids, labels[name].tolist(), strict=True))
        for name, part in dataset.parts.items()
    }
    sha256 = digest({"classes": list(class_names), "parts": by_id})
    return Second(class_names, labels, sha256, f"{called} ({sha256[:8]})")
