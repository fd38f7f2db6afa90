"""An entry as one file for other machines, and back: everything in it is verified against its manifest.

A file of unknown sha256 is read by a process of its own that may die: :func:`read_foreign` is its program.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from probeline import disk
from probeline.cache.entry import ROWS_PER_SHARD, Entry, entry_from_record, relocate
from probeline.cache.format import hdf5
from probeline.cache.format.records import ExportedShard, Manifest, check_provenance
from probeline.cache.locks import ShardLocks
from probeline.cache.reading import missing_shards, read_features, read_shard
from probeline.cache.writing import write_entry, write_shard
from probeline.errors import BadCache, BadData, BadOption, MissingData
from probeline.files.decode import BadRecord, decode, encode
from probeline.files.reading import ARRAYS, check, is_file, read_bytes, why_unreachable
from probeline.identity import EXPORT_FORMAT_VERSION, digest_bytes, seal, unseal
from probeline.types import FloatArray

SECONDS = 120
"""How long a process may take to read a foreign file."""

_REFUSED = 7
"""Exit code of a reading process that printed why it refuses the file."""

_CPU_SECONDS = 100
_SPARE_BYTES = 2 << 30
"""Memory for the interpreter and its libraries, on top of a few times the file."""


def export_entry(entry: Entry, path: Path) -> str:
    """Write an entry, every shard verified, as one HDF5 file and return the file's sha256."""
    if path.is_dir():
        raise BadOption("this is a folder", where=path, remedy="name the file in it that is to be written")
    if entry.tokens:
        remedy = "share them by extract --store, or copy the folder of the entry and run verify there"
        raise BadOption("tokens are not exported as one file", where=entry.folder, remedy=remedy)
    stored = read_features(entry, "run extract, then export again")
    hashes = [digest_bytes(stored.features[rows.start : rows.stop].tobytes()) for rows in entry.shards]
    shards = [encode(ExportedShard(*pair)) for pair in zip(hashes, stored.provenance, strict=True)]
    manifest = seal({"format": EXPORT_FORMAT_VERSION, "entry": entry.listed_record(), "shards": shards})
    data = hdf5.encode_export(entry.tap, stored.features, entry.sample_ids, entry.content, manifest)
    disk.make_folder(path.absolute().parent)
    if not disk.publish(path, data) and read_bytes(path, ARRAYS) != data:
        raise BadData("another file has this name", where=path, remedy="choose another name")
    return digest_bytes(data)


def import_entry(path: Path, cache: Path, sha256: str | None = None) -> tuple[Entry, int]:
    """Write an exported file into a cache, every row verified; return the entry and how many shards are new.

    Shards that are cached already are verified and kept. Without the file's sha256, as given by its sender, it is read
    by a process of its own with limited memory and time. Nothing is written of a file that is refused.
    """
    if not is_file(path):
        raise MissingData(
            "no such file", where=path, got=why_unreachable(path), remedy="name a file that cache export wrote"
        )
    manifest, features = _read_unknown(path) if sha256 is None else _read_known(path, sha256)
    record = _record(manifest, path)
    try:
        sent = entry_from_record(path, record.entry)
    except BadRecord as error:
        raise _not_an_export(path, f"an entry's record that does not agree with itself: {error}") from error
    if sent.rows_per_shard != ROWS_PER_SHARD:
        raise _not_an_export(path, f"shards of {sent.rows_per_shard} rows, not {ROWS_PER_SHARD}")
    entry = relocate(sent, cache)
    if features.shape != (len(entry), entry.dim) or len(record.shards) != len(entry.shards):
        raise _not_an_export(path, f"features {features.shape} in {len(record.shards)} shards")
    for rows, shard in zip(entry.shards, record.shards, strict=True):
        block = features[rows.start : rows.stop]
        if shard.features_sha256 != digest_bytes(block.tobytes()) or not np.isfinite(block).all():
            raise _not_an_export(path, f"other values in rows {rows.start} to {rows.stop - 1}")
        try:
            check_provenance(shard.provenance, len(rows))
        except ValueError as error:
            raise _not_an_export(path, f"{error}, in rows {rows.start} to {rows.stop - 1}") from error
    new = missing_shards(entry)
    for number in set(range(len(entry.shards))).difference(new):
        read_shard(entry, number)
    write_entry(entry)
    return entry, _fill(entry, new, features, [shard.provenance for shard in record.shards])


def _fill(entry: Entry, new: list[int], features: FloatArray, provenance: list[Mapping[str, Any]]) -> int:
    """Write the missing shards, except those that other processes extract meanwhile; return how many."""
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


def _record(manifest: bytes, path: Path) -> Manifest:
    """Return the record of a manifest; BadCache if :func:`export_entry` would not have written these bytes."""
    try:
        values = unseal(manifest)
        is_own = values is not None and values.get("format") == EXPORT_FORMAT_VERSION and seal(values) == manifest
    except (ValueError, RecursionError):  # numbers that are not finite, or a depth that is no record's
        is_own = False
    if not is_own:
        raise _not_an_export(path, "a manifest that its seal does not prove, or of another version")
    try:
        return decode(Manifest, values)
    except BadRecord as error:
        raise _not_an_export(path, f"a manifest that does not agree with itself: {error}") from error


def _read_known(path: Path, sha256: str) -> tuple[bytes, FloatArray]:
    data = read_bytes(path, ARRAYS)
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
        code = f"import sys; sys.path[:0] = {sys.path!r}; from probeline.cache import exchange; exchange.read_foreign()"
        command = [sys.executable, "-I", "-c", code, str(path.absolute()), folder]
        # One thread: on a machine of many cores the stacks of a thread each would use up the memory it may have.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, env=environment)  # noqa: S603
        except subprocess.TimeoutExpired as error:
            raise _not_an_export(path, f"a file that takes more than {SECONDS} s to read") from error
        if done.returncode == _REFUSED:
            raise _not_an_export(path, done.stderr.decode("utf-8", "replace").strip() or "what cannot be read")
        if done.returncode:
            raise _not_an_export(path, f"a file that ends its reader (exit code {done.returncode})")
        manifest, features, shape = (
            read_bytes(Path(folder, name), ARRAYS) for name in ("manifest", "features", "shape")
        )
        return manifest, np.frombuffer(features, "<f4").reshape(json.loads(shape))


def read_foreign() -> None:
    """Read the file ``sys.argv[1]`` and write its manifest and features below the folder ``sys.argv[2]``."""
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    size = check(path, ARRAYS)
    # A sparse file may be larger than the memory of this machine.
    memory = min(_SPARE_BYTES + 4 * size, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit, most in (
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 2 * size + 4096),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        with contextlib.suppress(ValueError, OSError):  # macOS has limits that it does not let anybody set
            resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    try:
        manifest, features = hdf5.decode_export(read_bytes(path, ARRAYS))
        (folder / "manifest").write_bytes(manifest)
        (folder / "features").write_bytes(features.tobytes())
        (folder / "shape").write_text(json.dumps(features.shape, allow_nan=False), encoding="utf-8")
    except (ValueError, OSError, MemoryError) as error:
        sys.stderr.write(str(error) or type(error).__name__)
        sys.exit(_REFUSED)


def _not_an_export(path: Path, got: str) -> BadCache:
    return BadCache(
        "this file cannot be trusted as an entry",
        where=path,
        expected="a file that cache export wrote",
        got=got,
        remedy="fetch it again, or extract the embeddings here; nothing was written",
    )
