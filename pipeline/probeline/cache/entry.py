"""A cache entry: the embeddings of one part by one frozen net, as shards with records.

cache/README.md specifies the files byte by byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from probeline import disk
from probeline.cache import hdf5
from probeline.errors import BadCache, MissingData, OtherFormat
from probeline.identity import FEATURES_VERSION, FORMAT_VERSION, digest, seal, unseal
from probeline.types import Backbone, FeatureSet, FloatArray, IntArray, Part, View, samples_digest

ROWS_PER_SHARD = 1024

_FOLDER = re.compile(r".+-[0-9a-f]{12}")
_FILE = re.compile(r"entry\.json|shard-\d{5,}\.(h5|json)")

_LONGEST = 200
"""Bytes of the longest name of a folder that a record may ask for."""


def key_inputs(part: Part, backbone: Backbone, precision: str, view: View | None = None) -> dict[str, Any]:
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
        "dtype": "float32",
        "samples_sha256": part.samples_sha256,
    }


@dataclass(frozen=True)
class Entry:
    """Where an entry is, and what it must hold to be one.

    Attributes
    ----------
    folder : Path
    dataset, part : str
        For people; not identity. The part of a view is ``train@view1``.
    inputs : mapping
        Of the key.
    tap : str
    dim : int
        D.
    sample_ids, content : tuple of str [N]
        What names each row, and the sha256 of its source.
    rows_per_shard : int
    """

    folder: Path
    dataset: str
    part: str
    inputs: Mapping[str, Any]
    tap: str
    dim: int
    sample_ids: tuple[str, ...]
    content: tuple[str, ...]
    rows_per_shard: int = ROWS_PER_SHARD

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def key(self) -> str:
        """The full key, 64 hexadecimal digits."""
        return digest(self.inputs)

    @property
    def view(self) -> View | None:
        """How its images were augmented; None where they were not."""
        record = self.inputs["view"]
        return None if record is None else View.from_identity(record)

    @property
    def images(self) -> str:
        """The part whose images these are, augmented or not."""
        return self.part.partition("@")[0]

    @property
    def shards(self) -> tuple[range, ...]:
        """The row range of each shard."""
        n, step = len(self), self.rows_per_shard
        return tuple(range(start, min(start + step, n)) for start in range(0, n, step))

    def shard_path(self, number: int) -> Path:
        """Return the path of a shard's HDF5 file; its record has the suffix ``.json``."""
        return self.folder / f"shard-{number:05d}.h5"

    def record(self) -> dict[str, Any]:
        """Return what entry.json holds."""
        return {
            "format": FORMAT_VERSION,
            "dataset": self.dataset,
            "part": self.part,
            "key": self.key,
            "inputs": dict(self.inputs),
            "tap": self.tap,
            "dim": self.dim,
            "rows_per_shard": self.rows_per_shard,
            "samples": [list(pair) for pair in zip(self.sample_ids, self.content, strict=True)],
        }


def locate(cache: Path, part: Part, backbone: Backbone, precision: str, view: View | None = None) -> Entry:
    """Return the entry that these embeddings have or will have; nothing is read or written."""
    inputs = key_inputs(part, backbone, precision, view)
    name = part.name if view is None else f"{part.name}@view{view.number}"
    folder = _folder(cache, part.dataset, backbone.name, backbone.tap, name, digest(inputs))
    return Entry(folder, part.dataset, name, inputs, backbone.tap, backbone.dim, part.sample_ids, part.content)


def from_record(folder: Path, record: Mapping[str, Any]) -> Entry | None:
    """Return the entry that a record describes, or None where the record does not agree with itself."""
    try:
        sample_ids, content = zip(*record["samples"], strict=True)
        entry = Entry(
            folder=folder,
            dataset=record["dataset"],
            part=record["part"],
            inputs=record["inputs"],
            tap=record["tap"],
            dim=record["dim"],
            sample_ids=sample_ids,
            content=content,
            rows_per_shard=record["rows_per_shard"],
        )
        agrees = entry.record() == record and entry.inputs["samples_sha256"] == samples_digest(sample_ids, content)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    return entry if agrees and _is_sound(entry) else None


