"""Shards in a store: one computation counts for all machines, and nothing that is not proven comes into a cache."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from faults import producer
from made_stores import Watched
from probeline.cache.entry import Entry
from probeline.cache.reading import missing_shards, read_features
from probeline.cache.writing import EncodedShard, encode_shard, write_entry
from probeline.errors import BadCache, CannotWrite, NewerFormat, ProbelineError, StoreFailed
from probeline.extraction.turns import Turns, Unpublished
from probeline.files.reading import FileKind
from probeline.identity import seal, unseal
from probeline.stores import shards as shards_module
from probeline.stores.folder import FolderStore
from probeline.stores.shards import SharedShards, find_missing
from probeline.stores.store import Store

SHARDS = 6


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    return machine(tmp_path, "a")


def machine(folder: Path, name: str) -> Entry:
    """Return the entry as a machine with a cache of its own has it."""
    entry = producer.make_entry(folder / name, SHARDS)
    write_entry(entry)
    return entry


def encoded(entry: Entry, number: int, *, add: float = 0.0) -> EncodedShard:
    rows = entry.shards[number]
    return encode_shard(entry, number, producer.truth(entry)[rows.start : rows.stop] + np.float32(add), producer.FACTS)


def write(store: Store, entry: Entry, *numbers: int, add: float = 0.0) -> None:
    shared = SharedShards(store, entry)
    for number in numbers:
        shared.write(number, encoded(entry, number, add=add))


def ignore(_: int) -> None: ...


def test_what_one_machine_extracted_another_fetches(store: FolderStore, tmp_path: Path) -> None:
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    write(store, a, *range(SHARDS))
    shared = SharedShards(store, b)
    assert shared.wanted() == list(range(SHARDS))
    assert shared.fetch(shared.wanted(), ignore) == SHARDS
    assert producer.files(a) == producer.files(b) == producer.clean(SHARDS)
    assert shared.wanted() == shared.unpublished() == find_missing(b, shared) == []


def test_shards_are_written_by_several_threads_at_once(store: FolderStore, entry: Entry) -> None:
    """Enough of them that two are encoded at the same moment: HDF5 has no two open files of one name."""
    numbers = [number % SHARDS for number in range(40 * SHARDS)]
    with ThreadPoolExecutor(4) as pool:
        shards = list(pool.map(partial(encoded, entry), numbers))
    assert all(shard == encoded(entry, number) for number, shard in zip(numbers, shards, strict=True))


@pytest.mark.parametrize(("fitting", "most"), [(0, 1), (3, 3), (100, SHARDS)])
def test_no_more_shards_are_on_their_way_than_fit_into_memory(
    fitting: int, most: int, store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counted(Watched):
        running = at_once = 0

        def read(self, name: str, kind: FileKind) -> bytes | None:
            with self._lock:
                self.running += 1
                self.at_once = max(self.at_once, self.running)
            time.sleep(0.05)
            with self._lock:
                self.running -= 1
            return super().read(name, kind)

    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    write(store, a, *range(SHARDS))
    size = 4 * b.rows_per_shard * b.dim
    monkeypatch.setattr(shards_module, "memory_bytes", lambda: fitting * 12 * size)
    counted = Counted(store)
    assert SharedShards(counted, b).fetch(range(SHARDS), ignore) == SHARDS
    assert counted.at_once <= most
    assert (counted.at_once > 1) == (most > 1)


@pytest.mark.parametrize("error", [StoreFailed, CannotWrite])
def test_what_a_store_refuses_is_kept_and_written_to_it_later(
    error: type[ProbelineError], store: FolderStore, entry: Entry
) -> None:
    class Refusing(Watched):
        def publish(self, name: str, data: bytes) -> bool:  # noqa: ARG002
            raise error("no space")

    with pytest.raises(error, match="no space"):
        write(Refusing(store), entry, 2)
    assert entry.shard_path(2).read_bytes() == encoded(entry, 2).data
    shared = SharedShards(store, entry)
    assert shared.unpublished() == [2]
    assert shared.publish_cached([2], ignore) == 0
    assert shared.finished() == {2}


def test_missing_is_what_neither_cache_nor_store_has(store: FolderStore, tmp_path: Path) -> None:
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    write(store, a, 0, 4)
    producer.extract(b, started=lambda number: None)
    b.record_path(3).unlink()
    b.record_path(4).unlink()
    shared = SharedShards(store, b)
    assert missing_shards(b) == [3, 4]
    assert find_missing(b, shared) == [3]
    assert shared.unpublished() == [1, 2, 5]
    assert shared.publish_cached(shared.unpublished(), ignore) == 0
    assert SharedShards(store, a).finished() == {0, 1, 2, 4, 5}


def test_of_two_that_compute_a_shard_the_first_to_publish_decides(store: FolderStore, tmp_path: Path) -> None:
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    write(store, a, 2)
    write(store, b, 2, add=0.5)
    assert a.record_path(2).read_bytes() == b.record_path(2).read_bytes()
    assert a.shard_path(2).read_bytes() == b.shard_path(2).read_bytes() == encoded(a, 2).data


def test_a_record_published_between_our_look_and_our_own_decides(entry: Entry, store: FolderStore) -> None:
    class Overtaken(Watched):
        def publish(self, name: str, data: bytes) -> bool:
            if name.endswith(".json"):
                write(store, entry, 2)
            return super().publish(name, data)

    published = SharedShards(Overtaken(store), entry).publish(2, encoded(entry, 2, add=0.5))
    assert published == encoded(entry, 2)


def test_a_cache_that_differs_keeps_its_own_and_says_so(store: FolderStore, tmp_path: Path) -> None:
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    late = Watched(store, lists_late=True)
    shared = SharedShards(late, b)
    assert shared.unpublished() == []
    producer.extract(b, change=lambda values: values + np.float32(0.5))
    write(store, a, 1, 2)
    assert SharedShards(late, b).publish_cached(range(SHARDS), ignore) == 2
    np.testing.assert_array_equal(read_features(b).features, producer.truth(b) + np.float32(0.5))


def test_a_writer_that_died_before_its_record_costs_nothing(store: FolderStore, tmp_path: Path) -> None:
    class Dying(Watched):
        def publish(self, name: str, data: bytes) -> bool:
            if name.endswith(".json"):
                raise KeyboardInterrupt
            return super().publish(name, data)

    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    with pytest.raises(KeyboardInterrupt):
        write(Dying(store), a, 0, add=0.5)
    assert missing_shards(a) == missing_shards(b), "the store comes first"
    assert SharedShards(store, b).finished() == frozenset()
    write(store, b, 0)
    assert SharedShards(store, a).fetch([0], ignore) == 1
    np.testing.assert_array_equal(a.shard_path(0).read_bytes(), encoded(b, 0).data)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _change_record(path: Path, **members: object) -> None:
    record = unseal(path.read_bytes())
    assert record is not None
    path.write_bytes(seal({**{k: v for k, v in record.items() if k != "sha256"}, **members}))


def _swap(path: Path) -> None:
    path.write_bytes(path.with_name("shard-00001.json").read_bytes())


@pytest.mark.parametrize(
    ("harm", "of_data", "words"),
    [
        (_flip, True, "a shard is corrupt"),
        (_flip, False, "a record of the cache is corrupt"),
        (_swap, False, "belongs elsewhere"),
        (lambda path: _change_record(path, key="0" * 64), False, "belongs elsewhere"),
        (lambda path: _change_record(path, bytes="many"), False, "record cannot be used"),
        (lambda path: path.write_bytes(b""), False, "a record of the cache is corrupt"),
    ],
)
def test_nothing_that_is_not_proven_comes_into_a_cache(
    harm: Callable[[Path], object], of_data: bool, words: str, store: FolderStore, tmp_path: Path
) -> None:
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    write(store, a, 0, 1)
    (path,) = (tmp_path / "store").rglob("shard-00000-*.h5" if of_data else "shard-00000.json")
    harm(path)
    for work in (lambda: SharedShards(store, b).fetch([0], ignore), lambda: write(store, b, 0)):
        with pytest.raises(BadCache, match="a shard of the store cannot be used") as refused:
            work()
        assert words in str(refused.value)
        assert "delete that file and its data from the store" in str(refused.value)
        assert str(refused.value).count(";") == 1, "one remedy: that of a cache does not help here"
        assert missing_shards(b) == list(range(SHARDS))


def test_data_that_are_gone_are_refused_until_they_are_computed_again(store: FolderStore, tmp_path: Path) -> None:
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    write(store, a, 0)
    (path,) = (tmp_path / "store").rglob("shard-00000-*.h5")
    path.unlink()
    with pytest.raises(BadCache, match="its data are missing"):
        SharedShards(store, b).fetch([0], ignore)
    write(store, b, 0)
    assert path.read_bytes() == b.shard_path(0).read_bytes()


def test_rows_of_another_entry_under_a_right_record_are_refused(store: FolderStore, tmp_path: Path) -> None:
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    rows = a.shards[0]
    forged = encode_shard(
        replace(a, sample_ids=a.sample_ids[::-1]), 0, producer.truth(a)[rows.start : rows.stop], producer.FACTS
    )
    shared = SharedShards(store, a)
    assert shared._publish(0, forged) == forged
    with pytest.raises(BadCache, match="a shard holds other rows than its entry"):
        SharedShards(store, b).fetch([0], ignore)


def test_what_a_newer_version_wrote_is_not_called_corrupt(store: FolderStore, tmp_path: Path) -> None:
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    write(store, a, 0)
    (path,) = (tmp_path / "store").rglob("shard-00000.json")
    _change_record(path, format=99)
    with pytest.raises(
        NewerFormat, match=r"shard-00000\.json .*got format 99.*; update Probeline, or use another --store$"
    ):
        SharedShards(store, b).fetch([0], ignore)


def test_files_that_are_no_shards_of_the_entry_are_passed_over(entry: Entry, store: FolderStore) -> None:
    write(store, entry, 1)
    folder = f"{shards_module.LAYOUT}/{entry.folder.parent.name}/{entry.key}"
    for name in ("shard-00099.json", "shard-1.json", "shard-00002.json.part", "notes.txt"):
        store.publish(f"{folder}/{name}", b"")
    assert SharedShards(store, entry).finished() == {1}


def test_a_shard_that_is_listed_and_gone_is_said_in_the_end(store: FolderStore, tmp_path: Path) -> None:
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    write(store, a, 0)
    shared = SharedShards(Watched(store, lists_late=True), b)
    assert shared.wanted() == [0]
    for path in (tmp_path / "store").rglob("shard-00000*"):
        path.unlink()
    assert shared.fetch([0], ignore) == 0
    with pytest.raises(StoreFailed, match="does not give it"):
        shared.require_fetched()


def test_a_listing_serves_until_another_is_asked_for(entry: Entry, store: FolderStore) -> None:
    watched = Watched(store)
    shared = SharedShards(watched, entry)
    write(store, entry, 0)
    assert [shared.finished() for _ in range(9)] == [{0}] * 9
    write(store, entry, 1, 2)
    assert shared.finished() == {0}
    assert shared.is_finished(1)
    assert shared.finished() == {0, 1}
    assert not shared.is_finished(3)
    assert watched.calls == {"names_in": 1, "exists": 2}
    shared.list_again()
    assert shared.finished() == {0, 1, 2}


def test_asking_for_a_shard_makes_no_set_of_all(
    entry: Entry, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry may have hundreds of thousands of shards, each of which is asked for once."""
    shared = SharedShards(store, entry)
    write(store, entry, 0)
    monkeypatch.setattr(SharedShards, "finished", lambda _: pytest.fail("a set of all shards"))
    assert [shared.is_finished(number) for number in range(SHARDS)] == [True] + [False] * (SHARDS - 1)


