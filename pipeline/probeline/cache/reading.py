"""Reading a cache entry: its records, and its shards, each hashed on the bytes that are decoded.

BadCache is raised for whatever is not as its record says, MissingData for records and shards that do not exist.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from probeline.cache.entry import LISTED_FORMAT_VERSION, Entry, entry_from_record
from probeline.cache.format.layout import ENTRY_FILE, FOLDER_NAME
from probeline.cache.format.records import EntryRecord, ListedEntryRecord, ShardRecord
from probeline.cache.samples import verify_samples
from probeline.errors import BadCache, BadOption, MissingData, NewerFormat, OtherFormat, OutOfMemory, ProbelineError
from probeline.files.decode import BadRecord, decode
from probeline.files.levels import folders_at
from probeline.files.reading import ENTRY, SHARD, memory_bytes, read_bytes
from probeline.identity import FORMAT_VERSION, SHARD_FORMAT_VERSION, TOKENS_FORMAT_VERSION, unseal
from probeline.names import TOKENS, reads_tokens
from probeline.types import AnyFloatArray, FeatureSet, IntArray

_MOST_VERSION = 9999
"""A number that a format may have; a message shows no others."""


def entry_folders(cache: Path) -> Iterator[Path]:
    """Yield the folders of a cache that hold an entry or remains of one, or that cannot be read, sorted."""
    for folder in folders_at(cache, 3):
        if FOLDER_NAME.fullmatch(folder.name):
            try:
                if any(ENTRY_FILE.fullmatch(path.name) for path in folder.iterdir()):
                    yield folder
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError:
                yield folder


def open_entry(folder: Path) -> Entry:
    """Return the entry of a folder, read from its own record alone."""
    path = folder / "entry.json"
    try:
        values = read_entry_record(folder)
        is_listed = values["format"] == LISTED_FORMAT_VERSION
        record = decode(ListedEntryRecord, values) if is_listed else decode(EntryRecord, values)
        entry = entry_from_record(folder, record)
    except BadRecord as error:
        raise _contradiction(path, str(error)) from error
    if not folder.name.endswith(f"-{entry.key[:12]}"):
        raise _contradiction(path, f"key {entry.key[:12]}... in another folder")
    return entry


def _contradiction(path: Path, got: str) -> BadCache:
    return BadCache(
        "a record of the cache does not agree with itself",
        where=path,
        expected="the key of its inputs, in its folder's name too, and the digest of its samples",
        got=got,
        remedy="delete the folder, or put the record aside by verify --repair, then run extract again",
    )


def open_entries(folders: Iterable[Path], warn: Callable[[str], None]) -> Iterator[Entry]:
    """Yield the entries of some folders; one that cannot be opened is skipped with a warning."""
    for folder in folders:
        try:
            yield open_entry(folder)
        except ProbelineError as error:
            warn(str(error))


def is_newer(folder: Path) -> bool:
    """Return whether a newer version of this program wrote the entry of a folder, as its record or a shard's says."""
    for name in ("entry.json", *sorted(path.name for path in folder.glob("shard-*.json"))):
        try:
            read_entry_record(folder) if name == "entry.json" else _read_shard_record(folder / name)
        except NewerFormat:
            return True
        except MissingData:
            continue
        except ProbelineError:
            return False
        return False
    return False


def read_entry_record(folder: Path) -> dict[str, Any]:
    """Return the values of an entry's own record, of any format that this version reads; only its seal is checked."""
    return _read_record(folder / "entry.json", (LISTED_FORMAT_VERSION, FORMAT_VERSION, TOKENS_FORMAT_VERSION))


def is_current(folder: Path) -> bool:
    """Return whether the record of an entry is of a current format."""
    return bool(read_entry_record(folder)["format"] != LISTED_FORMAT_VERSION)


def _read_shard_record(path: Path) -> dict[str, Any]:
    return _read_record(path, (SHARD_FORMAT_VERSION,))


def _read_record(path: Path, versions: tuple[int, ...]) -> dict[str, Any]:
    try:
        data = read_bytes(path, ENTRY)
    except FileNotFoundError as error:
        raise MissingData("no cache entry here", where=path.parent, remedy="run extract") from error
    except OSError as error:
        raise unreadable(path, error) from error
    return _unseal_record(data, path, versions)


def _unseal_record(data: bytes, where: object, versions: tuple[int, ...]) -> dict[str, Any]:
    record = unseal(data)
    if record is None:
        raise BadCache(
            "a record of the cache is corrupt",
            where=where,
            expected="its last member to be the sha256 of the rest",
            remedy="delete it and what it describes, then run extract again",
        )
    version = record.get("format")
    if type(version) is int and versions[-1] < version <= _MOST_VERSION:
        raise NewerFormat(
            "this was written by a newer version of Probeline",
            where=where,
            expected=f"format {versions[-1]}",
            got=f"format {version}",
            remedy="update Probeline, or use another --cache",
        )
    if type(version) is not int or version not in versions:
        raise OtherFormat(
            "the cache is of another format version",
            where=where,
            expected=versions[-1],
            got=version if isinstance(version, int | str | None) and len(str(version)) < 10 else type(version).__name__,
            remedy="use the version of Probeline that wrote it, or another --cache",
        )
    return record


