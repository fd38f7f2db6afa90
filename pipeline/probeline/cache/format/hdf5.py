"""One shard as HDF5 bytes, and back. Only bytes whose hash is known are ever opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

import h5py
import numpy as np

from probeline.errors import BadCache
from probeline.text import printable
from probeline.types import AnyArray, AnyFloatArray, FloatArray

BLOCK_ROWS = 256
"""Rows in one HDF5 chunk: row-wise chunks would read and write hundreds of times slower."""

BLOCK_BYTES = 4 << 20
"""Of a chunk of tokens, which has fewer rows then, but at least one."""


def encode(tap: str, features: AnyFloatArray, sample_ids: Sequence[str]) -> bytes:
    """Return the bytes of a shard file; equal arrays give equal bytes.

    Features are vectors float32 [rows, D] or tokens float16 [rows, T, D].
    """
    if (features.dtype, features.ndim) not in _STORED or len(features) != len(sample_ids):
        raise ValueError(
            f"a shard is float32 [rows, D] or float16 [rows, T, D] with {len(sample_ids)} ids, "
            f"not {features.dtype} {features.shape}"
        )
    return _file(tap, features, {"sample_ids": sample_ids})


def encode_export(
    tap: str, features: FloatArray, sample_ids: Sequence[str], content: Sequence[str], manifest: bytes
) -> bytes:
    """Return a whole entry, features float32 [N, D], as one HDF5 file; the manifest is what proves the rest."""
    return _file(tap, features, {"sample_ids": sample_ids, "content": content}, manifest)


_STORED = ((np.dtype(np.float32), 2), (np.dtype(np.float16), 3))

_NUMBERS = count()
"""HDF5 opens no two files of one name at once, also if they are in memory; no name is stored in them."""


def _file(
    tap: str, features: AnyFloatArray, texts: Mapping[str, Sequence[str]], manifest: bytes | None = None
) -> bytes:
    block, name = min(BLOCK_ROWS, len(features)), f"shard-{next(_NUMBERS)}"
    row_shape = features.shape[1:]
    own = block if features.ndim == 2 else min(block, max(1, BLOCK_BYTES // features[0].nbytes))
    with h5py.File(name, "w", driver="core", backing_store=False, libver=("earliest", "v110")) as file:
        file.create_dataset(f"features/{tap}", data=np.ascontiguousarray(features), chunks=(own, *row_shape))
        for title, column in texts.items():
            encoded = [text.encode("utf-8") for text in column]
            kind = h5py.string_dtype("utf-8", max(1, *map(len, encoded)))
            file.create_dataset(title, data=np.array(encoded, dtype=kind), chunks=(block,))
        if manifest is not None:
            raw = np.frombuffer(manifest, np.uint8)
            file.create_dataset("manifest", data=raw, chunks=raw.shape)
        file.flush()
        return bytes(file.id.get_file_image())


def decode(
    data: bytes, tap: str, rows: int, dim: int, where: object, tokens: int = 0
) -> tuple[AnyFloatArray, tuple[str, ...]]:
    """Return features and sample ids of shard bytes: float32 [rows, dim], or of tokens float16 [rows, T, dim / T].

    BadCache is raised for another shape or type, and for anything that would lead HDF5 out of these bytes (links,
    external storage, virtual data sets) or through a filter.
    """
    try:
        with h5py.File(h5py.h5f.open_file_image(data)) as file:
            features = _read(len(data), file, "features", tap)
            names = _read(len(data), file, "sample_ids")
    except _UNREADABLE as error:
        raise _foreign(where, _safe_text(error)) from error
    stored, row_shape = (np.dtype("<f2"), (tokens, dim // tokens)) if tokens else (np.dtype("<f4"), (dim,))
    if features.dtype != stored or features.shape != (rows, *row_shape) or names.shape != (rows,):
        raise _foreign(where, f"features {features.dtype} {features.shape}, ids {names.shape}")
    try:
        return features, tuple(name.decode("utf-8") for name in names.tolist())
    except (AttributeError, UnicodeDecodeError) as error:
        raise _foreign(where, "ids that are no text") from error


def decode_export(data: bytes) -> tuple[bytes, FloatArray]:
    """Return manifest and features float32 [N, D] of an exported file, both unverified.

    ValueError is raised if the file is not laid out as by :func:`encode_export`.
    """
    try:
        with h5py.File(h5py.h5f.open_file_image(data)) as file:
            manifest = _read(len(data), file, "manifest")
            group = _step(file, "features")
            taps = list(group) if isinstance(group, h5py.Group) else []
            if len(taps) != 1:
                raise ValueError(f"{len(taps)} data sets of features")
            features = _read(len(data), group, taps[0])
    except _UNREADABLE as error:
        raise ValueError(_safe_text(error)) from error
    if features.dtype != np.dtype("<f4") or features.ndim != 2 or manifest.dtype != np.uint8:
        raise ValueError(f"features {features.dtype} {features.shape}, manifest {manifest.dtype}")
    return manifest.tobytes(), features


_UNREADABLE = (OSError, KeyError, ValueError, RuntimeError, TypeError, MemoryError)
"""What h5py raises over files that are damaged, foreign or forged."""


def _safe_text(error: BaseException) -> str:
    """Return an error as text that is safe to print: names in a foreign file may hold anything."""
    return printable(f"{type(error).__name__}: {error}"[:300])


def _step(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """Return a member of a group, if no link leads away from it: the link is examined before it is followed."""
    if not isinstance(group, h5py.Group) or not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"no plain {name}")
    return group[name]


def _read(most_bytes: int, group: h5py.Group, *path: str) -> AnyArray:
    """Return the values of a data set, of no more than so many bytes: one without chunks may claim any size."""
    node = group
    for name in path:
        node = _step(node, name)
    if not isinstance(node, h5py.Dataset):
        raise ValueError(f"{path[-1]} is no data set")
    plan = node.id.get_create_plist()
    if plan.get_layout() != h5py.h5d.CHUNKED or plan.get_external_count() or plan.get_nfilters():
        raise ValueError(f"{path[-1]} is stored elsewhere or filtered")
    if node.size * node.dtype.itemsize > most_bytes:
        raise ValueError(f"{path[-1]} of more values than the file has")
    return np.asarray(node[()])


def _foreign(where: object, got: str) -> BadCache:
    return BadCache(
        "this HDF5 file is no shard of Probeline",
        where=where,
        expected="features and sample_ids as cache/README.md specifies",
        got=got,
        remedy="delete it and its record, then run extract again",
    )
