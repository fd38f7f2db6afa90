"""``--groups FILE.csv``: images that belong together, such as those of one patient, which no split may separate."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from probeline.data.annotations import csv_columns as columns
from probeline.errors import BadData
from probeline.identity import digest, digest_lines
from probeline.types import DROPPED, DataSet, Join


def group(dataset: DataSet, path: Path, *, whole: bool) -> DataSet:
    """Return the data set with the groups of a CSV file with the columns ``sample_id`` and ``group``.

    An image that the file does not name, or whose group is empty, is a group of its own. Groups are told apart by
    name over all parts.

    Parameters
    ----------
    dataset : DataSet
    path : Path
    whole : bool
        Whether the data set has all its images, so that the file may name no others.

    Raises
    ------
    MissingData, BadData
        As :func:`probeline.data.annotations.csv_columns.read`; and where the file names a group of no image at all.
    """
    given = columns.read(path, "group", dataset, whole=whole, option="groups")
    if not any(given.get(i) for part in dataset.parts.values() for i in part.sample_ids):
        raise BadData(
            f"the --groups file gives no image of {dataset.name} a group",
            where=path,
            expected=f"sample ids such as {next(i for part in dataset.parts.values() for i in part.sample_ids)!r}",
            got=f"{len(given):,} lines",
        )
    numbers: dict[str, int] = {}
    groups, members, ungrouped = {}, {}, 0
    for name, part in dataset.parts.items():
        # A named group begins with "g", an image without one with "i": their names never collide.
        names = [f"g{given[i]}" if given.get(i) else f"i{name}\0{i}" for i in part.sample_ids]
        groups[name] = np.array([numbers.setdefault(label, len(numbers)) for label in names], np.int64)
        members[name] = digest_lines(f"{i}\0{label}" for i, label in zip(part.sample_ids, names, strict=True))
        ungrouped += sum(label.startswith("i") for label in names)
    grouped = replace(dataset, groups=groups)
    shared = _shared(grouped)
    summary = f"{path.name}: {len(numbers) - ungrouped:,} groups" + ("" if shared else " that no split parts")
    summary += f"; {ungrouped:,} images belong to none" if ungrouped else ""
    summary += "".join(f"; {line}" for line in shared)
    return replace(grouped, joins=(*dataset.joins, Join("groups", digest(members), summary)))


def leaks(dataset: DataSet) -> str | None:
    """Return one line about groups that lie in several parts with different roles; None if there are none.

    Parts are as their owner shipped them, so nothing is moved; but what was fitted on has seen such a group.
    """
    if shared := _shared(dataset):
        return "groups: " + "; ".join(shared) + ": the parts stay as they ship, so accuracy there may be too high"
    return None


def _shared(dataset: DataSet) -> list[str]:
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
