"""Several labels of each image, or numbers, from the cells of a table or from Python objects."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probeline.data.label_values import is_missing
from probeline.errors import BadData
from probeline.format import few, plural
from probeline.names import MULTI_LABEL, REGRESSION
from probeline.text import is_printable
from probeline.types import DoubleArray

SEPARATORS = ("|", ";", ",")
"""What is recognised between the labels of one cell."""

_YES, _NO = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no"})

_MANY_NUMBERS = 20
"""Different whole numbers from which on labels may be a measurement rather than classes."""


@dataclass(frozen=True)
class TargetValues:
    """Targets of n rows.

    Attributes
    ----------
    names : tuple of str [T]
    values : float64 [n, T]
        NaN where unknown.
    note : str
        What was recognised, in words; empty if nothing had to be.
    columns : tuple of str
        Of the table that they were read from.
    """

    names: tuple[str, ...]
    values: DoubleArray
    note: str = ""
    columns: tuple[str, ...] = ()


def targets_of_cells(
    columns: Mapping[str, Sequence[str]], task: str, where: object, separator: str | None = None
) -> TargetValues:
    """Return the targets that the cells of one or more columns have.

    Numbers are one target a column. Labels are either one column of 0 and 1 for each, or a single column with the
    labels of each image, separated or as a list ``["a", "b"]``. An empty cell is unknown; an image that is known to
    have none of the labels has the separator alone, or ``[]``.

    Raises
    ------
    BadData
        Cells that are no numbers, not 0 or 1, or with several separators; and all values the same.
    """
    cells = {name: [text.strip() for text in texts] for name, texts in columns.items()}
    if task == REGRESSION:
        found = TargetValues(tuple(cells), _stack(_numbers(name, texts, where) for name, texts in cells.items()))
    elif len(cells) == 1 and not _are_indicators(only := next(iter(cells.values()))):
        found = _label_sets(only, where, separator)
    else:
        indicators = _stack(_indicators(name, texts, where) for name, texts in cells.items())
        found = TargetValues(tuple(cells), indicators)
    return _checked(found, task, where)


def targets_of_objects(values: Any, n: int, task: str, where: object) -> TargetValues:
    """Return the targets of n images as Python has them.

    Numbers are an array [n] or [n, T]; labels are an array [n, L] of 0, 1 and NaN, or for each image a list of its
    labels, or None where they are unknown. A pandas frame names its columns.

    Raises
    ------
    BadData
    """
    columns = getattr(values, "columns", None)
    given = [str(name) for name in columns] if columns is not None else None
    is_listed = isinstance(values, Sequence) and any(isinstance(own, tuple | set | list) for own in values)
    if task == MULTI_LABEL and is_listed and not _is_numeric(values):
        sets = [None if is_missing_set(own) else [str(label) for label in own] for own in values]
        found = _of_sets(sets, where)
    else:
        found = _of_array(values, task, where, given)
    if len(found.values) != n:
        raise BadData("labels and images differ in number", where=where, expected=n, got=len(found.values))
    return _checked(found, task, where)


def _is_numeric(values: Sequence[Any]) -> bool:
    """Return whether nested lists are rows of 0, 1 and NaN of one length rather than the labels of each image."""
    rows = [own for own in values if not is_missing_set(own)]
    numbers = all(isinstance(one, int | float) for own in rows for one in own)
    return numbers and len(rows) == len(values) and len({len(own) for own in rows}) == 1


def is_missing_set(value: Any) -> bool:
    """Return whether the labels of one image are unknown: None, or a scalar that is missing."""
    return not isinstance(value, list | tuple | set | np.ndarray) and is_missing(value)


def find_ambiguity(texts: Iterable[str]) -> str | None:
    """Return an example of labels that look like several labels of one image, with their number; None without any.

    They do if a text has a separator, and one of the texts between is found in another text too, alone or beside
    others; with commas, which names of classes have too, if each of them is.
    """
    counts = Counter(text for text in texts if text)
    for separator in SEPARATORS:
        owners: dict[str, set[str]] = {}
        for text in counts:
            for piece in _split(text, separator):
                owners.setdefault(piece, set()).add(text)
        enough = all if separator == "," else any
        several = [
            text
            for text in counts
            if separator in text and enough(len(owners[piece]) > 1 for piece in _split(text, separator))
        ]
        if any(_split(text, separator) for text in several):
            return f"{several[0]!r}, such in {plural(sum(counts[text] for text in several), 'image')}"
    return None


def refuse_ambiguous(texts: Iterable[str], where: object) -> None:
    """Raise BadData for labels that look like several labels of one image."""
    if example := find_ambiguity(texts):
        raise BadData(
            "labels look like several for one image",
            where=where,
            got=example,
            remedy="say what they are: --task multi-label, or --task single-label if each text is one class",
        )


def are_many_numbers(class_names: Sequence[str]) -> bool:
    """Return whether class names are so many whole numbers that they may be a measurement."""
    return len(class_names) > _MANY_NUMBERS and all(name.lstrip("-").isdigit() for name in class_names)


def _checked(found: TargetValues, task: str, where: object) -> TargetValues:
    """Return targets whose names are printable and unique, and that are not all the same."""
    names, values = found.names, found.values
    if strange := [name for name in names if not name or not is_printable(name)]:
        raise BadData("a label cannot be printed", where=where, got=repr(strange[0]))
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise BadData("labels repeat", where=where, got=repr(repeated[0]), expected="each label once")
    known = ~np.isnan(values)
    if known.any() and not any(len(np.unique(own[mask])) > 1 for own, mask in zip(values.T, known.T, strict=True)):
        what = "number" if task == REGRESSION else "label for all images, or for none"
        raise BadData("nothing to tell apart", where=where, expected="values that differ", got=f"the same {what}")
    return found


def _stack(columns: Iterable[DoubleArray]) -> DoubleArray:
    return np.stack(list(columns), axis=1)


def _numbers(name: str, texts: Sequence[str], where: object) -> DoubleArray:
    numbers = np.full(len(texts), np.nan)
    wrong = []
    for row, text in enumerate(texts):
        if text and text.lower() not in ("nan", "na", "none", "null"):
            try:
                number = float(text)
            except ValueError:
                number = math.inf
            if math.isfinite(number):
                numbers[row] = number
            else:
                wrong.append(text)
    if wrong:
        raise BadData(
            f"column {name!r} has cells that are no finite numbers",
            where=where,
            expected="numbers such as 3.5, or empty where unknown",
            got=f"{len(wrong):,} others, such as {wrong[0]!r}",
            remedy="choose the columns by --columns label=COLUMN,COLUMN",
        )
    return numbers


def _are_indicators(texts: Sequence[str]) -> bool:
    known = {text.lower() for text in texts if text}
    return bool(known) and known <= _YES | _NO


def _indicators(name: str, texts: Sequence[str], where: object) -> DoubleArray:
    values = np.full(len(texts), np.nan)
    wrong = []
    for row, text in enumerate(texts):
        lowered = text.lower()
        if lowered in _YES or lowered in _NO:
            values[row] = float(lowered in _YES)
        elif lowered not in ("", "nan", "na", "none", "null"):
            wrong.append(text)
    if wrong:
        raise BadData(
            f"column {name!r} has cells that are neither 0 nor 1",
            where=where,
            expected="0, 1, or empty where unknown",
            got=f"{len(wrong):,} others, such as {wrong[0]!r}",
            remedy="leave cells empty where the label is uncertain, or give numbers with --task regression",
        )
    return values


def _label_sets(texts: Sequence[str], where: object, separator: str | None) -> TargetValues:
    """Return the targets of cells with the labels of each image."""
    filled = [text for text in texts if text]
    if filled and separator is None and all(text.startswith("[") and text.endswith("]") for text in filled):
        return _of_sets([_listed(text, where) if text else None for text in texts], where, "lists of labels")
    used = [mark for mark in SEPARATORS if any(mark in text for text in filled)]
    if separator is None and len(used) > 1:
        shown = " and ".join(repr(mark) for mark in used)
        raise BadData(
            "what separates the labels is not clear",
            where=where,
            got=f"{shown}, such as {next(text for text in filled if used[0] in text)!r}",
            remedy=f"say it: --separator '{used[0]}'",
        )
    mark = separator or (used[0] if used else SEPARATORS[0])
    if separator is not None and not any(separator in text for text in filled):
        raise BadData("no cell has the separator of the labels", where=where, got=repr(separator))
    note = f"labels separated by {mark!r}" if used or separator else "one label or none in each cell"
    return _of_sets([_split(text, mark) if text else None for text in texts], where, note)


def _split(text: str, separator: str) -> list[str]:
    return [piece for piece in (own.strip() for own in text.split(separator)) if piece]


def _listed(text: str, where: object) -> list[str]:
    try:
        values = json.loads(text.replace("'", '"'))
    except ValueError:
        values = None
    if not isinstance(values, list) or not all(isinstance(own, str | int) for own in values):
        raise BadData("a cell is no list of labels", where=where, expected='["a", "b"]', got=repr(text[:80]))
    return [str(own).strip() for own in values]


def _of_sets(sets: Sequence[Sequence[str] | None], where: object, note: str = "") -> TargetValues:
    names = tuple(sorted({label for own in sets for label in own or ()}))
    if not names:
        raise BadData("no image has a label", where=where, expected="one label or more")
    place = {name: column for column, name in enumerate(names)}
    values = np.full((len(sets), len(names)), np.nan)
    for row, own in enumerate(sets):
        if own is not None:
            values[row] = 0.0
            values[row, [place[label] for label in own]] = 1.0
    return TargetValues(names, values, note)


def _of_array(values: Any, task: str, where: object, names: Sequence[str] | None) -> TargetValues:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        expected = "numbers [n] or [n, T]" if task == REGRESSION else "0, 1 or NaN [n, L], or a list of labels for each"
        raise BadData("these are no targets", where=where, expected=expected, got=error) from error
    array = array[:, None] if array.ndim == 1 and task == REGRESSION else array
    if array.ndim != 2 or not array.shape[1]:
        raise BadData("these are no targets", where=where, expected="[n, T]", got=list(array.shape))
    if np.isinf(array).any():
        raise BadData("targets that are not finite", where=where, got=f"{int(np.isinf(array).sum()):,} of them")
    if task == MULTI_LABEL and (wrong := array[~np.isnan(array) & (array != 0) & (array != 1)]).size:
        raise BadData("labels that are neither 0 nor 1", where=where, got=f"{wrong.size:,}, such as {wrong[0]:g}")
    word = "target" if task == REGRESSION else "label"
    own = tuple(names) if names is not None else tuple(f"{word}{number}" for number in range(array.shape[1]))
    if len(own) != array.shape[1]:
        raise BadData("names of targets", where=where, expected=array.shape[1], got=f"{len(own)}: {few(own)}")
    return TargetValues(own, array)
