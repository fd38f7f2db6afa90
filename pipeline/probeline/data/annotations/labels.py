"""``--labels FILE.csv``: other classes for the same images, joined by sample id; nothing is extracted again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from probeline.data.annotations import csv_columns as columns
from probeline.errors import BadData
from probeline.identity import digest, digest_lines
from probeline.types import DROPPED, DataSet, Join


def relabel(dataset: DataSet, path: Path, *, whole: bool) -> DataSet:
    """Return the data set with the labels of a CSV file with the columns ``sample_id`` and ``label``.

    The classes are the labels that occur: in the data set's order if all are classes of it, else sorted. An image
    whose label is empty is dropped: it keeps its row, so that part, key and embeddings stay what they are, with the
    label `DROPPED`, and no split takes it.

    Parameters
    ----------
    dataset : DataSet
    path : Path
    whole : bool
        Whether the data set has all its images, so that the file may name no others.

    Raises
    ------
    MissingData, BadData
        Names the file and what is wrong with it: an image without a line, an image that the data set does not have,
        fewer than two classes, or what :func:`probeline.data.annotations.csv_columns.read` refuses.
    """
    labels = columns.read(path, "label", dataset, whole=whole, option="labels")
    unnamed = [sample_id for part in dataset.parts.values() for sample_id in part.sample_ids if sample_id not in labels]
    if unnamed:
        raise BadData(
            "the --labels file leaves images out",
            where=path,
            expected="a line for every image, with an empty label where it is to be dropped",
            got=f"{len(unnamed):,} images without one, the first {unnamed[0]!r}",
        )
    by_part = {name: [labels[sample_id] for sample_id in part.sample_ids] for name, part in dataset.parts.items()}
    occurring = {label for given in by_part.values() for label in given if label}
    own = [name for name in dataset.class_names if name in occurring]
    class_names = tuple(own) if len(own) == len(occurring) else tuple(sorted(occurring))
    if len(class_names) < 2:
        raise BadData(
            "too few classes", where=path, expected="two labels or more", got=", ".join(class_names) or "none"
        )
    numbers = {"": DROPPED, **{name: number for number, name in enumerate(class_names)}}
    parts = {
        name: replace(
            part, labels=np.array([numbers[label] for label in by_part[name]], np.int64), class_names=class_names
        )
        for name, part in dataset.parts.items()
    }
    dropped = sum(not label for given in by_part.values() for label in given)
    summary = f"{path.name}: {len(class_names)} classes" + (f"; {dropped:,} images are dropped" if dropped else "")
    by_id = {
        name: digest_lines(f"{sample_id}\0{label}" for sample_id, label in zip(part.sample_ids, given, strict=True))
        for (name, part), given in zip(dataset.parts.items(), by_part.values(), strict=True)
    }
    join = Join("labels", digest({"classes": list(class_names), "parts": by_id}), summary)
    return replace(dataset, parts=parts, class_names=class_names, joins=(*dataset.joins, join))