def unreadable(path: Path, error: OSError) -> BadCache:
    """Return the error of a file of the cache that the system does not let be read."""
    return BadCache(
        "a file of the cache cannot be read",
        where=path,
        got=error.strerror,
        remedy="fix its permissions or the disk and run again, or put it aside with verify --repair",
    )


def check_entry_record(entry: Entry) -> None:
    """Refuse an entry whose record on disk is another."""
    record = read_entry_record(entry.folder)
    is_listed = record["format"] == LISTED_FORMAT_VERSION
    # In format 2 the samples are proven by the key alone: their digest is in its inputs.
    expected = entry.listed_record() if is_listed else {**entry.members(), "rows": len(entry), "format": entry.format}
    differing = next((name for name, value in expected.items() if record.get(name) != value), None)
    if differing or (is_listed and record.keys() != expected.keys()):
        raise BadCache(
            "the cache entry is not the one its folder's name says",
            where=entry.folder / "entry.json",
            expected=f"{differing or 'fields'} of key {entry.key[:12]}",
            remedy="delete the folder, then run extract again",
        )


def missing_shards(entry: Entry) -> list[int]:
    """Return the numbers of the shards that have no record yet: what is left to extract."""
    if not (entry.folder / "entry.json").exists():
        return list(range(len(entry.shards)))
    check_entry_record(entry)
    return [number for number in range(len(entry.shards)) if not is_done(entry, number)]


def require_complete(entry: Entry, remedy: str) -> None:
    """Refuse an entry of which shards are not extracted yet, with a remedy."""
    if missing := missing_shards(entry):
        raise MissingData(
            f"features are not extracted yet ({len(missing)} of {len(entry.shards)} shards are missing)",
            where=entry.folder,
            remedy=remedy,
        )


def find_shard_record(entry: Entry, number: int) -> ShardRecord | None:
    """Return the record of one shard, or None if it is not extracted yet."""
    path = entry.record_path(number)
    return _check_shard_record(entry, number, _read_shard_record(path), path) if path.exists() else None


def parse_shard_record(entry: Entry, number: int, data: bytes, where: object) -> ShardRecord:
    """Return a shard's record from its bytes; `where` they are from is for messages."""
    return _check_shard_record(entry, number, _unseal_record(data, where, (SHARD_FORMAT_VERSION,)), where)


def _check_shard_record(entry: Entry, number: int, values: dict[str, Any], where: object) -> ShardRecord:
    remedy = "delete it and its shard, or put them aside by verify --repair, then run extract again"
    try:
        record = decode(ShardRecord, values)
    except BadRecord as error:
        raise BadCache("a shard's record cannot be used", where=where, got=str(error), remedy=remedy) from error
    rows = entry.shards[number]
    if (record.key, record.shard, record.rows) != (entry.key, number, (rows.start, rows.stop)):
        raise BadCache(
            "a shard's record belongs elsewhere",
            where=where,
            expected=f"shard {number} of key {entry.key[:12]}",
            remedy=remedy,
        )
    return record


def is_done(entry: Entry, number: int) -> bool:
    """Return whether a shard is extracted: whether it has its record."""
    return find_shard_record(entry, number) is not None


def shard_record(entry: Entry, number: int) -> ShardRecord:
    """Return the record of a shard: its hash, and how it was computed."""
    record = find_shard_record(entry, number)
    if record is None:
        raise MissingData("the cache entry is incomplete", where=entry.folder, remedy="run extract")
    return record


