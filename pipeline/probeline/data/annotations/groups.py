"""``--groups FILE.csv``: images that belong together, such as those of one patient, which no split may separate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from probeline.data.annotations.csv_columns import digest_values, read_column
from probeline.errors import BadData
from probeline.identity import digest
from probeline.types import DROPPED, DataSet, Join


def group(dataset: DataSet, path: Path, *, whole: bool, columns: Mapping[str, str] | None = None) -> DataSet:
    """Return the data set with the groups of a CSV file with the columns ``sample_id`` and ``group``.

    An image without a line, or with an empty group, is a group of its own. Equal names are one group over all parts.
    Without `whole` the file may name images that the data set does not have. `columns` gives columns other names.

    Raises
    ------
    MissingData, BadData
        A file without a group, or as :func:`probeline.data.annotations.csv_columns.read_column`.
    """
    column = read_column(path, "group", dataset, whole=whole, option="groups", columns=columns or {})
    given = column.values
    sample_ids = [i for part in dataset.parts.values() for i in part.sample_ids]
    if not any(given.get(i) for i in sample_ids):
        raise BadData(
            f"the --groups file gives no image of {dataset.name} a group",
            where=path,
            expected=f"sample ids such as {sample_ids[0]!r}",
            got=f"{len(given):,} lines",
        )
    grouped = attach_groups(dataset, given, path.name)
    return replace(grouped, notes=(*grouped.notes, *column.notes))


def attach_groups(dataset: DataSet, given: Mapping[str, str], source: str) -> DataSet:
    """Return the data set with groups by sample id, in place of any that it has; `source` names them in the summary."""
    # A named group begins with "g", an image without one with "i": their names never collide.
    names = {
        name: [f"g{given[i]}" if given.get(i) else f"i{name}\0{i}" for i in part.sample_ids]
        for name, part in dataset.parts.items()
    }
    numbers: dict[str, int] = {}
    groups = {
        name: np.array([numbers.setdefault(label, len(numbers)) for label in labels], np.int64)
        for name, labels in names.items()
    }
    ungrouped = sum(label.startswith("i") for labels in names.values() for label in labels)
    grouped = replace(dataset, groups=groups)
    shared = _shared_groups(grouped)
    summary = f"{source}: {len(numbers) - ungrouped:,} groups" + ("" if shared else " that no split parts")
    summary += f"; {ungrouped:,} images belong to none" if ungrouped else ""
    summary += "".join(f"; {line}" for line in shared)
    join = Join("groups", digest(digest_values(dataset, names)), summary)
    others = tuple(other for other in dataset.joins if other.kind != "groups")
    return replace(grouped, joins=(*others, join))


def describe_leaks(dataset: DataSet) -> str | None:
    """Return one line about groups in several parts with different roles; None if there are none.

    The parts stay as they ship, so images of such a group may be fitted on and tested on.
    """
    if shared := _shared_groups(dataset):
        return "groups: " + "; ".join(shared) + ": the parts stay as they ship, so accuracy there may be too high"
    return None


def _shared_groups(dataset: DataSet) -> list[str]:
    lines = []
    roles = (dataset.train, dataset.val, dataset.test)
    parts = dict.fromkeys(name for name in roles if name is not None and name in dataset.groups)
    for part, other in combinations(parts, 2):
        first, second = (dataset.groups[name][dataset.parts[name].labels != DROPPED] for name in (part, other))
        shared = np.intersect1d(first, second)
        if len(shared):
            images = int(np.isin(second, shared).sum())
            lines.append(f"{len(shared):,} groups of {part} are also in {other}, with {images:,} of its images")
    return lines
