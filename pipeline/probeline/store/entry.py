"""A cache entry: the embeddings of one part by one frozen net, as shards with records.

cache/README.md specifies the files byte by byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probeline import disk
from probeline.errors import BadCache, MissingData
from probeline.identity import FEATURES_VERSION, FORMAT_VERSION, digest, seal, unseal
from probeline.records import Backbone, FeatureSet, FloatArray, Part
from probeline.store import hdf5

ROWS_PER_SHARD = 1024


def key_inputs(part: Part, backbone: Backbone, precision: str) -> dict[str, Any]:
    """Return all that changes the numbers of an entry, and nothing else: what the key is the digest of."""
    return {
        "features_version": FEATURES_VERSION,
        "backbone": backbone.name,
        "weights_sha256": backbone.weights_sha256,
        "tap": backbone.tap,
        "pooling": backbone.pooling,
        "preprocess": backbone.preprocess.identity(),
        "view": None,
        "precision": precision,
        "dtype": "float32",
        "samples_sha256": part.samples_sha256,
    }


@dataclass(frozen=True)
class Entry:
    """Where an entry is, and what it must hold to be one.

    Attributes
    ----------
    folder : Path
    part : Part
    inputs : mapping
        Of the key.
    tap : str
    dim : int
        D.
    rows_per_shard : int
    """

    folder: Path
    part: Part
    inputs: Mapping[str, Any]
    tap: str
    dim: int
    rows_per_shard: int = ROWS_PER_SHARD

    @property
    def key(self) -> str:
        """The full key, 64 hexadecimal digits."""
        return digest(self.inputs)

    @property
    def shards(self) -> tuple[range, ...]:
        """The row range of each shard."""
        n, step = len(self.part), self.rows_per_shard
        return tuple(range(start, min(start + step, n)) for start in range(0, n, step))

    def shard_path(self, number: int) -> Path:
        """Return the path of a shard's HDF5 file; its record has the suffix ``.json``."""
        return self.folder / f"shard-{number:05d}.h5"

    def record(self) -> dict[str, Any]:
        """Return what entry.json holds."""
        return {
            "format": FORMAT_VERSION,
            "dataset": self.part.dataset,
            "part": self.part.name,
            "key": self.key,
            "inputs": dict(self.inputs),
            "tap": self.tap,
            "dim": self.dim,
            "rows_per_shard": self.rows_per_shard,
            "samples": [list(pair) for pair in zip(self.part.sample_ids, self.part.content, strict=True)],
        }


def locate(cache: Path, part: Part, backbone: Backbone, precision: str) -> Entry:
    """Return the entry that these embeddings have or will have; nothing is read or written."""
    inputs = key_inputs(part, backbone, precision)
    folder = cache / part.dataset / f"{backbone.slug}-{backbone.tap}" / f"{part.name}-{digest(inputs)[:12]}"
    return Entry(folder, part, inputs, backbone.tap, backbone.dim)


def begin(entry: Entry) -> None:
    """Write entry.json where there is none.

    Raises
    ------
    BadCache, CannotWrite
    """
    disk.make_folder(entry.folder)
    disk.publish(entry.folder / "entry.json", seal(entry.record()))
    _check_entry_file(entry)


def _read_record(path: Path) -> dict[str, Any]:
    record = unseal(path.read_bytes())
    if record is None:
        raise BadCache(
            "a record of the cache is damaged",
            where=path,
            expected="its last member to be the sha256 of the rest",
            remedy="delete it and what it describes, then run extract again",
        )
    if record.get("format") != FORMAT_VERSION:
        raise BadCache(
            "the cache is of another format version",
            where=path,
            expected=FORMAT_VERSION,
            got=record.get("format"),
            remedy="use the version of Probeline that wrote it, or another --cache",
        )
    return record


def _check_entry_file(entry: Entry) -> None:
    path = entry.folder / "entry.json"
    record = _read_record(path)
    if record != entry.record():
        differing = next((name for name, value in entry.record().items() if record.get(name) != value), "fields")
        raise BadCache(
            "the cache entry is not the one its folder's name says",
            where=path,
            expected=f"{differing} of key {entry.key[:12]}",
            remedy="delete the folder, then run extract again",
        )


def missing(entry: Entry) -> list[int]:
    """Return the numbers of the shards that have no record yet: what is left to extract.

    Raises
    ------
    BadCache
        A record that is there is not what it must be.
    """
    if not (entry.folder / "entry.json").exists():
        return list(range(len(entry.shards)))
    _check_entry_file(entry)
    return [number for number in range(len(entry.shards)) if _shard_record(entry, number) is None]


