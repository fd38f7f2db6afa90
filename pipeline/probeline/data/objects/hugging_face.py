"""Data sets of the Hugging Face library ``datasets``: columns by type, encoded images by row, content remembered."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from probeline.data.label_values import name_labels
from probeline.data.objects.images import as_item
from probeline.data.objects.parts import ObjectPart, number_rows
from probeline.data.pixels.loading import digest_item
from probeline.data.tables.columns import USUAL, fold_name
from probeline.errors import BadData, MissingExtra
from probeline.memo import Memo
from probeline.types import ImageItems

_IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "png", "pixel_values", *USUAL["file_name"])


def import_datasets() -> Any:
    """Return the module ``datasets``; MissingExtra if it is not installed."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("datasets is not installed", remedy="pip install 'probeline[hf]'") from error
    return datasets


def part_of_dataset(part: str, data: Any, columns: Mapping[str, str], memo: Memo | None = None) -> ObjectPart:
    """Return the part of a ``datasets.Dataset``, whose rows keep their order.

    The image column is the one of type Image, else one of paths or encoded bytes with a usual name; the label column
    is the one of type ClassLabel, else one with a usual name. `columns` names others. Content hashes are remembered
    for data that are in Arrow files.

    Raises
    ------
    BadData
        No such column, or several; an image that cannot be read.
    MissingExtra
    """
    image_column = _image_column(data, columns)
    label_column = _label_column(data, columns)
    group_column = columns.get("group")
    encoded = _undecoded(data, image_column)
    lock = threading.Lock()
    names = [f"{part} row {row}" for row in range(len(encoded))]

    def read(row: int) -> bytes | Image.Image:
        with lock:
            return _item(encoded[row][image_column], names[row])

    content = _remembered(encoded, image_column, read, names, memo)
    labels, class_names = [""] * len(encoded), None
    notes = [f"hf: images from column {image_column!r}"]
    if label_column:
        class_names = getattr(data.features[label_column], "names", None)
        where = f"column {label_column!r}"
        labels = name_labels(list(data[label_column]), len(encoded), where, class_names)
        notes[0] += f"; labels from column {label_column!r}"
    groups = [str(value or "") for value in data[group_column]] if group_column else None
    images = ImageItems(read, content, names)
    return ObjectPart(number_rows(part, len(encoded)), images, content, labels, class_names, groups, tuple(notes))


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


def _remembered(data: Any, column: str, read: Any, names: list[str], memo: Memo | None) -> tuple[str, ...]:
    """Return the content digest of each row, from the memo if the Arrow files did not change."""
    files = sorted({Path(file["filename"]) for file in data.cache_files})
    name = f"hf:{data._fingerprint}:{column}"
    known = memo.get(name, files) if memo and files else None
    if isinstance(known, list) and len(known) == len(names):
        return tuple(map(str, known))
    digests = [digest_item(read(row), names[row]) for row in range(len(names))]
    if memo and files:
        memo.put(name, files, digests)
    return tuple(digests)
