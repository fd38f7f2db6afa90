"""A cache that people of one group share: who may add to it, read it and tidy it up is what the umask says."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults import producer
from faults.children import start
from probeline.cache import locks, prune, reading, writing
from probeline.cache.entry import Entry
from probeline.cache.format import hdf5  # noqa: F401 - likewise
from probeline.cache.format.layout import is_marked
from probeline.errors import CannotWrite

GROUP, ANN, BOB = 54_321, 54_322, 54_323
"""Numbers of a group and of two users that no machine is likely to have."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may act for two other users")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that a group may write to and hands its group on; below /tmp, where both users may go."""
    folder = Path(tempfile.mkdtemp(prefix="probeline-shared-"))
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2770)
    yield folder
    shutil.rmtree(folder)


def act(user: int, umask: int, task: Callable[[], object]) -> str:
    """Let a user of the group do something; return what the task raised, if it did."""

    def work(_: object) -> None:
        os.setgroups([GROUP])
        os.setgid(user)
        os.setuid(user)
        os.umask(umask)
        task()

    return start(work).finish().complaint


def write(entry: Entry, *numbers: int) -> None:
    writing.write_entry(entry)
    for number in numbers:
        rows = entry.shards[number]
        writing.write_shard(entry, number, producer.truth(entry)[rows.start : rows.stop], producer.FACTS)


def test_with_umask_002_every_member_of_the_group_adds_reads_and_tidies_up(shared: Path) -> None:
    entry = producer.make_entry(shared / "cache", 3)
    lock = entry.shard_path(1).with_suffix(".lock")
    dead = entry.folder / f"shard-00002.h5.{2**22 + 1}-abcdef01.tmp"

    def ann() -> None:
        write(entry, 0)
        lock.touch()  # of a process that died
        dead.touch()

    def bob() -> None:
        assert locks.is_unlocked(lock)
        producer.extract(entry)
        assert set(prune.find_leftovers(shared / "cache").paths) == set(), "a young file may be written elsewhere"
        prune.remove_files(prune.find_leftovers(shared / "cache").paths, shared / "cache")

    assert act(ANN, 0o002, ann) == ""
    assert act(BOB, 0o002, bob) == ""
    assert act(ANN, 0o002, lambda: reading.read_features(entry)) == ""
    assert producer.complaint(entry) == ""
    assert {path.stat().st_uid for path in entry.folder.glob("*.h5")} == {ANN, BOB}
    for path in shared.rglob("*"):
        mode = 0o2775 if path.is_dir() else 0o664
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (mode, GROUP), path
    assert is_marked(shared / "cache")
    past = time.time() - 90_000  # more than a day
    os.utime(dead, (past, past))
    found = prune.find_leftovers(shared / "cache").paths
    assert act(BOB, 0o002, lambda: prune.remove_files(found, shared / "cache")) == ""
    assert list(found) == [dead]
    assert not dead.exists()


def test_with_umask_022_the_others_read_and_are_told_why_they_cannot_add(shared: Path) -> None:
    entry = producer.make_entry(shared / "cache", 2)

    def ann() -> None:
        write(entry, 0)
        for suffix in (".lock", ".h5.1-abcdef01.tmp"):
            entry.shard_path(1).with_suffix(suffix).touch()

    def bob() -> None:
        reading.read_shard(entry, 0)
        assert locks.is_unlocked(entry.shard_path(1).with_suffix(".lock")), "nobody has it"
        with pytest.raises(CannotWrite, match="Permission denied"):
            write(entry, 1)

    assert act(ANN, 0o022, ann) == ""
    assert act(BOB, 0o022, bob) == ""


@pytest.mark.parametrize("umask", [0o002, 0o022])
def test_a_lock_that_another_user_holds_is_seen(umask: int, shared: Path) -> None:
    entry = producer.make_entry(shared / "cache", 1)

    def root() -> None:
        write(entry)
        with locks.ShardLocks(entry, [0]) as own:
            assert list(own.lock_all()) == [0]
            assert act(BOB, umask, bob) == ""

    def bob() -> None:
        assert not locks.is_unlocked(entry.shard_path(0).with_suffix(".lock"))
        with locks.ShardLocks(entry, [0]) as others:
            assert list(others.lock_all()) == []

    assert act(0, umask, root) == ""


def test_a_lock_file_that_cannot_be_opened_counts_as_free_after_a_day(shared: Path) -> None:
    lock = shared / "shard-00000.lock"
    lock.touch()
    lock.chmod(0o600)

    def locked() -> None:
        assert not locks.is_unlocked(lock)

    def free() -> None:
        assert locks.is_unlocked(lock)

    assert act(BOB, 0o022, locked) == ""
    past = time.time() - 90_000  # more than a day
    os.utime(lock, (past, past))
    assert act(BOB, 0o022, free) == ""
