"""One shard as HDF5 bytes, and back. Only bytes whose hash is known are ever opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from probeline.errors import BadCache
from probeline.records import FloatArray

BLOCK_ROWS = 256
"""Rows in one HDF5 chunk: row-wise chunks would read and write hundreds of times slower."""


def encode(tap: str, features: FloatArray, sample_ids: tuple[str, ...]) -> bytes:
    """Return the bytes of a shard file; equal arrays give equal bytes.

    Parameters
    ----------
    tap : str
    features : float32 [rows, D]
    sample_ids : tuple of str [rows]
    """
    if features.dtype != np.float32 or features.ndim != 2 or len(features) != len(sample_ids):
        raise ValueError(
            f"a shard is float32 [rows, D] with {len(sample_ids)} ids, not {features.dtype} {features.shape}"
        )
    names = [name.encode("utf-8") for name in sample_ids]
    text = h5py.string_dtype("utf-8", max(1, *map(len, names)))
    block = min(BLOCK_ROWS, len(features))
    with h5py.File("shard", "w", driver="core", backing_store=False, libver=("earliest", "v110")) as file:
        file.create_dataset(f"features/{tap}", data=np.ascontiguousarray(features), chunks=(block, features.shape[1]))
        file.create_dataset("sample_ids", data=np.array(names, dtype=text), chunks=(block,))
        file.flush()
        return bytes(file.id.get_file_image())


def decode(data: bytes, tap: str, rows: int, dim: int, where: Path) -> tuple[FloatArray, tuple[str, ...]]:
    """Return features float32 [rows, D] and sample ids of shard bytes.

    Raises
    ------
    BadCache
        The bytes are no shard of this format: another shape or type, or anything that would lead HDF5 out of the
        bytes at hand (links, external storage, virtual data sets) or through a filter.
    """
    try:
        with h5py.File(h5py.h5f.open_file_image(data)) as file:
            features = _read(file, f"features/{tap}", where)
            names = _read(file, "sample_ids", where)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise _foreign(where, f"{type(error).__name__}: {error}") from error
    if features.dtype != np.dtype("<f4") or features.shape != (rows, dim) or names.shape != (rows,):
        raise _foreign(where, f"features {features.dtype} {features.shape}, ids {names.shape}")
    return features, tuple(name.decode("utf-8") for name in names.tolist())


def encode_export(
    tap: str, features: FloatArray, sample_ids: tuple[str, ...], content: tuple[str, ...], manifest: bytes
) -> bytes:
    """Return a whole entry as the bytes of one HDF5 file.

    Parameters
    ----------
    tap : str
    features : float32 [N, D]
    sample_ids, content : tuple of str [N]
    manifest : bytes
        What the receiver proves the rest by.
    """
    block = min(BLOCK_ROWS, len(features))
    with h5py.File("export", "w", driver="core", backing_store=False, libver=("earliest", "v110")) as file:
        file.create_dataset(f"features/{tap}", data=np.ascontiguousarray(features), chunks=(block, features.shape[1]))
        for path, texts in (("sample_ids", sample_ids), ("content", content)):
            names = [text.encode("utf-8") for text in texts]
            kind = h5py.string_dtype("utf-8", max(1, *map(len, names)))
            file.create_dataset(path, data=np.array(names, dtype=kind), chunks=(block,))
        raw = np.frombuffer(manifest, np.uint8)
        file.create_dataset("manifest", data=raw, chunks=raw.shape)
        file.flush()
        return bytes(file.id.get_file_image())


def decode_export(data: bytes, where: Path) -> tuple[bytes, FloatArray]:
    """Return manifest and features float32 [N, D] of an exported file. Neither is proven.

    Raises
    ------
    BadCache
    """
    try:
        with h5py.File(h5py.h5f.open_file_image(data)) as file:
            manifest = _read(file, "manifest", where)
            group = file.get("features")
            taps = list(group) if isinstance(group, h5py.Group) else []
            if len(taps) != 1:
                raise _foreign(where, f"{len(taps)} data sets of features")
            features = _read(file, f"features/{taps[0]}", where)
    except (OSError, KeyError, ValueError, RuntimeError, MemoryError) as error:
        raise _foreign(where, f"{type(error).__name__}: {error}") from error
    if features.dtype != np.dtype("<f4") or features.ndim != 2 or manifest.dtype != np.uint8:
        raise _foreign(where, f"features {features.dtype} {features.shape}, manifest {manifest.dtype}")
    return manifest.tobytes(), features


def _read(file: h5py.File, path: str, where: Path) -> npt.NDArray[Any]:
    group = file
    for step in path.split("/"):
        if not isinstance(group.get(step, getlink=True), h5py.HardLink):
            raise _foreign(where, f"no plain {path}")
        group = group[step]
    if not isinstance(group, h5py.Dataset):
        raise _foreign(where, f"{path} is no data set")
    plan = group.id.get_create_plist()
    if plan.get_layout() != h5py.h5d.CHUNKED or plan.get_external_count() or plan.get_nfilters():
        raise _foreign(where, f"{path} is stored elsewhere or filtered")
    return np.asarray(group[()])


def _foreign(where: Path, got: str) -> BadCache:
    return BadCache(
        "this HDF5 file is no shard of Probeline",
        where=where,
        expected="features and sample_ids as cache/README.md specifies",
        got=got,
        remedy=f"delete it and {where.with_suffix('.json').name}, then run extract again",
    )
