"""``--groups FILE.csv``: images that belong together, such as those of one patient, which no split may part."""

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
    groups, said, alone = {}, {}, 0
    for name, part in dataset.parts.items():
        # No named group is called as a lone image is: the one begins with "g", the other with "i".
        names = [f"g{given[i]}" if given.get(i) else f"i{name}\0{i}" for i in part.sample_ids]
        groups[name] = np.array([numbers.setdefault(of, len(numbers)) for of in names], np.int64)
        said[name] = digest_lines(f"{i}\0{of}" for i, of in zip(part.sample_ids, names, strict=True))
        alone += sum(of.startswith("i") for of in names)
    grouped = replace(dataset, groups=groups)
    shared = _shared(grouped)
    told = f"{path.name}: {len(numbers) - alone:,} groups" + ("" if shared else " that no split parts")
    told += f"; {alone:,} images belong to none" if alone else ""
    told += "".join(f"; {line}" for line in shared)
    return replace(grouped, joins=(*dataset.joins, Join("groups", digest(said), told)))


def leaks(dataset: DataSet) -> str | None:
    """Return one line about groups that lie in several parts which play different roles, or None where there are none.

    Parts are as their owner shipped them, so nothing is moved; but what was fitted on has seen such a group.
    """
    if told := _shared(dataset):
        return "groups: " + "; ".join(told) + ": the parts stay as they ship, so accuracy there may be too high"
    return None


def _shared(dataset: DataSet) -> list[str]:
    told = []
    roles = (dataset.train, dataset.val, dataset.test)
    parts = dict.fromkeys(name for name in roles if name is not None and name in dataset.groups)
    for one, other in combinations(parts, 2):
        here, there = (dataset.groups[name][dataset.parts[name].labels != DROPPED] for name in (one, other))
        shared = np.intersect1d(here, there)
        if len(shared):
            images = int(np.isin(there, shared).sum())
            told.append(f"{len(shared):,} groups of {one} are also in {other}, with {images:,} of its images")
    return told
