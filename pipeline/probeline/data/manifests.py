"""A manifest: the images of a data set as they were listed and hashed once, in one file for every process.

The file is a line of sealed JSON, which has the length and the sha256 of each block of rows, and then these blocks:
ids and digests as in a cache entry, labels, and the paths of the images below one folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Annotated

import numpy as np

from probeline import disk
from probeline.errors import BadData, BadOption, MissingData
from probeline.files.decode import BadRecord, decode, encode
from probeline.files.limits import Length, Name, Positive, Sha256, Within
from probeline.files.paths import Paths
from probeline.files.reading import MANIFEST, is_file, open_file, why_unreachable
from probeline.files.sample_blocks import ROWS_PER_BLOCK, decode_block, decode_texts, encode_block, encode_texts
from probeline.identity import seal, unseal
from probeline.images import ImageFiles
from probeline.types import DROPPED, DataSet, IntArray, Skipped

FORMAT = 1

_LONGEST_LINE = 1 << 30


@dataclass(frozen=True)
class BlockRecord:
    """A block of rows: bytes of its three columns, and the sha256 of all of them."""

    rows: Annotated[int, Within(1, 1 << 24)]
    samples: Positive
    paths: Positive
    sha256: Sha256

    @property
    def bytes(self) -> int:
        """Of all three columns: the labels are of 8 bytes each."""
        return self.samples + 8 * self.rows + self.paths


@dataclass(frozen=True)
class PartRecord:
    """A part of the data set, and its blocks."""

    name: Name
    blocks: Annotated[tuple[BlockRecord, ...], Length(1, 1 << 20)]


@dataclass(frozen=True)
class ManifestRecord:
    """The first line.

    Attributes
    ----------
    place : str
        The file or folder that the data set was named by, whose reports are those of the manifest; empty if none.
    folder : str
        That below which all paths are.
    """

    format: int
    name: Name
    place: str
    folder: str
    class_names: tuple[str, ...]
    flips: bool
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    parts: Annotated[tuple[PartRecord, ...], Length(1, 4)]


@dataclass(frozen=True)
class ListedImages:
    """The images of one part in their order, with labels int64 [N] and the sha256 of each."""

    sample_ids: tuple[str, ...]
    content: tuple[str, ...]
    labels: IntArray
    paths: Paths


@dataclass(frozen=True)
class Manifest:
    """What a manifest says of a data set."""

    record: ManifestRecord
    parts: Mapping[str, ListedImages]


def write_manifest(dataset: DataSet, place: Path | None, path: Path) -> str:
    """Write the manifest of a whole data set, which was named by a file or folder, and return the file's sha256.

    BadOption is raised for images that are not files of their own, and for a name that is taken by something else.
    """
    files = {name: images for name, images in dataset.images.items() if isinstance(images, ImageFiles)}
    if files.keys() != dataset.images.keys():
        raise BadOption(
            "a manifest is of image files",
            where=dataset.name,
            got="images within other files",
            remedy="use the data set as it is: it needs no listing",
        )
    absolute = {name: _absolute(Paths.of(images.paths)) for name, images in files.items()}
    folder = os.path.commonpath({os.path.dirname(path) for paths in absolute.values() for path in paths})  # noqa: PTH120
    below = {name: [path[len(folder) :].lstrip("/") for path in paths] for name, paths in absolute.items()}
    encoded = {name: list(_encode(dataset, name, paths)) for name, paths in below.items()}
    record = ManifestRecord(
        format=FORMAT,
        name=dataset.name,
        place="" if place is None else str(place.absolute()),
        folder=folder.rstrip("/"),
        class_names=dataset.class_names,
        flips=dataset.flips,
        skipped=dataset.skipped,
        notes=dataset.notes,
        parts=tuple(PartRecord(name, tuple(block for block, _ in blocks)) for name, blocks in encoded.items()),
    )
    pieces = [seal(encode(record)), *(data for blocks in encoded.values() for _, data in blocks)]
    disk.make_folder(path.absolute().parent)
    disk.publish(path, pieces, replace=True)
    total = hashlib.sha256()
    for piece in pieces:
        total.update(piece)
    return total.hexdigest()


def _absolute(paths: Paths) -> list[str]:
    return [os.path.abspath(path) for path in paths.texts]  # noqa: PTH100 - a Path for each of a million takes seconds


def _encode(dataset: DataSet, name: str, paths: list[str]) -> Iterator[tuple[BlockRecord, bytes]]:
    part = dataset.parts[name]
    for start in range(0, len(part), ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        samples = encode_block(part.sample_ids[rows], part.content[rows])
        texts = encode_texts(paths[rows])
        data = samples + part.labels[rows].astype("<i8").tobytes() + texts
        yield BlockRecord(len(part.sample_ids[rows]), len(samples), len(texts), hashlib.sha256(data).hexdigest()), data


def read_manifest(path: Path, folder: Path | None = None) -> Manifest:
    """Return what a manifest says, every block hashed; with a folder, the images are below that one.

    Raises
    ------
    MissingData, BadData
    """
    if not is_file(path):
        raise MissingData("no such manifest", where=path, got=why_unreachable(path), remedy="see probeline manifest")
    try:
        with open_file(path, MANIFEST) as file:
            record = _read_record(file)
            size = sum(block.bytes for part in record.parts for block in part.blocks)
            if size != os.fstat(file.fileno()).st_size - file.tell():
                raise BadRecord(f"blocks of {size:,} bytes, which the file does not have")
            top = str(folder or record.folder)
            parts = {part.name: _decode(part, file, top, len(record.class_names)) for part in record.parts}
    except OSError as error:
        raise BadData("the manifest cannot be read", where=path, got=error.strerror) from error
    except BadRecord as error:
        raise BadData(
            "this is no manifest, or a damaged one", where=path, got=str(error), remedy="write it again: see manifest"
        ) from error
    return Manifest(record, parts)


def place_of_manifest(path: Path) -> Path | None:
    """Return the file or folder that the data set of a manifest was named by; None if nothing can be said."""
    with contextlib.suppress(OSError, BadRecord), open_file(path, MANIFEST) as file:
        place = _read_record(file).place
        return Path(place) if place else None
    return None


def _read_record(file: BufferedReader) -> ManifestRecord:
    record = decode(ManifestRecord, unseal(file.readline(_LONGEST_LINE)))
    if record.format != FORMAT:
        raise BadRecord(f"format {record.format}, where {FORMAT} is expected")
    return record


def _decode(part: PartRecord, file: BufferedReader, folder: str, classes: int) -> ListedImages:
    ids: list[str] = []
    content: list[str] = []
    paths: list[str] = []
    labels: list[IntArray] = []
    for number, block in enumerate(part.blocks):
        data = file.read(block.bytes)
        if hashlib.sha256(data).hexdigest() != block.sha256:
            raise BadRecord(f"other bytes in block {number + 1} of {part.name}")
        samples = decode_block(data[: block.samples], block.rows)
        ids += samples.sample_ids(0, block.rows)
        content += samples.content(0, block.rows)
        numbers = np.frombuffer(data, "<i8", block.rows, block.samples).astype(np.int64)
        if numbers.min() < DROPPED or numbers.max() >= max(classes, 0):
            raise BadRecord(f"labels of {part.name} that are none of its {classes:,} classes")
        labels.append(numbers)
        paths += [f"{folder}/{below}" for below in decode_texts(data[block.samples + 8 * block.rows :], block.rows)]
    if len(set(ids)) < len(ids):
        raise BadRecord(f"sample ids of {part.name} that repeat")
    return ListedImages(tuple(ids), tuple(content), np.concatenate(labels), Paths(paths))
