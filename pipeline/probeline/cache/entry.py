"""A cache entry: the embeddings of one part by one frozen net, as shards with records.

cache/README.md specifies the files byte by byte. Nothing is read or written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probeline import disk
from probeline.cache.format.records import BlockRecord, EntryRecord, ListedEntryRecord
from probeline.cache.samples import FILE_NAME, StoredSamples
from probeline.errors import BadCache
from probeline.files.decode import BadRecord, encode
from probeline.files.sample_blocks import ROWS_PER_BLOCK
from probeline.identity import FEATURES_VERSION, FORMAT_VERSION, TOKENS_FORMAT_VERSION, digest
from probeline.images import Sight, sight_from_identity
from probeline.names import PENULTIMATE
from probeline.text import is_printable
from probeline.types import Backbone, Part, samples_digest

ROWS_PER_SHARD = 1024
"""Of vectors, and of tokens whose shards are not larger than `SHARD_BYTES` then."""

SHARD_BYTES = 32 << 20
"""Of a shard of tokens: readers hold some in memory, and shuffle rows of many."""

LISTED_FORMAT_VERSION = 1
"""Of records that list the samples."""

_LONGEST = 200
"""Bytes of the longest folder name that is accepted from a record."""


def key_inputs(part: Part, backbone: Backbone, precision: str, view: Sight | None = None) -> dict[str, Any]:
    """Return all that changes the numbers of an entry, and nothing else: what the key is the digest of."""
    return {
        "features_version": FEATURES_VERSION,
        "backbone": backbone.name,
        "weights_sha256": backbone.weights_sha256,
        "tap": backbone.tap,
        "pooling": backbone.pooling,
        "preprocess": backbone.preprocess.identity(),
        "view": None if view is None else view.identity(),
        "precision": precision,
        **({"dtype": "float16", "tokens": backbone.tokens} if backbone.tokens else {"dtype": "float32"}),
        "samples_sha256": part.samples_sha256,
    }


@dataclass(frozen=True)
class Entry:
    """Where an entry is, and what identifies it.

    `dataset` and `part` are for people and no part of the key, whose fields are `inputs`; the part of a view is
    ``train@view1``. There are `dim` values per row, T x D of T tokens; `content` is the sha256 of the source of each
    row. Of an entry that was opened from its record, the ids and contents are read from the disk when they are used.
    """

    folder: Path
    dataset: str
    part: str
    inputs: Mapping[str, Any]
    tap: str
    dim: int
    sample_ids: Sequence[str]
    content: Sequence[str]
    rows_per_shard: int

    def __len__(self) -> int:
        return len(self.sample_ids)

    @cached_property
    def key(self) -> str:
        """The full key, 64 hexadecimal digits."""
        return digest(self.inputs)

    @property
    def title(self) -> str:
        """Data set, part, backbone and tap, as messages name the entry."""
        at = "" if self.tap == PENULTIMATE else f" at {self.tap}"
        return f"{self.dataset}/{self.part} x {self.inputs['backbone']}{at}"

    @property
    def tokens(self) -> int:
        """T of rows that are tokens [T, D]; 0 of vectors."""
        return int(self.inputs.get("tokens", 0))

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of a row: D, or T and D."""
        return (self.tokens, self.dim // self.tokens) if self.tokens else (self.dim,)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the stored values: float32 of vectors, float16 of tokens."""
        return np.dtype(str(self.inputs["dtype"]))

    @property
    def row_bytes(self) -> int:
        """Bytes of a row's values."""
        return self.dim * self.dtype.itemsize

    @property
    def shape_in_words(self) -> str:
        """The shape of the entry, and the type of its values if it is not float32: ``1,000 x 512``."""
        stored = f" {self.dtype.name}" if self.tokens else ""
        return f"{len(self):,} x {' x '.join(map(str, self.row_shape))}{stored}"

    @property
    def format(self) -> int:
        """The format version of its record."""
        return TOKENS_FORMAT_VERSION if self.tokens else FORMAT_VERSION

    @property
    def view(self) -> Sight | None:
        """How its images were augmented or corrupted; None if they were not."""
        record = self.inputs["view"]
        return None if record is None else sight_from_identity(record)

    @property
    def images(self) -> str:
        """The part whose images these are, augmented or not."""
        return self.part.partition("@")[0]

    @cached_property
    def shards(self) -> tuple[range, ...]:
        """The row range of each shard."""
        n, step = len(self), self.rows_per_shard
        return tuple(range(start, min(start + step, n)) for start in range(0, n, step))

    def shard_path(self, number: int) -> Path:
        """Return the path of a shard's HDF5 file."""
        return self.folder / f"shard-{number:05d}.h5"

    def record_path(self, number: int) -> Path:
        """Return the path of a shard's record."""
        return self.folder / f"shard-{number:05d}.json"

    @property
    def samples_path(self) -> Path:
        """The path of the file of ids and digests."""
        return self.folder / FILE_NAME

    def members(self) -> dict[str, Any]:
        """Return the members of entry.json that every format has."""
        return {
            "dataset": self.dataset,
            "part": self.part,
            "key": self.key,
            "inputs": dict(self.inputs),
            "tap": self.tap,
            "dim": self.dim,
            "rows_per_shard": self.rows_per_shard,
        }

    def record(self, blocks: Iterable[BlockRecord]) -> dict[str, Any]:
        """Return the content of entry.json, given the blocks of the samples' file."""
        return {
            **self.members(),
            "format": self.format,
            "rows": len(self),
            "rows_per_block": ROWS_PER_BLOCK,
            "blocks": [encode(block) for block in blocks],
        }

    def listed_record(self) -> dict[str, Any]:
        """Return the record with its samples in it: the content of entry.json in format 1, and of exported files."""
        samples = [list(pair) for pair in zip(self.sample_ids, self.content, strict=True)]
        return {**self.members(), "format": LISTED_FORMAT_VERSION, "samples": samples}


def locate_entry(cache: Path, part: Part, backbone: Backbone, precision: str, view: Sight | None = None) -> Entry:
    """Return the entry that these embeddings have or will have; nothing is read or written."""
    inputs = key_inputs(part, backbone, precision, view)
    name = part.name if view is None else f"{part.name}@{view.suffix}"
    folder = _folder(cache, part.dataset, backbone.name, backbone.tap, name, digest(inputs))
    rows = _rows_per_shard(backbone)
    return Entry(folder, part.dataset, name, inputs, backbone.tap, backbone.dim, part.sample_ids, part.content, rows)


def _rows_per_shard(backbone: Backbone) -> int:
    """Return the rows of a shard: halved for tokens until a shard has no more than `SHARD_BYTES`."""
    rows = ROWS_PER_SHARD
    while backbone.tokens and rows > 1 and 2 * backbone.dim * rows > SHARD_BYTES:
        rows //= 2
    return rows


def entry_of_rows(entry: Entry, rows: Sequence[int]) -> Entry:
    """Return the entry that some rows of an entry would have as a part of their own; nothing is read or written."""
    sample_ids, content = (tuple(values[row] for row in rows) for values in (entry.sample_ids, entry.content))
    inputs = {**entry.inputs, "samples_sha256": samples_digest(sample_ids, content)}
    folder = entry.folder.with_name(f"{entry.part}-{digest(inputs)[:12]}")
    return replace(entry, folder=folder, inputs=inputs, sample_ids=sample_ids, content=content)


def entry_from_record(folder: Path, record: EntryRecord | ListedEntryRecord) -> Entry:
    """Return the entry that a record describes, or raise BadRecord with where it contradicts itself.

    Samples that are in the record itself are held against its key; those in a file of their own are not read.
    """
    sample_ids: Sequence[str]
    content: Sequence[str]
    if isinstance(record, ListedEntryRecord):
        sample_ids, content = zip(*record.samples, strict=True)
    else:
        stored = StoredSamples(folder / FILE_NAME, record.rows, record.rows_per_block, record.blocks)
        sample_ids, content = stored.sample_ids, stored.content
    names = ("dataset", "part", "inputs", "tap", "dim", "rows_per_shard")
    entry = Entry(
        folder=folder, sample_ids=sample_ids, content=content, **{name: getattr(record, name) for name in names}
    )
    is_listed = isinstance(record, ListedEntryRecord)
    if is_listed and entry.tokens:
        raise BadRecord("inputs.tokens in a record that lists its samples: there is none of tokens")
    version = LISTED_FORMAT_VERSION if is_listed else entry.format
    if record.format != version:
        raise BadRecord(f"format: expected {version}, got {record.format}")
    if record.key != entry.key:
        raise BadRecord("key: expected the digest of inputs")
    if isinstance(record, ListedEntryRecord):
        check_samples(entry)
    return entry


def check_samples(entry: Entry) -> None:
    """Raise BadRecord if the samples of an entry are not those that its key is made of; all of them are read."""
    if len(set(entry.sample_ids)) < len(entry):
        raise BadRecord("sample ids that repeat")
    if entry.inputs["samples_sha256"] != samples_digest(entry.sample_ids, entry.content):
        raise BadRecord("inputs.samples_sha256: expected the digest of samples")


def _folder(cache: Path, dataset: str, backbone: str, tap: str, part: str, key: str) -> Path:
    return cache / dataset / f"{disk.path_name(backbone)}-{disk.path_name(tap)}" / f"{part}-{key[:12]}"


def relocate(entry: Entry, cache: Path) -> Entry:
    """Return an entry as it would be in another cache; BadCache for names of folders that only a forged record has."""
    backbone = entry.inputs["backbone"]
    for name in (entry.dataset, f"{disk.path_name(backbone)}-{disk.path_name(entry.tap)}", entry.part, entry.tap):
        plain = is_printable(name) and not set(name) & {"/", "\\"} and not name.startswith(".")
        if not name or not plain or len(name.encode()) > _LONGEST:
            raise BadCache("a record of the cache names no folder", got=repr(name))
    return replace(entry, folder=_folder(cache, entry.dataset, backbone, entry.tap, entry.part, entry.key))
