"""Images from Python objects: paths, arrays, Pillow images, encoded bytes, and rows of a map-style data set."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from probeline.console import Silence
from probeline.data.objects.parts import ObjectPart, make_unique, number_rows
from probeline.data.pixels.arrays import digest_images, to_rgb
from probeline.data.pixels.loading import digest_item
from probeline.data.source import LoadRequest, Subset
from probeline.data.sources.folder import hash_files
from probeline.errors import BadData, MissingData
from probeline.files.memo import Memo
from probeline.files.paths import Paths
from probeline.files.reading import IMAGE, read_bytes
from probeline.images import ImageArray, ImageFiles, ImageItems

_IMAGE_KEYS = ("image", "img", "pixel_values", "x")
_LABEL_KEYS = ("label", "labels", "target", "class", "y")


def part_of_paths(paths: Sequence[str | os.PathLike[str]], labels: Sequence[str]) -> ObjectPart:
    """Return the part of some image files in their order; ids are the paths below their common folder.

    Raises
    ------
    MissingData
        Files that do not exist: how many, and the first.
    BadData
        A file that cannot be opened.
    """
    files = tuple(Path(os.path.expanduser(path)) for path in paths)  # noqa: PTH111 - as in sources.folder
    if missing := [path for path in files if not path.is_file()]:
        raise MissingData(
            f"{len(missing):,} of {len(files):,} images do not exist", where=missing[0], remedy="check the paths"
        )
    content = hash_files(files, LoadRequest(Path(), Subset(), Memo(None), Silence()))
    return ObjectPart(make_unique(_below_common_folder(files)), ImageFiles(Paths.of(files), content), content, labels)


def _below_common_folder(files: Sequence[Path]) -> list[str]:
    whole = [os.path.abspath(path) for path in files]  # noqa: PTH100 - links stay
    root = os.path.commonpath([os.path.dirname(path) for path in whole])  # noqa: PTH120
    return [Path(os.path.relpath(path, root)).as_posix() for path in whole]


def part_of_array(part: str, array: Any, labels: Sequence[str]) -> ObjectPart:
    """Return the part of an array of images, as :func:`probeline.data.pixels.arrays.to_rgb` takes them."""
    pixels, how = to_rgb(np.asarray(array), "the array of images")
    notes = tuple(f"array: {line}" for line in how)
    return ObjectPart(number_rows(part, len(pixels)), ImageArray(pixels), digest_images(pixels), labels, notes=notes)


def part_of_items(part: str, read: Callable[[int], Any], labels: Sequence[str]) -> ObjectPart:
    """Return the part of images that `read` returns by row: Pillow images, encoded bytes, paths or arrays.

    Each is read once for its digest, and again when it is needed; one that is different then is an error.

    Raises
    ------
    BadData
        An image that cannot be read.
    """
    lock = threading.Lock()
    of_part = "" if part == "all" else f"{part} "
    names = [f"{of_part}row {row}" for row in range(len(labels))]

    def read_item(row: int) -> bytes | Image.Image:
        with lock:  # such objects need not be safe to read on several threads
            try:
                item = as_item(read(row), names[row])
                if isinstance(item, Image.Image):
                    item.load()
            except (OSError, SyntaxError) as error:  # Pillow's, of a broken file
                remedy = "leave it out, or give a list of paths: files that cannot be read are left out and counted"
                raise BadData("image cannot be read", where=names[row], got=error, remedy=remedy) from error
            return item

    content = tuple(digest_item(read_item(row), name) for row, name in enumerate(names))
    return ObjectPart(number_rows(part, len(labels)), ImageItems(read_item, content, names), content, labels)


def as_item(image: Any, where: object) -> bytes | Image.Image:
    """Return an image as its encoded bytes or as a Pillow image.

    Raises
    ------
    BadData
        It is neither a Pillow image, nor bytes, a path, or pixels as ``to_rgb`` takes them.
    """
    if isinstance(image, bytes | Image.Image):
        return image
    if isinstance(image, str | os.PathLike):
        try:
            return read_bytes(Path(image), IMAGE)
        except OSError as error:
            raise BadData("image cannot be opened", where=image, got=error.strerror) from error
    try:
        array = np.asarray(image)
    except (ValueError, TypeError, RuntimeError):
        array = np.empty(0)
    if array.ndim not in (2, 3) or array.dtype.kind not in "iuf":
        raise BadData(
            "not an image", where=where, expected="a Pillow image, bytes, a path or an array", got=type(image).__name__
        )
    if array.dtype.kind == "f" and array.size and array.max() > 1:
        raise BadData("float pixels above 1", where=where, expected="uint8, or floats in [0, 1]", got=array.max())
    return Image.fromarray(to_rgb(array[None], where)[0][0])


def split_item(item: Any) -> tuple[Any, Any]:
    """Return image and label of one row of a map-style data set; the label is None if it has none."""
    if isinstance(item, Mapping):
        image = next((item[key] for key in _IMAGE_KEYS if key in item), None)
        return image, next((item[key] for key in _LABEL_KEYS if key in item), None)
    if isinstance(item, tuple | list) and len(item) >= 2:
        return item[0], item[1]
    return item, None
