"""Reading an entry from Python: rows as arrays, a torch data set or a table, each shard verified before its first use.

There are no locks: threads share one snapshot of the shards that were read, which is never changed but replaced by one
assignment. Two threads that replace it at once lose one of their shards, which costs reading it again; and after a
fork no lock of a thread in the parent is left. (h5py guards its own across a fork, from 3.14 on.)
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from probeline.cache.entry import Entry
from probeline.cache.lookup import find_entry
from probeline.cache.reading import gather_rows, new_rows, read_shard, require_complete, require_vectors, shard_record
from probeline.errors import BadCache, UnknownName
from probeline.text import printable
from probeline.types import AnyArray, AnyFloatArray

if TYPE_CHECKING:
    from probeline.cache.torch_dataset import Labels, RowsDataset

KEEP_BYTES = 256 << 20
"""Bytes of features that an open entry keeps in memory, by default."""

RowIndex: TypeAlias = SupportsIndex | slice | Sequence[int] | Sequence[bool] | AnyArray


def open_features(
    folder_or_key: str | os.PathLike[str],
    cache: str | os.PathLike[str] = "cache",
    *,
    keep_bytes: int = KEEP_BYTES,
) -> EntryFeatures:
    """Open a complete entry of a cache. Its records are read and checked; shards are read with their first row.

    Parameters
    ----------
    folder_or_key : str or path
        The entry's folder, or the first 6 or more digits of its key.
    cache : str or path
        Where a key is looked for.
    keep_bytes : int
        At most so many bytes of shards already read stay in memory; 0 for none. Reading single rows in random order
        is slow where this is less than the entry's size: every row then costs the reading of its shard.

    Raises
    ------
    MissingData
        There is no entry, or it is not extracted to its end.
    BadCache
        A record is corrupt, or is not what it must be.
    UnknownName
        No key of the cache begins like this; lists the entries.
    BadOption
        Several keys do, which are listed; or the digits are too few.
    """
    entry = find_entry(folder_or_key, Path(cache))
    require_complete(entry, "run extract")
    return EntryFeatures(entry, keep_bytes)


def _reopen(folder: Path, key: str, keep_bytes: int) -> EntryFeatures:
    features = open_features(folder, keep_bytes=keep_bytes)
    if features.key != key:
        raise BadCache("another entry has taken the place of the one that was pickled", where=folder, expected=key)
    return features


class _Shards:
    """The shards that this process hashed and decoded, within a limit of bytes; the latest comes last."""

    def __init__(self, entry: Entry, keep_bytes: int) -> None:
        self._entry = entry
        self._keep_bytes = keep_bytes
        self._snapshot: tuple[int, dict[int, AnyFloatArray]] = (os.getpid(), {})

    def block(self, number: int) -> AnyFloatArray:
        """Return and keep the features [rows, dim] of one shard; they must not be changed."""
        kept = self._kept()
        if next(reversed(kept), None) == number:
            return kept[number]
        block = self.passing(number)
        self._keep(number, block)
        return block

    def passing(self, number: int) -> AnyFloatArray:
        """Return the same without keeping them, for readers of every shard once."""
        block = self._kept().get(number)
        return read_shard(self._entry, number)[0] if block is None else block

    def _kept(self) -> dict[int, AnyFloatArray]:
        """Return what this process read and hashed itself; what its parent read before a fork does not count."""
        process, kept = self._snapshot
        return kept if process == os.getpid() else {}

    def _keep(self, number: int, block: AnyFloatArray) -> None:
        kept = {other: rows for other, rows in self._kept().items() if other != number} | {number: block}
        size = sum(rows.nbytes for rows in kept.values())
        for oldest in list(kept):
            if size <= self._keep_bytes:
                break
            size -= kept.pop(oldest).nbytes
        self._snapshot = (os.getpid(), kept)


class EntryFeatures:
    """The embeddings of one part by one frozen net: an array on disk. Open it with `open_features`.

    It is float32 [N, D], or of tokens float16 [N, T, D]; ``[..., D]`` below stands for ``[..., T, D]`` then.
    Indexing reads rows as NumPy would and always returns a copy. A shard is read with the first of its rows, and hashed
    on the bytes that are decoded; no file is left open. The object may be used by many threads, in a forked process,
    which then hashes for itself, and be pickled, as the path and the key alone. Reading rows or provenance raises
    BadCache or MissingData if a shard or its record is not as it was written.
    """

    def __init__(self, entry: Entry, keep_bytes: int = KEEP_BYTES) -> None:
        self._entry = entry
        self._keep_bytes = keep_bytes
        self._shards = _Shards(entry, keep_bytes)
        self._rows = np.arange(len(entry))
        self._row_of: dict[str, int] = {}

    def __repr__(self) -> str:
        entry = self._entry
        name = f"{entry.dataset}/{entry.part} x {entry.inputs['backbone']}"
        return printable(f"<EntryFeatures {name}, {self.dtype.name} {list(self.shape)}, key {self.key[:12]}>")

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[AnyFloatArray]:
        return (self[row] for row in range(len(self)))

    @property
    def shape(self) -> tuple[int, ...]:
        """N and D, or N, T and D of tokens."""
        return len(self), *self._entry.row_shape

    @property
    def dtype(self) -> np.dtype[np.floating[Any]]:
        """The type of every value: float32, or float16 of tokens."""
        return self._entry.dtype

    @property
    def entry(self) -> Entry:
        """The record of the entry."""
        return self._entry

    @property
    def folder(self) -> Path:
        """Where the entry is."""
        return self._entry.folder

    @property
    def key(self) -> str:
        """The full key, 64 hexadecimal digits."""
        return self._entry.key

    @property
    def inputs(self) -> dict[str, Any]:
        """The fields of the key: weights, tap, preprocessing, precision and samples. A copy."""
        return copy.deepcopy(dict(self._entry.inputs))

    @property
    def sample_ids(self) -> Sequence[str]:
        """What names each row: N strings; for a folder of images the POSIX path below its root."""
        return self._entry.sample_ids

    @property
    def content(self) -> Sequence[str]:
        """The sha256 of each row's source: N strings."""
        return self._entry.content

    @property
    def provenance(self) -> tuple[Mapping[str, Any], ...]:
        """How each shard was computed: device, versions, seconds and the like, read anew from its record."""
        return tuple(shard_record(self._entry, number).provenance for number in range(len(self._entry.shards)))

    def __getitem__(self, index: RowIndex) -> AnyFloatArray:
        """Return rows as a new array [..., D].

        Parameters
        ----------
        index : int, slice, array of int, or bool [N]
            As NumPy takes it along the first axis.

        Raises
        ------
        IndexError
            As NumPy; also for an index of columns.
        """
        if isinstance(index, tuple):
            raise IndexError("rows alone are indexed here; take columns of what comes back: features[rows][:, columns]")
        return self._shaped(gather_rows(self._entry, np.asarray(self._rows[index]), self._shards.block))

    def _shaped(self, rows: AnyFloatArray) -> AnyFloatArray:
        return rows.reshape(*rows.shape[:-1], *self._entry.row_shape)

    def numpy(self) -> AnyFloatArray:
        """Return all rows as a new array [N, D]."""
        values = new_rows(self._entry, (len(self._entry),))
        for number, rows in enumerate(self._entry.shards):
            values[rows.start : rows.stop] = self._shards.passing(number)
        return self._shaped(values)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> AnyArray:
        if copy is False:
            raise ValueError("embeddings on disk become an array only by being copied")
        return self.numpy().astype(self.dtype if dtype is None else dtype, copy=False)

    def row(self, sample_id: str) -> int:
        """Return the row of one sample id, or raise UnknownName."""
        if not self._row_of:
            self._row_of = {name: row for row, name in enumerate(self.sample_ids)}
        if sample_id not in self._row_of:
            raise UnknownName("sample id", sample_id, (self.sample_ids[0], "...", self.sample_ids[-1]))
        return self._row_of[sample_id]

    def table(self, features: bool = False) -> dict[str, AnyArray | list[str]]:
        """Return columns of N values, as ``pandas.DataFrame`` and its like take them.

        Parameters
        ----------
        features : bool
            Whether the embeddings come along, as columns ``f0`` to ``f<D-1>`` of float32. Reads all shards.

        Returns
        -------
        dict
            ``row`` and ``shard`` int64 [N]; ``sample_id`` and ``content_sha256`` lists of N strings.

        Raises
        ------
        BadOption
            Columns of embeddings that are tokens.
        """
        columns: dict[str, AnyArray | list[str]] = {
            "row": self._rows.copy(),
            "sample_id": list(self.sample_ids),
            "content_sha256": list(self.content),
            "shard": self._rows // self._entry.rows_per_shard,
        }
        if features:
            require_vectors(self._entry.tap)
            columns |= {f"f{dim}": column for dim, column in enumerate(np.ascontiguousarray(self.numpy().T))}
        return columns

    def torch_dataset(self, labels: Labels | None = None) -> RowsDataset:
        """Return a map-style ``torch.utils.data.Dataset`` of (row [D], label), or of rows alone.

        Its workers may be forked or spawned: what travels is the path, the key and the labels.

        Parameters
        ----------
        labels : int64 [N], or mapping of sample id to int, optional
            A mapping is joined by sample id; further ids in it are ignored.

        Raises
        ------
        BadOption
            Labels of another length, not of integers, or without one for each sample id.
        """
        from probeline.cache.torch_dataset import RowsDataset

        return RowsDataset(self.__getitem__, self.sample_ids, labels)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.folder, self.key, self._keep_bytes)