def _shard_record(entry: Entry, number: int) -> dict[str, Any] | None:
    path = entry.shard_path(number).with_suffix(".json")
    if not path.exists():
        return None
    record = _read_record(path)
    rows = entry.shards[number]
    if (record.get("key"), record.get("shard"), record.get("rows")) != (entry.key, number, [rows.start, rows.stop]):
        raise BadCache(
            "a shard's record belongs elsewhere",
            where=path,
            expected=f"shard {number} of key {entry.key[:12]}",
            remedy="delete it and its shard, then run extract again",
        )
    return record


def write_shard(entry: Entry, number: int, features: FloatArray, provenance: Mapping[str, Any]) -> None:
    """Publish one shard, then its record. Writing a shard that another process wrote first is harmless.

    Parameters
    ----------
    entry : Entry
    number : int
    features : float32 [rows, D]
        Of the shard's row range.
    provenance : mapping
        JSON values: device, versions, seconds and the like.

    Raises
    ------
    ValueError
        Features of another shape, or not finite.
    CannotWrite
    """
    rows = entry.shards[number]
    if features.shape != (len(rows), entry.dim) or not np.isfinite(features).all():
        raise ValueError(f"shard {number} needs finite features [{len(rows)}, {entry.dim}], not {features.shape}")
    data = hdf5.encode(entry.tap, features, entry.part.sample_ids[rows.start : rows.stop])
    path = entry.shard_path(number)
    # A shard without a record is a dead writer's, or a live one's that is about to lose its name and find
    # the same numbers there; either way only bytes that a record vouches for are ever read.
    if not disk.publish(path, data) and _shard_record(entry, number) is None and path.read_bytes() != data:
        disk.publish(path, data, replace=True)
    record = {
        "format": FORMAT_VERSION,
        "key": entry.key,
        "shard": number,
        "rows": [rows.start, rows.stop],
        "bytes": len(data),
        "file_sha256": hashlib.sha256(data).hexdigest(),
        "provenance": dict(provenance),
    }
    disk.publish(path.with_suffix(".json"), seal(record))


def _proven_bytes(entry: Entry, number: int) -> tuple[bytes, dict[str, Any]]:
    path = entry.shard_path(number)
    record = _shard_record(entry, number)
    if record is None:
        raise MissingData("the cache entry is incomplete", where=entry.folder, remedy="run extract")
    remedy = f"delete it and {path.with_suffix('.json').name}, then run extract again: only this shard is redone"
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BadCache("a shard is gone that its record describes", where=path, remedy=remedy) from error
    if len(data) != record["bytes"] or hashlib.sha256(data).hexdigest() != record["file_sha256"]:
        raise BadCache(
            "a shard is damaged",
            where=path,
            expected=f"{record['bytes']} bytes of sha256 {record['file_sha256'][:12]}...",
            got=f"{len(data)} bytes of other content",
            remedy=remedy,
        )
    return data, record


def prove(entry: Entry) -> int:
    """Check every record and hash every shard of a complete entry; return the number of bytes hashed.

    Raises
    ------
    BadCache, MissingData
    """
    _check_entry_file(entry)
    return sum(len(_proven_bytes(entry, number)[0]) for number in range(len(entry.shards)))


def read(entry: Entry) -> FeatureSet:
    """Return the embeddings of a complete entry, each shard hashed on the very bytes that are decoded.

    Raises
    ------
    BadCache, MissingData
    """
    if missing(entry):
        raise MissingData("the cache entry is incomplete", where=entry.folder, remedy="run extract")
    features = np.empty((len(entry.part), entry.dim), np.float32)
    provenance = []
    for number, rows in enumerate(entry.shards):
        data, record = _proven_bytes(entry, number)
        path = entry.shard_path(number)
        block, sample_ids = hdf5.decode(data, entry.tap, len(rows), entry.dim, path)
        if sample_ids != entry.part.sample_ids[rows.start : rows.stop] or not np.isfinite(block).all():
            raise BadCache("a shard holds other rows than its entry", where=path, remedy="delete the entry's folder")
        features[rows.start : rows.stop] = block
        provenance.append(record["provenance"])
    seconds = float(sum(item.get("seconds", 0.0) for item in provenance))
    return FeatureSet(features, entry.part.sample_ids, entry.key, seconds, tuple(provenance))
