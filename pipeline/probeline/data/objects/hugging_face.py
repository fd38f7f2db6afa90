"""Data sets of the Hugging Face library ``datasets``: columns by type, encoded images by row, content remembered."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from probeline.console import Silence
from probeline.data.label_values import name_labels
from probeline.data.objects.images import as_item
from probeline.data.objects.parts import ObjectPart, number_rows
from probeline.data.pixels.loading import digest_item
from probeline.data.remembered import Digests, is_sample_right
from probeline.data.source import LoadRequest, Subset
from probeline.data.tables.columns import USUAL, fold_name
from probeline.errors import BadData, MissingExtra
from probeline.files.memo import Memo
from probeline.images import ImageItems
from probeline.types import IntArray

_IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "png", "pixel_values", *USUAL["file_name"])


def import_datasets() -> Any:
    """Return the module ``datasets``; MissingExtra if it is not installed."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("datasets is not installed", remedy="pip install 'probeline[hf]'") from error
    return datasets


@dataclass(frozen=True)
class Labels:
    """What a data set says of its images, besides their pixels."""

    labels: Sequence[str]
    class_names: Sequence[str] | None
    groups: Sequence[str] | None
    notes: tuple[str, ...]
    """Which columns were taken; none if they are called image and label."""


def part_of_dataset(part: str, data: Any) -> ObjectPart:
    """Return the part of a ``datasets.Dataset``, whose rows keep their order.

    Raises
    ------
    BadData
        No column of images, or several; an image that cannot be read.
    MissingExtra
    """
    facts = read_labels(data, {})
    images = read_images(part, data, np.arange(len(data)), LoadRequest(Path(), Subset(), Memo(None), Silence()))
    ids = number_rows(part, len(data))
    return ObjectPart(ids, images, images.content, facts.labels, facts.class_names, facts.groups, facts.notes)


def read_labels(data: Any, columns: Mapping[str, str]) -> Labels:
    """Return the labels and groups of a ``datasets.Dataset``.

    The label column is the one of type ClassLabel, else one with a usual name; `columns` names another, or the groups.

    Raises
    ------
    BadData
        No such column, or several; labels that cannot be used.
    """
    image_column, label_column = _image_column(data, columns), _label_column(data, columns)
    group_column = columns.get("group")
    labels, class_names = [""] * len(data), None
    if label_column:
        class_names = getattr(data.features[label_column], "names", None)
        labels = name_labels(list(data[label_column]), len(data), f"column {label_column!r}", class_names)
    groups = None
    if group_column:
        groups = name_labels(list(data[_known(group_column, data.features)]), len(data), f"column {group_column!r}")
    if (image_column, label_column) == ("image", "label"):
        return Labels(labels, class_names, groups, ())
    note = f"hf: images from column {image_column!r}" + (
        f"; labels from column {label_column!r}" if label_column else ""
    )
    return Labels(labels, class_names, groups, (note,))


def read_images(part: str, data: Any, rows: IntArray, request: LoadRequest) -> ImageItems:
    """Return the images of some rows of a ``datasets.Dataset``, encoded as they are stored.

    The image column is the one of type Image, else one of paths or encoded bytes with a usual name; the request's
    columns name another. Content hashes are remembered if all rows are read, and if the images are in Arrow files
    themselves.

    Raises
    ------
    BadData
        No such column, or several; an image that is missing.
    MissingExtra
    """
    column = _image_column(data, request.columns)
    encoded = _undecoded(data, column)
    lock = threading.Lock()
    numbers = rows.tolist()
    names = [f"{part} row {row}" for row in numbers]
    outside: set[int] = set()

    def read(row: int) -> bytes | Image.Image:
        with lock:
            cell = encoded[numbers[row]][column]
        if isinstance(cell, str) or (isinstance(cell, Mapping) and not cell.get("bytes")):
            outside.add(row)
        return _item(cell, names[row])

    files = sorted({Path(file["filename"]) for file in data.cache_files})
    memo_name = f"hf:{data._fingerprint}:{column}"
    known = request.memo.get(memo_name, files, Digests) if files else None
    if known is not None and len(known.sha256) == len(data):
        content = tuple(known.sha256[row] for row in numbers)
        if is_sample_right(request, dict(enumerate(content)), lambda row: digest_item(read(row), names[row])):
            return ImageItems(read, content, names)
    digests = []
    with request.console.bar("hashing", len(numbers), "image") as bar:
        for row, name in enumerate(names):
            digests.append(digest_item(read(row), name))
            bar.update(1)
    if files and len(numbers) == len(data) and not outside:
        request.memo.put(memo_name, files, Digests(tuple(digests)))
    return ImageItems(read, tuple(digests), names)


def _image_column(data: Any, columns: Mapping[str, str]) -> str:
    features = data.features
    given = columns.get("image") or columns.get("file_name")
    if given:
        return _known(given, features)
    typed = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    if len(typed) > 1:
        named = [name for name in typed if fold_name(name) in _IMAGE_NAMES]
        typed = named if len(named) == 1 else typed
    if not typed:
        by_name = {fold_name(name): name for name, feature in features.items() if _is_of(feature, "string", "binary")}
        typed = [by_name[name] for name in _IMAGE_NAMES if name in by_name][:1]
    if len(typed) != 1:
        raise BadData(
            "which column has the images?" if typed else "no column has images",
            expected=f"--columns image=COLUMN, one of: {', '.join(typed or features)}",
        )
    return str(typed[0])


def _label_column(data: Any, columns: Mapping[str, str]) -> str | None:
    features = data.features
    if "label" in columns:
        return _known(columns["label"], features) if columns["label"] else None
    typed = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    named = {fold_name(name): name for name in features}
    usual = [named[name] for name in USUAL["label"] if name in named]
    if len(typed) > 1:
        typed = [name for name in usual if name in typed][:1] or typed
    if len(typed) > 1:
        raise BadData("which column has the labels?", expected=f"--columns label=COLUMN, one of: {', '.join(typed)}")
    if typed:
        return str(typed[0])
    plain = [name for name in usual if _is_of(features[name], "string", "int", "bool")]
    return str(plain[0]) if plain else None


def _known(column: str, features: Mapping[str, Any]) -> str:
    if column not in features:
        raise BadData(f"the data set has no column {column!r}", expected=f"one of: {', '.join(features)}")
    return column


def _is_of(feature: Any, *kinds: str) -> bool:
    return any(word in str(getattr(feature, "dtype", "")) for word in kinds)


def _undecoded(data: Any, column: str) -> Any:
    """Return the column alone, its images encoded as they are stored."""
    alone = data.with_format(None).select_columns([column])
    if type(data.features[column]).__name__ == "Image":
        return alone.cast_column(column, import_datasets().Image(decode=False))
    return alone


def _item(cell: Any, name: str) -> bytes | Image.Image:
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
    if cell is None:
        raise BadData("image is missing", where=name, remedy="leave the row out: dataset.filter(...)")
    return as_item(cell, name)
