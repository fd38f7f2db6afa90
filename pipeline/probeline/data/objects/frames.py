"""A pandas DataFrame with a column of image paths, as a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from probeline.data.label_values import check_order, name_labels
from probeline.data.objects.images import part_of_items, part_of_paths
from probeline.data.objects.parts import ObjectPart, register_parts
from probeline.data.tables.columns import USUAL, are_plain, find_column
from probeline.data.tables.splits import read_splits
from probeline.errors import BadData

_SHOWN = 80


def register_frame(frame: Any, labels: Any, groups: Any, name: str | None) -> str:
    """Return the spec of the data set of a frame; its rows keep their order within each part.

    Columns are recognised as in a table; the image column has paths, relative to the working directory, or images.
    Labels and groups that are given take the place of the columns.

    Raises
    ------
    BadData
        No column of images, no rows, or values that cannot be used.
    MissingData
        Images that do not exist.
    """
    header = [str(column) for column in frame.columns]
    columns = {kind: find_column(header, kind, {}) for kind in USUAL}
    file_column = columns["file_name"]
    if file_column is None or not len(frame):
        raise BadData(
            "the frame has no column of images" if file_column is None else "the frame has no rows",
            expected=", ".join(USUAL["file_name"][:4]) + " or the like",
            got=", ".join(header)[:_SHOWN],
            remedy="rename one, or give the list of paths",
        )
    values = {kind: frame.iloc[:, header.index(column)] for kind, column in columns.items() if column}
    names = None
    label_values = labels if labels is not None else values.get("label")
    if label_values is not None:
        categories = getattr(getattr(label_values, "cat", label_values), "categories", None)
        names = None if categories is None else [str(category) for category in categories]
        label_values = name_labels(list(label_values), len(frame), "the labels of the frame")
    group_values = groups if groups is not None else values.get("group")
    if group_values is not None:
        group_values = name_labels(list(group_values), len(frame), "the groups of the frame")
    split = values.get("split")
    by_row = ["all"] * len(frame)
    if split is not None:
        by_row = read_splits(["" if cell is None else str(cell) for cell in split], str(columns["split"]), "the frame")
    images = list(values["file_name"])
    parts = {}
    for part in dict.fromkeys(by_row):
        rows = np.flatnonzero(np.array(by_row) == part).tolist()
        part_labels = [label_values[row] for row in rows] if label_values is not None else [""] * len(rows)
        images_part = _part([images[row] for row in rows], part, part_labels)
        parts[part] = ObjectPart(
            images_part.sample_ids,
            images_part.images,
            images_part.content,
            part_labels,
            names,
            None if group_values is None else [group_values[row] for row in rows],
            notes=_describe(columns, by_labels=labels is None, by_groups=groups is None),
        )
    return register_parts("frame", parts, name)


def join_frames(
    frames: Mapping[str, Any], labels: Mapping[str, Any] | None, groups: Mapping[str, Any] | None
) -> tuple[Any, Any, Any]:
    """Return one frame of those of several parts, with the part of each row in its column ``split``, and its values.

    Raises
    ------
    BadData
        Labels or groups of another number than the rows of their part.
    """
    import pandas as pd

    parts = []
    for part, frame in frames.items():
        own = find_column([str(column) for column in frame.columns], "split", {})
        kept = frame if own is None else frame.loc[:, [str(column) != own for column in frame.columns]]
        parts.append(kept.assign(split=part))
        for values in (labels, groups):
            if values is not None:
                check_order(values[part], frame)
    joined = [
        None
        if values is None
        else [
            label
            for part, frame in frames.items()
            for label in name_labels(_listed(values[part], len(frame)), len(frame), f"the values of {part}")
        ]
        for values in (labels, groups)
    ]
    return pd.concat(parts, ignore_index=True), *joined


def _listed(values: Any, n: int) -> list[Any]:
    return [None] * n if values is None else list(values)


def _part(images: list[Any], part: str, labels: list[str]) -> ObjectPart:
    if all(isinstance(image, str) or hasattr(image, "__fspath__") for image in images):
        return part_of_paths(images, labels)
    return part_of_items(part, images.__getitem__, labels)


def _describe(columns: dict[str, str | None], *, by_labels: bool, by_groups: bool) -> tuple[str, ...]:
    """Return one line about which column was taken for what; none if the columns are called by what they are."""
    words = {"file_name": "images", "split": "parts"}
    words |= {"label": "labels"} if by_labels else {}
    words |= {"group": "groups"} if by_groups else {}
    if are_plain(columns):
        return ()
    taken = [f"{words[kind]} from column {name!r}" for kind, name in columns.items() if name and kind in words]
    return ("frame: " + "; ".join(taken),)
