"""The shards of an entry in a store that machines share: fetched into a cache, and published from it.

A shard is two files: its data, with their sha256 in the name, and its record, which is that of the cache and says which
data count. The data are published first. So whoever publishes the record decides in one step, and of two processes
that computed a shard at once, the second takes over the first one's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

from probeline.cache.entry import Entry
from probeline.cache.format.records import ShardRecord
from probeline.cache.reading import check_shard, is_done, missing_shards, parse_shard_record
from probeline.cache.writing import EncodedShard, publish_shard, write_entry
from probeline.errors import BadCache, CannotWrite, NewerFormat, StoreFailed
from probeline.files.reading import ENTRY, SHARD, memory_bytes, read_bytes
from probeline.identity import digest_bytes
from probeline.stores.store import Store

LAYOUT = "v1"
"""The folder of a store that has the files named as here."""

_THREADS = 8
"""Shards on their way at once at most: of a distant store, most of the time is spent waiting."""

_COPIES = 12
"""A shard on its way takes some 2.5 times its size (measured), and all of them together at most a quarter of memory."""

_RECORD = re.compile(r"shard-(\d{5,10})\.json")


def find_missing(entry: Entry, shared: SharedShards | None) -> list[int]:
    """Return the shards that neither the cache has nor the store, if there is one."""
    missing, finished = missing_shards(entry), frozenset() if shared is None else shared.finished()
    return [number for number in missing if number not in finished]


class SharedShards:
    """The shards of one entry in a store."""

    def __init__(self, store: Store, entry: Entry) -> None:
        self._store, self._entry = store, entry
        # By the key alone: what a data set is called, and where it is, differs from machine to machine.
        self._folder = f"{LAYOUT}/{entry.folder.parent.name}/{entry.key}"
        self._listed: frozenset[int] | None = None
        self._seen: set[int] = set()

    def finished(self) -> frozenset[int]:
        """Return the shards that have a record in the store, as far as its listing and this process know."""
        return self._list() | self._seen

    def _list(self) -> frozenset[int]:
        if self._listed is None:
            found = map(_RECORD.fullmatch, self._store.names_in(self._folder))
            numbers = {int(match[1]) for match in found if match}
            self._listed = frozenset(numbers & set(range(len(self._entry.shards))))
        return self._listed

    def list_again(self) -> None:
        """Let the next question be answered by a new listing."""
        self._listed = None

    def is_finished(self, number: int) -> bool:
        """Return whether a shard has a record in the store at this moment, whatever the listing says."""
        if number in self._list() or number in self._seen:
            return True
        if self._store.exists(self._record_name(number)):
            self._seen.add(number)
        return number in self._seen

    def fetch(self, numbers: Collection[int], update: Callable[[int], object]) -> int:
        """Write shards that the store has into the cache, each verified; return how many.

        `update` is called with 1 for each.

        Raises
        ------
        BadCache
            A shard in the store is not as its record says, or belongs to another entry.
        """
        write_entry(self._entry)
        done = 0
        with ThreadPoolExecutor(self._threads, thread_name_prefix="fetch") as pool:
            for is_there in pool.map(self._fetch, numbers):
                update(1)
                done += is_there
        return done

    def wanted(self) -> list[int]:
        """Return the shards that the cache lacks and the store has."""
        return sorted(self.finished().intersection(missing_shards(self._entry)))

    def unpublished(self) -> list[int]:
        """Return the shards that the cache has and the store lacks."""
        missing = {*self.finished(), *missing_shards(self._entry)}
        return [number for number in range(len(self._entry.shards)) if number not in missing]

    def publish_cached(self, numbers: Collection[int], update: Callable[[int], object]) -> int:
        """Publish shards of the cache, each verified; return of how many the store has other bytes meanwhile."""

        def publish(number: int) -> bool:
            entry = self._entry
            shard = EncodedShard(
                read_bytes(entry.shard_path(number), SHARD), read_bytes(entry.record_path(number), ENTRY)
            )
            record = parse_shard_record(entry, number, shard.record, entry.record_path(number))
            check_shard(entry, number, shard.data, record, entry.shard_path(number))
            return self.publish(number, shard) != shard

        others = 0
        with ThreadPoolExecutor(self._threads, thread_name_prefix="publish") as pool:
            for is_other in pool.map(publish, numbers):
                update(1)
                others += is_other
        return others

    def write(self, number: int, shard: EncodedShard) -> None:
        """Publish a shard in the store, then in the cache: as it was computed, or as another process published it.

        If the store refuses, the cache keeps what was computed, and the next run writes it to the store.
        """
        try:
            published = self.publish(number, shard)
        except (StoreFailed, CannotWrite):
            publish_shard(self._entry, number, shard)
            raise
        publish_shard(self._entry, number, published)

    def publish(self, number: int, shard: EncodedShard) -> EncodedShard:
        """Publish a shard in the store, and return what the store has of it then."""
        published = self._publish(number, shard)
        self._seen.add(number)
        return published

    def _publish(self, number: int, shard: EncodedShard) -> EncodedShard:
        name = self._record_name(number)
        self._store.publish(self._data_name(number, digest_bytes(shard.data)), shard.data)
        if self._store.publish(name, shard.record):
            return shard
        standing = self._read(number)
        if standing is None:
            raise self._gone(number)
        return standing

    def require_fetched(self) -> None:
        """Refuse a store that listed shards which it does not give."""
        if wanted := self.wanted():
            raise self._gone(wanted[0])

    @property
    def _threads(self) -> int:
        size = self._entry.rows_per_shard * self._entry.row_bytes
        return max(1, min(_THREADS, memory_bytes() // (_COPIES * size)))

    def _gone(self, number: int) -> StoreFailed:
        where = self._store.address(self._record_name(number))
        return StoreFailed("the store has a file of this name and does not give it", where=where, remedy="run it again")

    def _fetch(self, number: int) -> bool:
        if is_done(self._entry, number):
            return False
        shard = self._read(number)
        if shard is not None:
            publish_shard(self._entry, number, shard)
        return shard is not None

    def _read(self, number: int) -> EncodedShard | None:
        """Return a shard of the store, verified; None if it has no record."""
        name = self._record_name(number)
        record = self._store.read(name, ENTRY)
        if record is None:
            return None
        try:
            parsed = parse_shard_record(self._entry, number, record, self._store.address(name))
            return EncodedShard(self._read_data(number, parsed), record)
        except NewerFormat as error:
            raise NewerFormat(error.finding, remedy="update Probeline, or use another --store") from error
        except BadCache as error:
            raise BadCache(
                "a shard of the store cannot be used",
                where=self._store.address(name),
                got=error.finding,
                remedy="delete that file and its data from the store, then run again: only this shard is redone",
            ) from error

    def _read_data(self, number: int, record: ShardRecord) -> bytes:
        name = self._data_name(number, record.file_sha256)
        data = self._store.read(name, SHARD)
        if data is None:
            raise BadCache("its data are missing", where=self._store.address(name))
        check_shard(self._entry, number, data, record, self._store.address(name))
        return data

    def _record_name(self, number: int) -> str:
        return f"{self._folder}/{self._entry.record_path(number).name}"

    def _data_name(self, number: int, sha256: str) -> str:
        return f"{self._folder}/{self._entry.shard_path(number).stem}-{sha256}.h5"