def _is_sound(entry: Entry) -> bool:
    """Say whether a record that agrees with itself has values that an entry can have; a forged one may not."""
    texts = (entry.dataset, entry.part, entry.tap, entry.inputs.get("backbone"), *entry.sample_ids, *entry.content)
    return (
        all(type(number) is int and number > 0 for number in (entry.dim, entry.rows_per_shard))
        and all(isinstance(text, str) for text in texts)
        and entry.inputs.get("tap") == entry.tap
        and len(set(entry.sample_ids)) == len(entry)
        and not any("\0" in name for name in entry.sample_ids)
    )


def open_entry(folder: Path) -> Entry:
    """Return the entry that a folder holds, told from its own record alone.

    Raises
    ------
    MissingData
        There is no record.
    BadCache
        The record is damaged, of another format version, or does not agree with itself.
    """
    path = folder / "entry.json"
    entry = from_record(folder, _read_record(path))
    if entry is None or not folder.name.endswith(f"-{entry.key[:12]}"):
        raise BadCache(
            "a record of the cache does not agree with itself",
            where=path,
            expected="the key of its inputs, in its folder's name too, and the digest of its samples",
            remedy="delete the folder, then run extract again",
        )
    return entry


def entries(cache: Path) -> Iterator[Path]:
    """Yield the folders of a cache that hold an entry or what is left of one, or that cannot be looked into, sorted."""
    for folder in sorted(cache.glob("*/*/*")):
        if _FOLDER.fullmatch(folder.name) and folder.is_dir():
            try:
                if any(_FILE.fullmatch(path.name) for path in folder.iterdir()):
                    yield folder
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError:
                yield folder


def _folder(cache: Path, dataset: str, backbone: str, tap: str, part: str, key: str) -> Path:
    return cache / dataset / f"{disk.path_name(backbone)}-{disk.path_name(tap)}" / f"{part}-{key[:12]}"


def moved(entry: Entry, cache: Path) -> Entry:
    """Return an entry as it would be in another cache.

    Raises
    ------
    BadCache
        Its names are no names of folders, as only a forged record can have them.
    """
    backbone = entry.inputs["backbone"]
    for name in (entry.dataset, f"{disk.path_name(backbone)}-{disk.path_name(entry.tap)}", entry.part, entry.tap):
        # Printable: no control characters, nothing that turns the line around, no half of a character.
        plain = name.isprintable() and not set(name) & {"/", "\\"} and not name.startswith(".")
        if not name or not plain or len(name.encode()) > _LONGEST:
            raise BadCache("a record of the cache names no folder", got=ascii(name)[:100])
    return replace(entry, folder=_folder(cache, entry.dataset, backbone, entry.tap, entry.part, entry.key))


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
    try:
        record = unseal(disk.read(path))
    except FileNotFoundError as error:
        raise MissingData("no cache entry here", where=path.parent, remedy="run extract") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if record is None:
        raise BadCache(
            "a record of the cache is damaged",
            where=path,
            expected="its last member to be the sha256 of the rest",
            remedy="delete it and what it describes, then run extract again",
        )
    if record.get("format") != FORMAT_VERSION:
        raise OtherFormat(
            "the cache is of another format version",
            where=path,
            expected=FORMAT_VERSION,
            got=record.get("format"),
            remedy="use the version of Probeline that wrote it, or another --cache",
        )
    return record


def _unreadable(path: Path, error: OSError) -> BadCache:
    return BadCache(
        "a file of the cache cannot be read",
        where=path,
        got=error.strerror,
        remedy="fix its permissions, or put it aside with verify --repair",
    )


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
    return [number for number in range(len(entry.shards)) if not is_done(entry, number)]


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


