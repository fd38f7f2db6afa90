"""From arrays of features and labels to a data set, and from a data set to one with other labels or groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np

from probeline.data.sampling.splits import HeldOut
from probeline.errors import BadData, BadOption
from probeline.identity import digest, digest_bytes
from probeline.types import DROPPED, AnyArray, DataSet, Embedding, FloatArray, IntArray, Join, Part


def embedding_dataset(features: Mapping[str, AnyArray], labels: Mapping[str, Any], name: str, backbone: str) -> DataSet:
    """Return a data set of features from elsewhere.

    Parameters
    ----------
    features : mapping of str to array [N, D]
        By part: ``all``, or ``train`` and ``test``.
    labels : mapping of str to array [N]
        By part: strings or integers, one for each row; None, NaN or an empty string for a row without a label.
    name : str
        Of the data set.
    backbone : str
        What the embedding is called in reports.

    Raises
    ------
    BadData
        Features that are not finite numbers [N, D], or labels of another length.
    """
    rows = {part: check_features(array, where=f"{name}/{part}") for part, array in features.items()}
    numbers, class_names = number_labels({part: as_labels(labels[part], len(rows[part]), part) for part in rows})
    parts = {
        part: Part(
            dataset=name,
            name=part,
            sample_ids=tuple(f"{part}/{row:07d}" for row in range(len(array))),
            content=tuple(digest_bytes(row.tobytes()) for row in array),
            labels=numbers[part],
            class_names=class_names,
        )
        for part, array in rows.items()
    }
    names = list(parts)
    return DataSet(
        name=name,
        parts=parts,
        images={},
        class_names=class_names,
        train=names[0],
        test=names[-1],
        embeddings={backbone: Embedding.of(rows)},
    )


def check_features(features: Any, where: str) -> FloatArray:
    """Return features as float32 [N, D], or raise BadData if they are not finite numbers of two axes."""
    array = np.asarray(features)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or 0 in array.shape:
        raise BadData("bad features", where=where, expected="numbers [N, D]", got=f"{array.dtype} {list(array.shape)}")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(array, np.float32)
    if bad := int((~np.isfinite(rows).all(axis=1)).sum()):
        raise BadData("bad features", where=where, expected="finite float32 numbers", got=f"{bad:,} rows with others")
    return rows


def as_labels(labels: Any, count: int, where: str) -> list[str]:
    """Return labels as text [N], empty for a row without one.

    Raises
    ------
    BadData
        Labels of another length, or that are neither text nor whole numbers.
    """
    array = np.asarray(labels, dtype=object) if not hasattr(labels, "dtype") else np.asarray(labels)
    if array.shape != (count,):
        raise BadData("bad labels", where=where, expected=f"one for each row [{count}]", got=list(array.shape))
    texts = []
    for value in array.tolist():
        if value is None or value != value:
            texts.append("")
        elif isinstance(value, str):
            texts.append(value)
        elif isinstance(value, bytes):
            texts.append(value.decode())
        elif isinstance(value, Real) and float(value).is_integer():
            texts.append(str(int(float(value))) if isinstance(value, float) else str(value))
        else:
            raise BadData("bad labels", where=where, expected="text or whole numbers", got=repr(value))
    return texts


def number_labels(labels: Mapping[str, Sequence[str]]) -> tuple[dict[str, IntArray], tuple[str, ...]]:
    """Return the class numbers of labels by part, `DROPPED` for empty ones, and the class names.

    Classes are sorted, as numbers if all of them are.
    """
    occurring = {label for values in labels.values() for label in values} - {""}
    are_numbers = all(label.lstrip("-").isdecimal() for label in occurring)
    class_names = tuple(sorted(occurring, key=(lambda label: (int(label), label)) if are_numbers else None))
    numbers = {"": DROPPED, **{name: number for number, name in enumerate(class_names)}}
    by_part = {part: np.array([numbers[label] for label in values], np.int64) for part, values in labels.items()}
    return by_part, class_names


def with_labels(dataset: DataSet, labels: Any) -> DataSet:
    """Return the data set with other labels [N] of the rows of all its parts, one part after the other."""
    by_part = _by_part(dataset, as_labels(labels, sum(map(len, dataset.parts.values())), dataset.name))
    numbers, class_names = number_labels(by_part)
    if numbers == {} or (
        class_names == dataset.class_names
        and all(np.array_equal(numbers[name], part.labels) for name, part in dataset.parts.items())
    ):
        return dataset
    parts = {name: replace(part, labels=numbers[name], class_names=class_names) for name, part in dataset.parts.items()}
    sha256 = digest({"classes": list(class_names), "labels": {name: own.tolist() for name, own in numbers.items()}})
    join = Join("labels", sha256, f"labels from Python: {len(class_names)} classes")
    return replace(dataset, parts=parts, class_names=class_names, joins=(*dataset.joins, join))


def with_groups(dataset: DataSet, groups: Any) -> DataSet:
    """Return the data set with groups [N] of the rows of all its parts: no split separates rows of a group."""
    values = as_labels(groups, sum(map(len, dataset.parts.values())), dataset.name)
    if "" in values:
        raise BadData(
            "bad groups", where=dataset.name, expected="a group for each row", got=f"{values.count('')} without"
        )
    names = {name: number for number, name in enumerate(dict.fromkeys(values))}
    by_part = {
        part: np.array([names[value] for value in own], np.int64) for part, own in _by_part(dataset, values).items()
    }
    sha256 = digest({part: own.tolist() for part, own in by_part.items()})
    join = Join("groups", sha256, f"groups from Python: {len(names):,} groups")
    return replace(dataset, groups=by_part, joins=(*dataset.joins, join))


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