def _verified_bytes(entry: Entry, number: int) -> tuple[bytes, ShardRecord]:
    path, record = entry.shard_path(number), shard_record(entry, number)
    try:
        data = read_bytes(path, SHARD)
    except FileNotFoundError as error:
        raise BadCache(
            "a shard is missing that its record describes",
            where=path,
            remedy=f"delete {entry.record_path(number).name}, then run extract again: only this shard is redone",
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
    _check_bytes(entry, number, data, record, path)
    return data, record


def _check_bytes(entry: Entry, number: int, data: bytes, record: ShardRecord, where: object) -> None:
    if len(data) != record.bytes or hashlib.sha256(data).hexdigest() != record.file_sha256:
        name = entry.record_path(number).name
        raise BadCache(
            "a shard is corrupt",
            where=where,
            expected=f"{record.bytes} bytes of sha256 {record.file_sha256[:12]}...",
            got=f"{len(data)} bytes of other content",
            remedy=f"delete it and {name}, then run extract again: only this shard is redone",
        )


def verify_entry(entry: Entry) -> int:
    """Check every record of a complete entry and hash its samples and shards; return the number of bytes hashed."""
    check_entry_record(entry)
    size = verify_samples(open_entry(entry.folder).sample_ids)
    return size + sum(len(_verified_bytes(entry, number)[0]) for number in range(len(entry.shards)))


def read_shard(entry: Entry, number: int) -> tuple[AnyFloatArray, ShardRecord]:
    """Return the features [rows, dim] of one shard in the entry's type, and its record."""
    data, record = _verified_bytes(entry, number)
    return _decode_shard(entry, number, data, entry.shard_path(number)), record


def check_shard(entry: Entry, number: int, data: bytes, record: ShardRecord, where: object) -> None:
    """Refuse bytes of a shard's file that are not those of its record, or hold other rows than the entry's."""
    _check_bytes(entry, number, data, record, where)
    _decode_shard(entry, number, data, where)


def _decode_shard(entry: Entry, number: int, data: bytes, where: object) -> AnyFloatArray:
    from probeline.cache.format import hdf5  # not needed for entries that are only checked

    rows = entry.shards[number]
    block, sample_ids = hdf5.decode(data, entry.tap, len(rows), entry.dim, where, entry.tokens)
    if sample_ids != tuple(entry.sample_ids[rows.start : rows.stop]) or not np.isfinite(block).all():
        raise BadCache(
            "a shard holds other rows than its entry",
            where=where,
            remedy=f"delete it and {entry.record_path(number).name}, then run extract again",
        )
    return block.reshape(len(rows), entry.dim)


def shard_rows(entry: Entry, shards: list[int]) -> IntArray:
    """Return the rows int64 [n] that some shards hold."""
    ranges = [np.arange(entry.shards[shard].start, entry.shards[shard].stop, dtype=np.int64) for shard in shards]
    return np.concatenate([np.empty(0, np.int64), *ranges])


def split_by_shard(entry: Entry, rows: IntArray) -> Iterator[tuple[int, IntArray]]:
    """Yield the shards that hold some rows, int64 [n] ascending, each with its rows."""
    starts = np.arange(0, len(entry) + entry.rows_per_shard, entry.rows_per_shard)
    bounds = np.searchsorted(rows, starts)
    for number in np.flatnonzero(np.diff(bounds)).tolist():
        yield number, rows[bounds[number] : bounds[number + 1]]


def gather_rows(entry: Entry, rows: IntArray, block: Callable[[int], AnyFloatArray]) -> AnyFloatArray:
    """Return the features [..., dim] of some rows in the entry's type; `block` gives those of one shard."""
    features = new_rows(entry, rows.shape)
    order = np.argsort(rows, axis=None)
    done, target = 0, features.reshape(-1, entry.dim)
    for number, here in split_by_shard(entry, rows.reshape(-1)[order]):
        target[order[done : done + len(here)]] = block(number)[here - number * entry.rows_per_shard]
        done += len(here)
    return features


def read_rows(entry: Entry, rows: IntArray) -> AnyFloatArray:
    """Return the features [n, dim] of some rows in the entry's type; only the shards that hold them are read."""
    return gather_rows(entry, rows, lambda number: read_shard(entry, number)[0])


def new_rows(entry: Entry, shape: tuple[int, ...]) -> AnyFloatArray:
    """Return an array [..., dim] of the entry's type for its rows; OutOfMemory if the machine has too little for it."""
    size = math.prod(shape) * entry.row_bytes
    if size > memory_bytes():
        raise OutOfMemory(
            "these rows do not fit into memory at once",
            where=entry.folder,
            expected=f"at most {memory_bytes():,} bytes",
            got=f"{size:,}",
            remedy="read some rows at a time, or use a machine with more",
        )
    return np.empty((*shape, entry.dim), entry.dtype)


def read_features(entry: Entry, remedy: str = "run extract") -> FeatureSet:
    """Return the embeddings of an entry; the remedy is for one that is not complete.

    Raises
    ------
    BadOption
        Its rows are tokens and no vectors.
    """
    require_vectors(entry.tap)
    require_complete(entry, remedy)
    features = new_rows(entry, (len(entry),))
    provenance = []
    for number, rows in enumerate(entry.shards):
        features[rows.start : rows.stop], record = read_shard(entry, number)
        provenance.append(record.provenance)
    return FeatureSet(features, entry.sample_ids, entry.key, _total_seconds(provenance), tuple(provenance))


def extraction_seconds(entry: Entry) -> float:
    """Return the seconds in which an entry was extracted, from the records of its shards."""
    return _total_seconds([shard_record(entry, number).provenance for number in range(len(entry.shards))])


def _total_seconds(provenance: Iterable[Mapping[str, Any]]) -> float:
    return float(sum(item.get("seconds", 0.0) for item in provenance))


def require_vectors(tap: str) -> None:
    """Raise BadOption for a tap whose rows are tokens, which only an attentive probe reads."""
    if reads_tokens(tap):
        module = tap.removesuffix(TOKENS)
        raise BadOption(
            "the rows of this --tap are tokens and no vectors",
            where=tap,
            expected=f"{module}:mean or {module}:cls of tokens, {module} of a map",
            remedy="read tokens by probeline probe --attentive, or in Python by probeline.open_features",
        )
