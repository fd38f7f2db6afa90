"""A NumPy file of images and labels: ``.npz`` with x and y, or x_train, y_train and so on; or a single ``.npy``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from probeline.data.assemble import RawPart, assemble
from probeline.data.label_values import name_labels, number_labels
from probeline.data.numpy_files import read_numpy
from probeline.data.part_names import first_part, without_part
from probeline.data.pixels.arrays import digest_images, to_rgb
from probeline.data.remembered import Digests, is_sample_right
from probeline.data.source import LoadRequest
from probeline.errors import BadData, MissingData
from probeline.files.reading import is_file, why_unreachable
from probeline.images import ImageArray, Images, PixelArray
from probeline.types import AnyArray, DataSet, IntArray

SPEC = "arrays:FILE.npz"

_KINDS = {
    **dict.fromkeys(("x", "images", "image", "imgs", "data", "pixels", "arr_0"), "images"),
    **dict.fromkeys(("y", "labels", "label", "targets", "target", "classes", "arr_1"), "labels"),
}
_NAMES = ("class_names", "label_names", "names", "classes")


def load(file: str, request: LoadRequest) -> DataSet:
    """Return the data set of a file, with the name ``arrays--`` and the file's name without its extension.

    Images are as :func:`probeline.data.pixels.arrays.to_rgb` takes them; a sample's content hash is that of its pixels.
    Rows keep their order, and are called ``part/000000``. Labels are numbers or text; without, the data set has none.

    Raises
    ------
    MissingData, BadData
    """
    path = Path(os.path.expanduser(file))  # noqa: PTH111 - expanduser of Path raises for an unknown user
    arrays = _read(path)
    names = _class_names(arrays)
    by_part = _by_part(path, arrays)
    notes: dict[str, None] = {}
    raw: dict[str, RawPart] = {}
    pixels = {}
    labels = {}
    for part, keys in by_part.items():
        where = f"{path}, {keys['images']}"
        pixels[part], how = to_rgb(arrays[keys["images"]], where)
        notes.update(dict.fromkeys(f"arrays: {line}" for line in how))
        n = len(pixels[part])
        if "labels" in keys:
            labels[part] = name_labels(arrays[keys["labels"]], n, f"{path}, {keys['labels']}", names)
        else:
            labels[part] = [""] * n
    class_names, numbers = number_labels(labels, path, names)
    for part, images in pixels.items():
        raw[part] = RawPart(
            [f"{part}/{row:06d}" for row in range(len(images))],
            numbers[part],
            partial(load_array, images, remember=partial(_digests, path, part, images, request)),
        )
    return assemble(f"arrays--{path.stem}", raw, class_names, request, notes=list(notes))


def load_array(pixels: PixelArray, rows: IntArray, remember: Any = None) -> tuple[Images, tuple[str, ...]]:
    """Return some rows of images uint8 [N, H, W, 3], and the digest of each."""
    whole = len(rows) == len(pixels)
    chosen = pixels if whole else pixels[rows]
    return ImageArray(chosen), remember() if whole and remember else digest_images(chosen)


def _digests(path: Path, part: str, pixels: PixelArray, request: LoadRequest) -> tuple[str, ...]:
    """Return the digests of all images of a part, from the memo if the file did not change."""
    name = f"arrays:{path.absolute()}:{part}"
    known = request.memo.get(name, [path], Digests)
    if (
        known is not None
        and len(known.sha256) == len(pixels)
        and is_sample_right(request, dict(enumerate(known.sha256)), lambda row: digest_images(pixels[row : row + 1])[0])
    ):
        return known.sha256
    digests = digest_images(pixels)
    request.memo.put(name, [path], Digests(digests))
    return digests


def _read(path: Path) -> dict[str, AnyArray]:
    if not is_file(path):
        raise MissingData(
            "no such file of arrays", where=path, got=why_unreachable(path), remedy="check the path after arrays:"
        )
    try:
        content = read_numpy(path)
        return {"images": content} if isinstance(content, np.ndarray) else content
    except ValueError as error:
        remedy = "save arrays of numbers and text alone" if "pickle" in str(error) else "save it by numpy.savez"
        raise BadData("file is not one of plain NumPy arrays", where=path, got=error, remedy=remedy) from error


def _by_part(path: Path, arrays: Mapping[str, AnyArray]) -> dict[str, dict[str, str]]:
    """Return the keys of images and labels of each part."""
    by_part: dict[str, dict[str, str]] = {}
    for key, array in arrays.items():
        words = key.lower().split("_")
        part = first_part(words) or "all"
        kind = _KINDS.get(without_part(words))
        if kind is None or array.ndim == 0 or _holds_class_names(key, array):
            continue
        if kind in by_part.setdefault(part, {}):
            got = f"{by_part[part][kind]} and {key}"
            raise BadData(f"two arrays of {kind}", where=path, got=got, remedy="save the file with one of them")
        by_part[part][kind] = key
    parts = {part: keys for part, keys in by_part.items() if "images" in keys}
    if not parts or ("all" in parts and len(parts) > 1) or any("images" not in keys for keys in by_part.values()):
        raise BadData(
            "arrays are not recognised",
            where=path,
            expected="x and y, or x_train, y_train, x_test and y_test (also images, data; labels, targets; val)",
            got=", ".join(f"{key} {list(array.shape)}" for key, array in arrays.items())[:200],
            remedy="save it with these names",
        )
    return parts


def _class_names(arrays: Mapping[str, AnyArray]) -> list[str] | None:
    for key, array in arrays.items():
        if _holds_class_names(key, array):
            return [value.decode() if isinstance(value, bytes) else str(value) for value in array.tolist()]
    return None


def _holds_class_names(key: str, array: AnyArray) -> bool:
    return key.lower() in _NAMES and array.ndim == 1 and array.dtype.kind in "US"
