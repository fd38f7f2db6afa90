"""Reading a cache entry: its records, and its shards, each hashed on the very bytes that are decoded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from probeline import disk
from probeline.cache import hdf5
from probeline.cache.entry import Entry, entry_from_record
from probeline.errors import BadCache, MissingData, OtherFormat
from probeline.identity import FORMAT_VERSION, unseal
from probeline.types import FeatureSet, FloatArray, IntArray

_FOLDER = re.compile(r".+-[0-9a-f]{12}")
_FILE = re.compile(r"entry\.json|shard-\d{5,}\.(h5|json)")


def entry_folders(cache: Path) -> Iterator[Path]:
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


def open_entry(folder: Path) -> Entry:
    """Return the entry that a folder holds, read from its own record alone.

    Raises
    ------
    MissingData
        There is no record.
    BadCache
        The record is corrupt, of another format version, or does not agree with itself.
    """
    path = folder / "entry.json"
    entry = entry_from_record(folder, _read_record(path))
    if entry is None or not folder.name.endswith(f"-{entry.key[:12]}"):
        raise BadCache(
            "a record of the cache does not agree with itself",
            where=path,
            expected="the key of its inputs, in its folder's name too, and the digest of its samples",
            remedy="delete the folder, then run extract again",
        )
    return entry


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = unseal(disk.read(path))
    except FileNotFoundError as error:
        raise MissingData("no cache entry here", where=path.parent, remedy="run extract") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if record is None:
        raise BadCache(
            "a record of the cache is corrupt",
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


def check_entry_record(entry: Entry) -> None:
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


def missing_shards(entry: Entry) -> list[int]:
    """Return the numbers of the shards that have no record yet: what is left to extract.

    Raises
    ------
    BadCache
        A record that is there is not what it must be.
    """
    if not (entry.folder / "entry.json").exists():
        return list(range(len(entry.shards)))
    check_entry_record(entry)
    return [number for number in range(len(entry.shards)) if not is_done(entry, number)]


def find_shard_record(entry: Entry, number: int) -> dict[str, Any] | None:
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
    return find_shard_record(entry, number) is not None


def shard_record(entry: Entry, number: int) -> Mapping[str, Any]:
    """Return what is recorded of a shard: its hash, and under ``provenance`` how it was made.

    Raises
    ------
    BadCache, MissingData
    """
    record = find_shard_record(entry, number)
    if record is None:
        raise MissingData("the cache entry is incomplete", where=entry.folder, remedy="run extract")
    return record


def _verified_bytes(entry: Entry, number: int) -> tuple[bytes, dict[str, Any]]:
    path = entry.shard_path(number)
    record = find_shard_record(entry, number)
    if record is None:
        raise MissingData("the cache entry is incomplete", where=entry.folder, remedy="run extract")
    remedy = f"delete it and {path.with_suffix('.json').name}, then run extract again: only this shard is redone"
    try:
        data = disk.read(path)
    except FileNotFoundError as error:
        remedy = f"delete {path.with_suffix('.json').name}, then run extract again: only this shard is redone"
        raise BadCache("a shard is missing that its record describes", where=path, remedy=remedy) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) != record["bytes"] or hashlib.sha256(data).hexdigest() != record["file_sha256"]:
        raise BadCache(
            "a shard is corrupt",
            where=path,
            expected=f"{record['bytes']} bytes of sha256 {record['file_sha256'][:12]}...",
            got=f"{len(data)} bytes of other content",
            remedy=remedy,
        )
    return data, record


def verify_entry(entry: Entry) -> int:
    """Check every record and hash every shard of a complete entry; return the number of bytes hashed.

    Raises
    ------
    BadCache, MissingData
    """
    check_entry_record(entry)
    return sum(len(_verified_bytes(entry, number)[0]) for number in range(len(entry.shards)))


def read_shard(entry: Entry, number: int) -> tuple[FloatArray, dict[str, Any]]:
    """Return the features float32 [rows, D] of one shard, hashed on the very bytes that are decoded, and its record.

    Raises
    ------
    BadCache, MissingData
    """
    rows = entry.shards[number]
    data, record = _verified_bytes(entry, number)
    path = entry.shard_path(number)
    block, sample_ids = hdf5.decode(data, entry.tap, len(rows), entry.dim, path)
    if sample_ids != entry.sample_ids[rows.start : rows.stop] or not np.isfinite(block).all():
        raise BadCache(
            "a shard holds other rows than its entry",
            where=path,
            remedy=f"delete it and {path.with_suffix('.json').name}, then run extract again",
        )
    return block, record


def shard_rows(entry: Entry, shards: list[int]) -> IntArray:
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


def read_features(entry: Entry) -> FeatureSet:
    """Return the embeddings of a complete entry, each shard hashed on the very bytes that are decoded.

    Raises
    ------
    BadCache, MissingData
    """
    if missing_shards(entry):
        raise MissingData("the cache entry is incomplete", where=entry.folder, remedy="run extract")
    features = np.empty((len(entry), entry.dim), np.float32)
    provenance = []
    for number, rows in enumerate(entry.shards):
        features[rows.start : rows.stop], record = read_shard(entry, number)
        provenance.append(record["provenance"])
    seconds = float(sum(item.get("seconds", 0.0) for item in provenance))
    return FeatureSet(features, entry.sample_ids, entry.key, seconds, tuple(provenance))
