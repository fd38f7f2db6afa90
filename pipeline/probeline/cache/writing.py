"""Writing a cache entry: its record, and its shards with theirs, each published whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probeline import disk
from probeline.cache.entry import Entry
from probeline.cache.format.layout import mark
from probeline.cache.format.records import BlockRecord, ShardRecord
from probeline.cache.reading import (
    check_entry_record,
    entry_folders,
    find_shard_record,
    is_current,
    open_entry,
    unreadable,
)
from probeline.cache.samples import encode_blocks
from probeline.errors import BadOption, NewerFormat, ProbelineError
from probeline.files.decode import encode
from probeline.files.reading import SAMPLES, SHARD, check, open_file, read_bytes
from probeline.identity import SHARD_FORMAT_VERSION, digest_bytes, seal
from probeline.types import AnyArray, AnyFloatArray


def write_entry(entry: Entry) -> None:
    """Write the samples and the record of an entry if they are missing, and the marker of the cache if it has none."""
    disk.make_folder(entry.folder)
    path = entry.folder / "entry.json"
    if not path.exists():
        disk.publish(path, seal(entry.record(_write_samples(entry))))
    check_entry_record(entry)
    mark(entry.folder.parents[2])


def upgrade_entries(cache: Path, warn: Callable[[str], None], *, dry_run: bool = False) -> Iterator[Path]:
    """Give the entries of earlier formats the record of the current one; yield their folders.

    An entry of a newer version is passed over, and one that cannot be opened with a warning.
    """
    for folder in entry_folders(cache):
        try:
            entry = open_entry(folder)
            if is_current(folder):
                continue
            if not dry_run:
                record = entry.record(_write_samples(entry))
                disk.publish(folder / "entry.json", seal(record), replace=True)
        except NewerFormat:
            continue
        except ProbelineError as error:
            warn(f"not upgraded: {error}")
            continue
        yield folder


def _write_samples(entry: Entry) -> list[BlockRecord]:
    """Write the file of ids and digests if it is missing, and return its blocks."""
    blocks: list[BlockRecord] = []

    def encoded() -> Iterator[bytes]:
        blocks.clear()
        for data in encode_blocks(entry.sample_ids, entry.content):
            blocks.append(BlockRecord(len(data), digest_bytes(data)))
            yield data

    # Without a record, a file of this name is of a writer that died, or that still runs and writes the same bytes.
    if not disk.publish(entry.samples_path, encoded()) and not _are_written(entry, blocks):
        disk.publish(entry.samples_path, encoded(), replace=True)
    return blocks


def _are_written(entry: Entry, blocks: list[BlockRecord]) -> bool:
    try:
        if check(entry.samples_path, SAMPLES) != sum(block.bytes for block in blocks):
            return False
        with open_file(entry.samples_path, SAMPLES) as file:
            return all(digest_bytes(file.read(block.bytes)) == block.sha256 for block in blocks)
    except OSError:
        return False


@dataclass(frozen=True)
class EncodedShard:
    """The bytes of a shard's file and of its record."""

    data: bytes
    record: bytes


def write_shard(entry: Entry, number: int, features: AnyFloatArray, provenance: Mapping[str, Any]) -> None:
    """Publish one shard, features float32 [rows, dim] of its row range, then its record.

    Writing a shard that another process wrote first is harmless. The provenance has JSON values: device, versions,
    seconds and the like. ValueError is raised for features of another shape, or not finite, and BadOption for values
    that the type of the entry cannot hold.
    """
    publish_shard(entry, number, encode_shard(entry, number, features, provenance))


def encode_shard(entry: Entry, number: int, features: AnyFloatArray, provenance: Mapping[str, Any]) -> EncodedShard:
    """Return what :func:`write_shard` publishes."""
    from probeline.cache.format import hdf5

    rows = entry.shards[number]
    if features.shape != (len(rows), entry.dim) or not np.isfinite(features).all():
        raise ValueError(f"shard {number} needs finite features [{len(rows)}, {entry.dim}], not {features.shape}")
    data = hdf5.encode(entry.tap, _as_stored(entry, features), entry.sample_ids[rows.start : rows.stop])
    record = ShardRecord(
        format=SHARD_FORMAT_VERSION,
        key=entry.key,
        shard=number,
        rows=(rows.start, rows.stop),
        bytes=len(data),
        file_sha256=digest_bytes(data),
        provenance=dict(provenance),
    )
    return EncodedShard(data, seal(encode(record)))


def _as_stored(entry: Entry, features: AnyFloatArray) -> AnyArray:
    """Return features [rows, dim] in the shape and type in which they are stored.

    Raises
    ------
    BadOption
        Values of tokens are beyond what float16 holds.
    """
    if not entry.tokens:
        return features
    largest, sizes = np.finfo(entry.dtype).max, np.abs(features)
    if beyond := int((sizes > largest).sum()):
        raise BadOption(
            f"tokens have values that {entry.dtype.name} cannot hold",
            where=entry.title,
            expected=f"at most {largest:,.0f}",
            got=f"{beyond:,} of {features.size:,} values of a shard are beyond, the largest is {sizes.max():.3g}",
            remedy="read another layer, or one vector per image by :mean or :cls, which is stored in float32",
        )
    return features.astype(entry.dtype, copy=False).reshape(-1, *entry.row_shape)


def publish_shard(entry: Entry, number: int, shard: EncodedShard) -> None:
    """Write a shard's file, then its record, unless another process has done so."""
    path, record_path = entry.shard_path(number), entry.record_path(number)
    # A shard without a record is of a writer that died, or that still runs and will find the same numbers under
    # the name; in both cases only bytes that match a record are ever read.
    if (
        not disk.publish(path, shard.data)
        and find_shard_record(entry, number) is None
        and _digest_of(path) != digest_bytes(shard.data)
    ):
        disk.publish(path, shard.data, replace=True)
    disk.publish(record_path, shard.record)
    standing = find_shard_record(entry, number)
    if standing is None or _digest_of(path) != standing.file_sha256:
        # Without working locks, a writer with other bits may have taken one of the two names meanwhile.
        disk.publish(path, shard.data, replace=True)
        disk.publish(record_path, shard.record, replace=True)


def _digest_of(path: Path) -> str | None:
    """Return the sha256 of a shard's file; None if it is missing."""
    try:
        return digest_bytes(read_bytes(path, SHARD))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from error
