"""Labels of any type that arrays and objects have, as class names and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from probeline.errors import BadData
from probeline.text import is_printable
from probeline.types import DROPPED, IntArray


def name_labels(values: Any, n: int, where: object, names: Sequence[str] | None = None) -> list[str]:
    """Return the class name of each of n labels, empty where it is missing.

    Labels are text, whole numbers (which index the names, if there are any), booleans, or missing: None, NaN, an empty
    text. Columns of one label, [n, 1], and one-hot rows are accepted.

    Raises
    ------
    BadData
        Another number of labels, several labels per image, or numbers that are not whole or have no name.
    """
    array = np.asarray(values, object if isinstance(values, list) else None)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and _is_one_hot(array):
        array = array.argmax(axis=1)
    if array.ndim != 1:
        remedy = "give one class per image, or use probeline.probe_targets for several labels or numbers"
        raise BadData("labels are not one per image", where=where, expected=[n], got=list(array.shape), remedy=remedy)
    if len(array) != n:
        raise BadData("labels and images differ in number", where=where, expected=n, got=len(array))
    return [_name(value, names, where) for value in array.tolist()]


def number_labels(
    labels: Mapping[str, Sequence[str]], where: object, names: Sequence[str] | None = None
) -> tuple[tuple[str, ...], dict[str, IntArray]]:
    """Return the class names of the labels by part, and the number of each label, `DROPPED` if it is empty.

    Class names are those that occur, in the order of `names`, and then the others sorted, as numbers if all are. No
    class names are returned if no label is given.

    Raises
    ------
    BadData
        All labels are the same.
    """
    occurring = {label for values in labels.values() for label in values} - {""}
    if len(occurring) == 1:
        raise BadData("too few classes", where=where, expected="two labels or more", got=next(iter(occurring)))
    known = tuple(name for name in names or () if name in occurring)
    class_names = (*known, *_sorted(occurring.difference(known)))
    numbers = {"": DROPPED, **{name: number for number, name in enumerate(class_names)}}
    return class_names, {
        part: np.array([numbers[label] for label in values], np.int64) for part, values in labels.items()
    }


def check_order(values: Any, data: Any) -> None:
    """Refuse a pandas object whose index has the labels of the data's index in another order.

    Rows are matched by position; pandas would match these by their index.
    """
    if not all(hasattr(given, "iloc") and hasattr(given, "index") for given in (values, data)):
        return
    own, rows = values.index, data.index
    if len(own) == len(rows) and not own.equals(rows) and own.isin(rows).all() and rows.isin(own).all():
        raise BadData(
            "values have the index of the data in another order",
            where=getattr(values, "name", None) or "labels or groups",
            expected="one for each row, in the order of the rows",
            remedy="sort them: values.loc[data.index]; or, if the order is right, values.to_numpy()",
        )


def is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, pandas' NA or NaT, or an empty text."""
    # NA is equal to nothing and has no truth value; this module does not import pandas for it.
    return value is None or type(value).__name__ == "NAType" or value != value or value == ""


def _sorted(names: set[str]) -> tuple[str, ...]:
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _is_one_hot(array: Any) -> bool:
    if array.shape[1] < 2 or array.dtype.kind not in "biuf":
        return False
    return bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())


def _name(value: Any, names: Sequence[str] | None, where: object) -> str:
    value = value.item() if hasattr(value, "item") else value
    if is_missing(value):
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float):
        if not value.is_integer():
            raise BadData(
                "labels are numbers that are not whole", where=where, got=value, remedy="give classes, not measurements"
            )
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and names:
        if value == -1:  # as data sets write that a label is not known
            return ""
        if not 0 <= value < len(names):
            raise BadData("label without a class name", where=where, expected=f"0 to {len(names) - 1}", got=value)
        return str(names[value])
    text = str(value).strip()
    if not is_printable(text):
        raise BadData("label cannot be printed", where=where, got=repr(text))
    return text
