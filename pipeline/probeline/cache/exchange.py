"""An entry as one file for other machines, and back: everything in it is verified against its manifest."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from probeline import disk
from probeline.cache import hdf5
from probeline.cache import untrusted as foreign
from probeline.cache.entry import ROWS_PER_SHARD, Entry, entry_from_record, relocate
from probeline.cache.locks import ShardLocks
from probeline.cache.reading import missing_shards, read_shard
from probeline.cache.writing import write_entry, write_shard
from probeline.errors import BadCache, BadData, BadOption, MissingData
from probeline.identity import FORMAT_VERSION, digest_bytes, seal, unseal
from probeline.types import FloatArray

SECONDS = 120
"""How long a process may take to read a foreign file."""

_MOST_SECONDS = 1e12
"""More than any shard took; what is told of one is added up later."""


def export_entry(entry: Entry, path: Path) -> str:
    """Write an entry, every shard verified, as one HDF5 file and return the file's sha256.

    Raises
    ------
    MissingData
        The entry is not complete.
    BadOption
        There is a folder of this name.
    BadData
        There is another file of this name.
    BadCache, CannotWrite
    """
    if path.is_dir():
        raise BadOption("this is a folder", where=path, remedy="name the file in it that is to be written")
    if missing := missing_shards(entry):
        raise MissingData(
            f"features are not extracted yet ({len(missing)} of {len(entry.shards)} shards are missing)",
            where=entry.folder,
            remedy="run extract, then export again",
        )
    features = np.empty((len(entry), entry.dim), np.float32)
    shards = []
    for number, rows in enumerate(entry.shards):
        block, record = read_shard(entry, number)
        features[rows.start : rows.stop] = block
        shards.append({"features_sha256": digest_bytes(block.tobytes()), "provenance": record["provenance"]})
    manifest = seal({"format": FORMAT_VERSION, "entry": entry.record(), "shards": shards})
    data = hdf5.encode_export(entry.tap, features, entry.sample_ids, entry.content, manifest)
    disk.make_folder(path.absolute().parent)
    if not disk.publish(path, data) and disk.read(path) != data:
        raise BadData("another file has this name", where=path, remedy="choose another name")
    return digest_bytes(data)


def import_entry(path: Path, cache: Path, sha256: str | None = None) -> tuple[Entry, int]:
    """Write what an exported file holds into a cache, every row verified; return the entry and how many shards are new.

    Shards that are cached already are verified and kept. Without the file's sha256 it is read by a process of its own,
    with limited memory and time.

    Parameters
    ----------
    path : Path
    cache : Path
    sha256 : str, optional
        Of the file, as given by its sender.

    Raises
    ------
    MissingData
        There is no such file.
    BadCache
        The file is not the one, or does not prove itself: nothing is written. Or a cached shard is corrupt.
    CannotWrite
    """
    if not path.is_file():
        raise MissingData("no such file", where=path, remedy="name a file that cache export wrote")
    manifest, features = _read_unknown(path) if sha256 is None else _read_known(path, sha256)
    record = _record(manifest)
    if record is None or record.get("format") != FORMAT_VERSION:
        raise _not_an_export(path, "a manifest that its seal does not prove, or of another version")
    sent = entry_from_record(path, record["entry"]) if isinstance(record.get("entry"), dict) else None
    if sent is None:
        raise _not_an_export(path, "an entry's record that does not agree with itself")
    if sent.rows_per_shard != ROWS_PER_SHARD:
        raise _not_an_export(path, f"shards of {sent.rows_per_shard} rows, not {ROWS_PER_SHARD}")
    entry = relocate(sent, cache)
    shards = record.get("shards")
    if features.shape != (len(entry), entry.dim) or not isinstance(shards, list) or len(shards) != len(entry.shards):
        raise _not_an_export(path, f"features {features.shape}")
    for rows, shard in zip(entry.shards, shards, strict=True):
        block = features[rows.start : rows.stop]
        record_of_shard = shard if isinstance(shard, dict) and _is_provenance(shard.get("provenance")) else {}
        if record_of_shard.get("features_sha256") != digest_bytes(block.tobytes()) or not np.isfinite(block).all():
            raise _not_an_export(path, f"other values in rows {rows.start} to {rows.stop - 1}")
    new = missing_shards(entry)
    for number in set(range(len(entry.shards))).difference(new):
        read_shard(entry, number)
    write_entry(entry)
    return entry, _fill(entry, new, features, [shard["provenance"] for shard in shards])


def _fill(entry: Entry, new: list[int], features: FloatArray, provenance: list[dict[str, Any]]) -> int:
    """Write shards that are missing, but for those that other processes extract meanwhile; return how many."""
    written = 0
    with ShardLocks(entry, new) as locks:
        while locks.are_pending:
            for number in locks.lock_all():
                rows = entry.shards[number]
                imported = {**provenance[number], "imported": True}
                write_shard(entry, number, features[rows.start : rows.stop], imported)
                locks.release(number)
                written += 1
            locks.wait()
    return written


def _record(manifest: bytes) -> dict[str, Any] | None:
    """Return the record of a manifest, or None where :func:`export_entry` would not have written these bytes."""
    try:
        record = unseal(manifest)
        return record if record is not None and seal(record) == manifest else None
    except (ValueError, RecursionError):  # numbers that are not finite, or a depth that is no record's
        return None


def _is_provenance(value: object) -> bool:
    seconds = value.get("seconds", 0.0) if isinstance(value, dict) else None
    return isinstance(seconds, int | float) and 0 <= seconds < _MOST_SECONDS


def _read_known(path: Path, sha256: str) -> tuple[bytes, FloatArray]:
    data = path.read_bytes()
    if digest_bytes(data) != sha256.lower():
        raise BadCache(
            "this is not the file that was sent",
            where=path,
            expected=f"sha256 {sha256}",
            got=digest_bytes(data),
            remedy="fetch it again",
        )
    try:
        return hdf5.decode_export(data)
    except ValueError as error:
        raise _not_an_export(path, str(error)) from error


def _read_unknown(path: Path) -> tuple[bytes, FloatArray]:
    """Read a file in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        code = f"import sys; sys.path[:0] = {sys.path!r}; from probeline.cache.untrusted import main; main()"
        command = [sys.executable, "-I", "-c", code, str(path.absolute()), folder]
        # One thread: on a machine of many cores the stacks of a thread each would use up the memory it may have.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, env=environment)  # noqa: S603
        except subprocess.TimeoutExpired as error:
            raise _not_an_export(path, f"a file that takes more than {SECONDS} s to read") from error
        if done.returncode == foreign.REFUSED:
            raise _not_an_export(path, done.stderr.decode("utf-8", "replace").strip() or "what cannot be read")
        if done.returncode:
            raise _not_an_export(path, f"a file that ends its reader (exit code {done.returncode})")
        return foreign.collect(Path(folder))


def _not_an_export(path: Path, got: str) -> BadCache:
    return BadCache(
        "this file cannot be trusted as an entry",
        where=path,
        expected="a file that cache export wrote",
        got=got,
        remedy="fetch it again, or extract the embeddings here; nothing was written",
    )
