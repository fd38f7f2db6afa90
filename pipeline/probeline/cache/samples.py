"""The sample ids and content digests of an entry on disk: read block by block, each hashed when it is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import overload

from probeline.cache.format.records import BlockRecord
from probeline.errors import BadCache
from probeline.files.decode import BadRecord
from probeline.files.reading import SAMPLES, open_file
from probeline.files.sample_blocks import ROWS_PER_BLOCK, SampleBlock, decode_block, encode_block

FILE_NAME = "samples.bin"


def encode_blocks(sample_ids: Sequence[str], content: Sequence[str]) -> Iterator[bytes]:
    """Yield the bytes of each block of some samples."""
    for start in range(0, len(sample_ids), ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        yield encode_block(sample_ids[rows], content[rows])


class StoredSamples:
    """The samples of an entry in its file, of which one block at a time is in memory.

    BadCache is raised for a block that is not as the entry's record says, when one of its rows is read.
    """

    def __init__(self, path: Path, rows: int, rows_per_block: int, blocks: Sequence[BlockRecord]) -> None:
        self._path, self._rows, self._rows_per_block, self._blocks = path, rows, rows_per_block, tuple(blocks)
        self._starts = (0, *accumulate(block.bytes for block in blocks))
        self._latest: tuple[int, SampleBlock] | None = None
        self.sample_ids = Column(self, SampleBlock.sample_ids)
        self.content = Column(self, SampleBlock.content)

    def __len__(self) -> int:
        return self._rows

    def pieces(self, start: int, stop: int) -> Iterator[tuple[SampleBlock, int, int]]:
        """Yield the blocks that hold some rows, each with where these begin and end in it."""
        while start < stop:
            number, first = divmod(start, self._rows_per_block)
            last = min(stop - number * self._rows_per_block, self._rows_per_block)
            yield self._block(number), first, last
            start = number * self._rows_per_block + last

    def verify(self) -> int:
        """Read every block; return the number of bytes."""
        for _ in self.pieces(0, self._rows):
            pass
        return self._starts[-1]

    def _block(self, number: int) -> SampleBlock:
        latest = self._latest
        if latest is None or latest[0] != number:
            latest = self._latest = (number, self._read(number))
        return latest[1]

    def _read(self, number: int) -> SampleBlock:
        record = self._blocks[number]
        rows = min(self._rows - number * self._rows_per_block, self._rows_per_block)
        got = "other bytes than entry.json says"
        try:
            with open_file(self._path, SAMPLES) as file:
                # A record may claim any length: no more is read, and so allocated, than the file has.
                start, stop = self._starts[number], min(self._starts[number + 1], os.fstat(file.fileno()).st_size)
                file.seek(start)
                data = file.read(max(0, stop - start))
            if hashlib.sha256(data).hexdigest() == record.sha256:
                return decode_block(data, rows)
        except BadRecord as error:
            got = str(error)
        except OSError as error:
            got = error.strerror or type(error).__name__
        raise BadCache(
            "the samples of a cache entry cannot be read",
            where=self._path,
            got=got,
            remedy="run verify --repair, then extract: the features are kept",
        )


class Column(Sequence[str]):
    """The ids or the digests of the rows of an entry; slices are tuples."""

    def __init__(self, samples: StoredSamples, read: Callable[[SampleBlock, int, int], tuple[str, ...]]) -> None:
        self.samples, self._read = samples, read

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return tuple(self[row] for row in range(start, stop, step))
            return tuple(self._iterate(start, stop))
        row = range(len(self))[index]
        return next(self._iterate(row, row + 1))

    def __iter__(self) -> Iterator[str]:
        return self._iterate(0, len(self))

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence holds the same texts."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(own == text for own, text in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def _iterate(self, start: int, stop: int) -> Iterator[str]:
        for block, first, last in self.samples.pieces(start, stop):
            yield from self._read(block, first, last)


def verify_samples(sample_ids: Sequence[str]) -> int:
    """Read all samples of an opened entry again; return the number of bytes, 0 if its record lists them."""
    return sample_ids.samples.verify() if isinstance(sample_ids, Column) else 0
