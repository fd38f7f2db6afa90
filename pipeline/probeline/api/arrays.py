"""From arrays of features and labels to a data set, and from a data set to one with other labels or groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from probeline.console import Silence
from probeline.data.annotations.groups import attach_groups
from probeline.data.annotations.targets import with_targets
from probeline.data.embeddings.table import EmbeddingTable, build_dataset, check_features
from probeline.data.label_values import name_labels, number_labels
from probeline.data.sampling.splits import HeldOut
from probeline.data.source import LoadRequest, Subset
from probeline.data.target_values import targets_of_objects
from probeline.errors import BadOption
from probeline.files.memo import Memo
from probeline.identity import digest, digest_bytes
from probeline.names import AUTO, MULTI_LABEL, REGRESSION
from probeline.types import DataSet, IntArray, Join


def embedding_dataset(features: Mapping[str, Any], labels: Mapping[str, Any], name: str) -> DataSet:
    """Return a data set of features from elsewhere.

    Parameters
    ----------
    features : mapping of str to array [N, D]
        By part: ``all``, or ``train`` and ``test``.
    labels : mapping of str to array [N]
        By part: strings or integers, one for each row; None, NaN or an empty string for a row without a label.
    name : str
        What the embedding is called in reports.

    Raises
    ------
    BadData
        Features that are not finite numbers [N, D], or labels of another length.
    """
    tables = {}
    for part, values in features.items():
        array = check_features(values, f"{name}/{part}")
        tables[part] = EmbeddingTable({name: array}, name_labels(labels[part], len(array), f"labels of {part}"))
    request = LoadRequest(Path(), Subset(), Memo(None), Silence())
    return build_dataset("features", tables, request)


def with_labels(dataset: DataSet, labels: Any, task: str = AUTO) -> DataSet:
    """Return the data set with other labels of the rows of all its parts, one part after the other.

    They are [N], or for a task of several labels or of numbers as
    :func:`probeline.data.target_values.targets_of_objects` takes them.
    """
    if task in (MULTI_LABEL, REGRESSION):
        return _with_targets(dataset, labels, task)
    by_part = _by_part(dataset, name_labels(labels, sum(map(len, dataset.parts.values())), dataset.name))
    class_names, numbers = number_labels(by_part, dataset.name)
    if numbers == {} or (
        class_names == dataset.class_names
        and all(np.array_equal(numbers[name], part.labels) for name, part in dataset.parts.items())
    ):
        return dataset
    parts = {name: replace(part, labels=numbers[name], class_names=class_names) for name, part in dataset.parts.items()}
    sha256 = digest({"classes": list(class_names), "labels": {name: own.tolist() for name, own in numbers.items()}})
    join = Join("labels", sha256, f"labels from Python: {len(class_names)} classes")
    return replace(dataset, parts=parts, class_names=class_names, joins=(*dataset.joins, join))


def _with_targets(dataset: DataSet, values: Any, task: str) -> DataSet:
    found = targets_of_objects(values, sum(map(len, dataset.parts.values())), task, dataset.name)
    ends = np.cumsum([len(part) for part in dataset.parts.values()])[:-1]
    by_part = dict(zip(dataset.parts, np.split(found.values, ends), strict=True))
    own = with_targets(dataset, task, found, by_part, "Python")
    numbers = {name: [row.tolist() for row in rows] for name, rows in by_part.items()}
    sha256 = digest_bytes(repr([task, found.names, numbers]).encode())
    join = Join("labels", sha256, f"targets from Python: {len(found.names)}")
    return replace(own, joins=(*own.joins, join))


def with_groups(dataset: DataSet, groups: Any) -> DataSet:
    """Return the data set with groups [N] of the rows of all its parts: no split separates rows of a group.

    A row whose group is None, NaN or an empty string is a group of its own.
    """
    ids = [name for part in dataset.parts.values() for name in part.sample_ids]
    values = name_labels(groups, len(ids), "groups")
    return attach_groups(dataset, dict(zip(ids, values, strict=True)), "groups from Python")


def _by_part(dataset: DataSet, values: Sequence[str]) -> dict[str, list[str]]:
    start, by_part = 0, {}
    for name, part in dataset.parts.items():
        by_part[name] = list(values[start : start + len(part)])
        start += len(part)
    return by_part


def held_out(test: Any, val: Any, count: int) -> HeldOut:
    """Return what is held out of `count` rows: each a share below 1, a mask bool [N], rows int [n], or None."""
    return HeldOut(_share_or_rows("test", test, count), _share_or_rows("val", val, count))


def _share_or_rows(role: str, value: Any, count: int) -> Fraction | IntArray | None:
    if value is None:
        return None
    if isinstance(value, Real):
        if not 0 < float(value) < 1:
            raise BadOption(f"bad {role}", expected="a share between 0 and 1, a mask or row numbers", got=value)
        return Fraction(str(float(value)))
    array = np.asarray(value)
    if array.dtype == np.bool_ and array.shape == (count,):
        return np.flatnonzero(array).astype(np.int64)
    if array.ndim == 1 and array.dtype.kind in "iu" and array.size and 0 <= array.min() <= array.max() < count:
        return array.astype(np.int64)
    raise BadOption(
        f"bad {role}",
        expected=f"a share between 0 and 1, a mask bool [{count}], or row numbers below {count}",
        got=f"{array.dtype} {list(array.shape)}",
    )