def is_done(entry: Entry, number: int) -> bool:
    """Say whether a shard has its record: whether it is left to extract.

    Raises
    ------
    BadCache
        There is a record, and it is not what it must be.
    """
    return _shard_record(entry, number) is not None


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
    data = hdf5.encode(entry.tap, features, entry.sample_ids[rows.start : rows.stop])
    path = entry.shard_path(number)
    # A shard without a record is a dead writer's, or a live one's that is about to lose its name and find
    # the same numbers there; either way only bytes that a record vouches for are ever read.
    if not disk.publish(path, data) and _shard_record(entry, number) is None and disk.read(path) != data:
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
    standing = _shard_record(entry, number)
    if standing is None or hashlib.sha256(disk.read(path)).hexdigest() != standing["file_sha256"]:
        # Where locks do not work, a writer with other bits may have taken one of the two names meanwhile.
        disk.publish(path, data, replace=True)
        disk.publish(path.with_suffix(".json"), seal(record), replace=True)


def _proven_bytes(entry: Entry, number: int) -> tuple[bytes, dict[str, Any]]:
    path = entry.shard_path(number)
    record = _shard_record(entry, number)
    if record is None:
        raise MissingData("the cache entry is incomplete", where=entry.folder, remedy="run extract")
    remedy = f"delete it and {path.with_suffix('.json').name}, then run extract again: only this shard is redone"
    try:
        data = disk.read(path)
    except FileNotFoundError as error:
        remedy = f"delete {path.with_suffix('.json').name}, then run extract again: only this shard is redone"
        raise BadCache("a shard is gone that its record describes", where=path, remedy=remedy) from error
    except OSError as error:
        raise _unreadable(path, error) from error
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


def read_shard(entry: Entry, number: int) -> tuple[FloatArray, dict[str, Any]]:
    """Return the features float32 [rows, D] of one shard, hashed on the very bytes that are decoded, and its record.

    Raises
    ------
    BadCache, MissingData
    """
    rows = entry.shards[number]
    data, record = _proven_bytes(entry, number)
    path = entry.shard_path(number)
    block, sample_ids = hdf5.decode(data, entry.tap, len(rows), entry.dim, path)
    if sample_ids != entry.sample_ids[rows.start : rows.stop] or not np.isfinite(block).all():
        raise BadCache(
            "a shard holds other rows than its entry",
            where=path,
            remedy=f"delete it and {path.with_suffix('.json').name}, then run extract again",
        )
    return block, record


def shard_record(entry: Entry, number: int) -> Mapping[str, Any]:
    """Return what is recorded of a shard: its hash, and under ``provenance`` how it was made.

    Raises
    ------
    BadCache, MissingData
    """
    record = _shard_record(entry, number)
    if record is None:
        raise MissingData("the cache entry is incomplete", where=entry.folder, remedy="run extract")
    return record


def rows_of(entry: Entry, shards: list[int]) -> IntArray:
    """Return the rows int64 [n] that some shards hold."""
    ranges = [np.arange(entry.shards[shard].start, entry.shards[shard].stop, dtype=np.int64) for shard in shards]
    return np.concatenate([np.empty(0, np.int64), *ranges])


def read_rows(entry: Entry, rows: IntArray) -> FloatArray:
    """Return the features float32 [n, D] of some rows; only the shards that hold them are read, each once.

    Raises
    ------
    BadCache, MissingData
    """
    features = np.empty((len(rows), entry.dim), np.float32)
    shards = rows // entry.rows_per_shard
    for number in np.flatnonzero(np.bincount(shards.ravel())).tolist():
        wanted = shards == number
        features[wanted] = read_shard(entry, number)[0][rows[wanted] - number * entry.rows_per_shard]
    return features


def read(entry: Entry) -> FeatureSet:
    """Return the embeddings of a complete entry, each shard hashed on the very bytes that are decoded.

    Raises
    ------
    BadCache, MissingData
    """
    if missing(entry):
        raise MissingData("the cache entry is incomplete", where=entry.folder, remedy="run extract")
    features = np.empty((len(entry), entry.dim), np.float32)
    provenance = []
    for number, rows in enumerate(entry.shards):
        features[rows.start : rows.stop], record = read_shard(entry, number)
        provenance.append(record["provenance"])
    seconds = float(sum(item.get("seconds", 0.0) for item in provenance))
    return FeatureSet(features, entry.sample_ids, entry.key, seconds, tuple(provenance))