def test_shards_that_a_store_has_meanwhile_are_not_taken(entry: Entry, store: FolderStore) -> None:
    write(store, machine(entry.folder.parents[3], "b"), 1, 3)
    with Unpublished(Turns(entry, [0, 1, 2, 3]), SharedShards(store, entry)) as claims:
        taken = [number for number in range(SHARDS) if claims.lock(number)]
        assert taken == [0, 2]
        assert not claims.are_pending
        assert sorted(claims.wait()) == [1, 3]
        assert claims.wait() == []


def test_a_slow_store_is_asked_few_times_and_at_once(store: FolderStore, tmp_path: Path) -> None:
    """Two calls for a shard: its data and its record."""
    a, b = machine(tmp_path, "a"), machine(tmp_path, "b")
    slow = Watched(store, seconds=0.2)
    producer.extract(a)
    shared = SharedShards(slow, a)
    shared.publish_cached(shared.unpublished(), ignore)
    assert slow.calls == {"names_in": 1, "publish": 2 * SHARDS}
    slow.calls.clear()
    started = time.perf_counter()
    fetching = SharedShards(slow, b)
    assert fetching.fetch(fetching.wanted(), ignore) == SHARDS
    assert slow.calls == {"names_in": 1, "read": 2 * SHARDS}
    one_after_the_other = 0.2 * sum(slow.calls.values())
    assert time.perf_counter() - started < one_after_the_other / 2, "six shards at once take three calls' time"
    assert json.loads(b.record_path(0).read_bytes()) == json.loads(a.record_path(0).read_bytes())
