"""An entry as one file for other machines, and back: nothing in it is believed that its manifest does not prove."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from probeline import disk
from probeline.errors import BadCache, BadData, MissingData
from probeline.identity import FORMAT_VERSION, digest_bytes, seal, unseal
from probeline.records import FloatArray
from probeline.store import entry as store
from probeline.store import foreign, hdf5

SECONDS = 120
"""How long a process may take to read a foreign file."""


def export(entry: store.Entry, path: Path) -> str:
    """Write an entry, every shard proven, as one HDF5 file and return the file's sha256.

    Raises
    ------
    MissingData
        The entry is not complete.
    BadData
        There is another file of this name.
    BadCache, CannotWrite
    """
    if absent := store.missing(entry):
        raise MissingData(
            f"{len(absent)} of {len(entry.shards)} shards are not extracted yet",
            where=entry.folder,
            remedy="run extract, then export again",
        )
    features = np.empty((len(entry), entry.dim), np.float32)
    shards = []
    for number, rows in enumerate(entry.shards):
        block, record = store.read_shard(entry, number)
        features[rows.start : rows.stop] = block
        shards.append({"features_sha256": digest_bytes(block.tobytes()), "provenance": record["provenance"]})
    manifest = seal({"format": FORMAT_VERSION, "entry": entry.record(), "shards": shards})
    data = hdf5.encode_export(entry.tap, features, entry.sample_ids, entry.content, manifest)
    disk.make_folder(path.absolute().parent)
    if not disk.publish(path, data) and path.read_bytes() != data:
        raise BadData("another file has this name", where=path, remedy="choose another name")
    return digest_bytes(data)


def take_in(path: Path, cache: Path, sha256: str | None = None) -> tuple[store.Entry, int]:
    """Write what an exported file holds into a cache, every row proven; return the entry and how many shards are new.

    Without the file's sha256 a process reads it that may die, with little memory and time.

    Parameters
    ----------
    path : Path
    cache : Path
    sha256 : str, optional
        Of the file, as its sender told it.

    Raises
    ------
    MissingData
        There is no such file.
    BadCache
        The file is not the one, or does not prove itself; nothing is written.
    CannotWrite
    """
    if not path.is_file():
        raise MissingData("no such file", where=path, remedy="name a file that cache export wrote")
    manifest, features = _known(path, sha256) if sha256 else _foreign(path)
    record = unseal(manifest)
    if record is None or record.get("format") != FORMAT_VERSION:
        raise _unproven(path, "a manifest that its seal does not prove, or of another version")
    found = store.from_record(path, record["entry"]) if isinstance(record.get("entry"), dict) else None
    if found is None:
        raise _unproven(path, "an entry's record that does not agree with itself")
    entry = store.moved(found, cache)
    shards = record.get("shards")
    if features.shape != (len(entry), entry.dim) or not isinstance(shards, list) or len(shards) != len(entry.shards):
        raise _unproven(path, f"features {features.shape}")
    for rows, shard in zip(entry.shards, shards, strict=True):
        block = features[rows.start : rows.stop]
        told = shard if isinstance(shard, dict) and isinstance(shard.get("provenance"), dict) else {}
        if told.get("features_sha256") != digest_bytes(block.tobytes()) or not np.isfinite(block).all():
            raise _unproven(path, f"other values in rows {rows.start} to {rows.stop - 1}")
    new = store.missing(entry)
    store.begin(entry)
    for number in new:
        rows = entry.shards[number]
        provenance: dict[str, Any] = {**shards[number]["provenance"], "imported": True}
        store.write_shard(entry, number, features[rows.start : rows.stop], provenance)
    return entry, len(new)


def _known(path: Path, sha256: str) -> tuple[bytes, FloatArray]:
    data = path.read_bytes()
    if digest_bytes(data) != sha256.lower():
        raise BadCache(
            "this is not the file that was sent",
            where=path,
            expected=f"sha256 {sha256}",
            got=digest_bytes(data),
            remedy="fetch it again",
        )
    return hdf5.decode_export(data, path)


def _foreign(path: Path) -> tuple[bytes, FloatArray]:
    """Read a file in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        code = f"import sys; sys.path[:0] = {sys.path!r}; from probeline.store.foreign import main; main()"
        command = [sys.executable, "-I", "-c", code, str(path.absolute()), folder]
        try:
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)  # noqa: S603
        except subprocess.TimeoutExpired as error:
            raise _unproven(path, f"a file that takes more than {SECONDS} s to read") from error
        if done.returncode == foreign.REFUSED:
            raise _unproven(path, done.stderr.decode("utf-8", "replace").strip() or "what cannot be read")
        if done.returncode:
            raise _unproven(path, f"a file that ends its reader (exit code {done.returncode})")
        return foreign.collect(Path(folder))


def _unproven(path: Path, got: str) -> BadCache:
    return BadCache(
        "this file is no entry that can be trusted",
        where=path,
        expected="a file that cache export wrote",
        got=got,
        remedy="fetch it again, or extract the embeddings here; nothing was written",
    )
