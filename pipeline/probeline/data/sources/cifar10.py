"""CIFAR-10 in either of its official layouts: 50,000 train and 10,000 test images of 32 x 32.

Krizhevsky 2009, "Learning multiple layers of features from tiny images". https://www.cs.toronto.edu/~kriz/cifar.html
publishes the archives with their MD5 sums (binary c32a1d4ab5d03f1284b67883e8d87530, Python
c58f30108f718f92721af3b95e74349a); the sha256 below are of the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from probeline.data.archives.cifar10_pickle import read_pickle
from probeline.data.archives.download import Archive, obtain
from probeline.data.source import LoadRequest
from probeline.errors import BadData, MissingData
from probeline.files.reading import ARRAYS, read_bytes
from probeline.identity import digest_bytes
from probeline.images import ImageArray, PixelArray
from probeline.types import DataSet, IntArray, Part

SPEC = "cifar10"

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

BINARY = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    size=170_052_171,
    folder="cifar-10-batches-bin",
    entries=32,
    unpacked=200_000_000,
)
PYTHON = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    size=170_498_071,
    folder="cifar-10-batches-py",
    entries=32,
    unpacked=200_000_000,
)

RECORDS = 10_000
"""Images in each of the six files."""

_PIXELS = 3 * 32 * 32

_FILES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}


def load(_: str, request: LoadRequest) -> DataSet:
    """Return the data set, with the parts ``train`` and ``test`` in the official order."""
    return load_files(request, RECORDS)


def load_files(request: LoadRequest, records: int) -> DataSet:
    """Return the data set from files of so many images each.

    A sample's content hash is the sha256 of its 3,072 pixel bytes as stored: the planes red, green and blue.

    Raises
    ------
    BadData, MissingData, CannotWrite, DownloadFailed
    """
    subset = request.subset
    folder = obtain((BINARY, PYTHON), request.data, request.console, download=request.download)
    read = _read_binary if folder.name == BINARY.folder else _read_python
    parts, images = {}, {}
    for name, files in _FILES.items():
        labels, planes = _read_part(folder, files, read, records)
        rows = subset.rows(labels, classes=len(CLASS_NAMES))
        if subset.limit is not None:
            labels, planes = labels[rows], planes[rows]
        parts[name] = Part(
            dataset=subset.name("cifar10"),
            name=name,
            sample_ids=tuple(f"{name}/{row:05d}" for row in rows),
            content=tuple(digest_bytes(image.data) for image in planes),
            labels=labels,
            class_names=CLASS_NAMES,
        )
        images[name] = ImageArray(np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)))
    return DataSet(
        name=subset.name("cifar10"), parts=parts, images=images, class_names=CLASS_NAMES, train="train", test="test"
    )


def _read_part(
    folder: Path, files: Sequence[str], read: Callable[[Path, int], tuple[PixelArray, PixelArray]], records: int
) -> tuple[IntArray, PixelArray]:
    """Return labels int64 [N] and pixels uint8 [N, 3072] of the files of a part."""
    labels, planes = [], []
    for file in files:
        path = folder / file
        try:
            file_labels, file_planes = read(path, records)
        except FileNotFoundError as error:
            raise MissingData(
                "file of CIFAR-10 is missing", where=error.filename, remedy=f"remove {folder} and run the command again"
            ) from error
        if file_labels.max() >= len(CLASS_NAMES):
            raise _bad(path, expected="labels from 0 to 9", got=file_labels.max())
        labels.append(file_labels)
        planes.append(file_planes)
    return np.concatenate(labels).astype(np.int64), np.concatenate(planes)


def _read_binary(path: Path, records: int) -> tuple[PixelArray, PixelArray]:
    path = path.with_suffix(".bin")
    values = np.frombuffer(read_bytes(path, ARRAYS), np.uint8)
    if len(values) != records * (1 + _PIXELS):
        raise _bad(path, expected=f"{records * (1 + _PIXELS)} bytes", got=len(values))
    rows = values.reshape(records, 1 + _PIXELS)
    return rows[:, 0], rows[:, 1:]


def _read_python(path: Path, records: int) -> tuple[PixelArray, PixelArray]:
    least, most = records * _PIXELS, 2 * records * _PIXELS
    size = path.stat().st_size
    if not least < size < most:
        raise _bad(path, expected=f"{least} to {most} bytes", got=size)
    try:
        labels, planes = read_pickle(path)
    except ValueError as error:
        raise _bad(path, expected="a batch of CIFAR-10", got=error) from error
    if labels.shape != (records,) or planes.shape != (records, _PIXELS):
        raise _bad(path, expected=f"{records} images", got=f"{len(labels)} labels and pixels {planes.shape}")
    return labels, planes


def _bad(path: Path, *, expected: object, got: object) -> BadData:
    return BadData(
        "file does not hold CIFAR-10",
        where=path,
        expected=expected,
        got=got,
        remedy=f"remove {path.parent} and run the command again",
    )
