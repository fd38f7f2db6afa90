"""From a Python object to the spec of its data set: the one entrance for paths, arrays, frames and data sets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from probeline.data.label_values import check_order, name_labels
from probeline.data.objects.images import part_of_array, part_of_items, part_of_paths, split_item
from probeline.data.objects.parts import ObjectPart, register_parts
from probeline.data.part_names import named_part
from probeline.data.registry import spec_of_path
from probeline.errors import BadData, BadOption
from probeline.files.paths import path_of


def spec_of(data: Any, labels: Any = None, groups: Any = None, name: str | None = None) -> str:
    """Return the spec of a data set, which :func:`probeline.data.registry.load` loads in this process.

    Parameters
    ----------
    data : object
        A spec; a folder, a table or a NumPy file by path; a sequence of paths, Pillow images, encoded images or arrays;
        an array or tensor of images; a pandas DataFrame with a column of paths; a Hugging Face ``Dataset`` or
        ``DatasetDict``; a map-style torch ``Dataset`` of (image, label); or a mapping of ``train``, ``val`` and
        ``test`` to any of these objects.
    labels : sequence, or mapping of them by part, optional
        One per image, in their order: text, whole numbers, a pandas categorical; None or NaN where there is none. They
        replace those of the object.
    groups : sequence, or mapping of them by part, optional
        One per image: no split separates a group.
    name : str, optional
        Of the data set, in paths and reports. By default it follows from kind and content, so that cached features are
        found again by another process.

    Raises
    ------
    BadOption, BadData, MissingData
    """
    if isinstance(data, str | os.PathLike):
        if labels is not None or groups is not None or name is not None:
            raise BadOption(
                "labels, groups and a name go with objects",
                where=repr(os.fspath(data)),
                remedy="give the labels and groups as files, as --labels and --groups do, or a list of paths",
            )
        path_of(data)  # an empty one names nothing
        return spec_of_path(os.fspath(data)) or os.fspath(data)
    if _is(data, "pandas", "DataFrame"):
        check_order(labels, data)
        check_order(groups, data)
        from probeline.data.objects.frames import register_frame

        return register_frame(data, labels, groups, name)
    by_part = _by_part(data)
    if all(_is(value, "pandas", "DataFrame") for value in by_part.values()):
        from probeline.data.objects.frames import join_frames, register_frame

        given = (labels, groups)
        values = [None if own is None else {part: _of_part(own, part) for part in by_part} for own in given]
        return register_frame(*join_frames(by_part, *values), name)
    for part, value in by_part.items():
        check_order(_of_part(labels, part), value)
        check_order(_of_part(groups, part), value)
    parts = {
        part: _with_groups(_part_of(part, value, _of_part(labels, part)), _of_part(groups, part))
        for part, value in by_part.items()
    }
    if any(not len(part.sample_ids) for part in parts.values()):
        raise BadData("no images", where="the given data", expected="one or more")
    return register_parts(_kind(next(iter(by_part.values()))), parts, name)


def _by_part(data: Any) -> dict[str, Any]:
    """Return the objects by part: ``all``, or train, val and test of a mapping."""
    if not isinstance(data, Mapping):
        return {"all": data}
    parts: dict[str, Any] = {}
    for key, value in data.items():
        part = named_part(key)
        if part is None or part in parts:
            raise BadData("parts are not recognised", expected="train, val and test", got=", ".join(map(str, data)))
        parts[part] = value
    if not parts:
        raise BadData("no images", where="the given data", expected="one or more")
    return {part: parts[part] for part in ("train", "val", "test") if part in parts}


def _of_part(values: Any, part: str) -> Any:
    if not isinstance(values, Mapping):
        return values
    return next((given for key, given in values.items() if (named_part(key) or key) == part), None)


def _part_of(part: str, data: Any, labels: Any) -> ObjectPart:
    """Return one part from an object that gives its images."""
    if isinstance(data, str | os.PathLike):
        remedy = "give a list of paths for each part, or the folder above them: folder:PATH"
        raise BadData(f"the images of {part} are a path", expected="an object", got=os.fspath(data), remedy=remedy)
    if _is(data, "datasets", "Dataset"):
        from probeline.data.objects.hugging_face import part_of_dataset

        object_part = part_of_dataset(part, data)
        return object_part if labels is None else _relabelled(object_part, labels)
    if _is(data, "torch", "Tensor"):
        data = data.detach().cpu().numpy()
    if isinstance(data, np.ndarray) and data.dtype.kind not in "OUS":
        return _relabelled(part_of_array(part, data, [""] * len(data)), labels)
    if isinstance(data, np.ndarray) or _is(data, "pandas", "Series"):
        data = list(data)
    if _is(data, "torch", "IterableDataset") or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise BadData(
            "data of this type have no rows by number",
            got=type(data).__name__,
            expected="paths, images, an array, a DataFrame, a Hugging Face or a map-style torch data set",
        )
    if isinstance(data, list | tuple):
        return _part_of_sequence(part, data, labels)
    return _part_of_map_style(part, data, labels)


def _part_of_sequence(part: str, data: Sequence[Any], labels: Any) -> ObjectPart:
    if all(isinstance(item, str | os.PathLike) for item in data) and data:
        return _relabelled(part_of_paths(data, [""] * len(data)), labels)
    if data and all(isinstance(item, Mapping) or (isinstance(item, tuple | list) and len(item) == 2) for item in data):
        return _part_of_map_style(part, data, labels)
    return _relabelled(part_of_items(part, lambda row: data[row], [""] * len(data)), labels)


def _part_of_map_style(part: str, data: Any, labels: Any) -> ObjectPart:
    """Return the part of a data set of (image, label); its classes are named by its attribute ``classes``, if any."""
    own: list[Any] = []

    def read(row: int) -> Any:
        image, label = split_item(data[row])
        if len(own) == row:  # the first pass, in order
            own.append(label.item() if hasattr(label, "item") else label)
        return image

    object_part = part_of_items(part, read, [""] * len(data))
    names = getattr(data, "classes", None) or getattr(getattr(data, "dataset", None), "classes", None)
    if labels is not None:
        return _relabelled(object_part, labels)
    names = [str(name) for name in names] if names and all(isinstance(label, int | None) for label in own) else None
    return replace(object_part, labels=name_labels(own, len(own), "the labels", names), class_names=names)


def _relabelled(part: ObjectPart, labels: Any) -> ObjectPart:
    """Return the part with the given labels; a categorical keeps the order of its categories."""
    if labels is None:
        return part
    categorical = getattr(labels, "cat", labels)
    categories = getattr(categorical, "categories", None)
    names = None if categories is None else [str(name) for name in categories]
    values = labels if isinstance(labels, np.ndarray) else list(labels)
    named = name_labels(values, len(part.sample_ids), "the labels")
    return replace(part, labels=named, class_names=names)


def _with_groups(part: ObjectPart, groups: Any) -> ObjectPart:
    if groups is None:
        return part
    return replace(part, groups=name_labels(list(groups), len(part.sample_ids), "the groups"))


def _kind(data: Any) -> str:
    """Return what a data set of this object is called."""
    if isinstance(data, list | tuple) and data:
        first = data[0]
        return "paths" if isinstance(first, str | os.PathLike) else "images"
    if isinstance(data, np.ndarray) or _is(data, "torch", "Tensor"):
        return "array"
    return "images" if isinstance(data, Image.Image) else "dataset"


def _is(data: Any, package: str, name: str) -> bool:
    """Return whether an object is of a class of a package, which is not imported for that."""
    return any(c.__name__ == name and c.__module__.partition(".")[0] == package for c in type(data).__mro__)
