"""ShardLocks: processes on one entry share its shards, and a dead one holds nothing up."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from conftest import make_part
from probeline.cache.entry import Entry, locate_entry
from probeline.cache.locks import ShardLocks, is_unlocked
from probeline.cache.writing import write_entry, write_shard
from probeline.types import Backbone

ROWS = 12


@pytest.fixture
def entry(tmp_path: Path, backbone: Backbone) -> Entry:
    """An entry of three shards, none of them made."""
    found = dataclasses.replace(locate_entry(tmp_path, make_part(ROWS), backbone, "fp32"), rows_per_shard=4)
    write_entry(found)
    return found


def make(entry: Entry, number: int) -> None:
    write_shard(entry, number, np.zeros((4, entry.dim), np.float32), {})


def test_two_share_what_is_to_be_made(entry: Entry) -> None:
    with ShardLocks(entry, [0, 1, 2]) as one, ShardLocks(entry, [0, 1, 2]) as other:
        mine, theirs = one.lock_all(), other.lock_all()
        assert [next(mine), next(theirs), next(mine)] == [0, 1, 2]
        assert list(mine) == list(theirs) == []
        assert one.are_pending
        assert other.are_pending
        for number in (0, 1, 2):
            make(entry, number)
        for locks, number in ((one, 0), (other, 1), (one, 2)):
            locks.release(number)
        assert one.wait() == [1]
        assert other.wait() == [0, 2]
        assert not one.are_pending
        assert not other.are_pending
    assert not list(entry.folder.glob("*.lock"))


def test_what_is_done_is_not_taken(entry: Entry) -> None:
    make(entry, 1)
    with ShardLocks(entry, [0, 1, 2]) as locks:
        assert list(locks.lock_all()) == [0, 2]


def test_waiting_ends_where_another_gives_up(entry: Entry) -> None:
    with ShardLocks(entry, [0]) as other, ShardLocks(entry, [0]) as one:
        assert list(other.lock_all()) == [0]
        assert list(one.lock_all()) == []
        later = threading.Timer(0.3, other.release, (0,))
        later.start()
        assert one.wait() == []
        later.join()
        assert list(one.lock_all()) == [0]


HOLD = """
import sys, time
from pathlib import Path
from probeline.cache.reading import open_entry
from probeline.cache.locks import ShardLocks, is_unlocked
entry = open_entry(Path(sys.argv[1]))
with ShardLocks(entry, [0, 1, 2]) as locks:
    taken = locks.lock_all()
    print(next(taken), flush=True)
    time.sleep(600)
"""


def test_a_killed_process_holds_nothing(entry: Entry) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(entry.folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "0\n"
        with ShardLocks(entry, [0, 1, 2]) as locks:
            assert list(locks.lock_all()) == [1, 2]
            child.kill()
            child.wait()
            for number in (1, 2):
                locks.release(number)
            assert locks.wait() == []
            assert list(locks.lock_all()) == [0]
    finally:
        child.kill()
        child.communicate()


def test_a_lock_file_that_is_unlinked_meanwhile_is_made_anew(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = fcntl.flock, 0

    def flock(descriptor: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            entry.shard_path(0).with_suffix(".lock").unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with ShardLocks(entry, [0]) as locks:
        assert list(locks.lock_all()) == [0]
        assert entry.shard_path(0).with_suffix(".lock").exists()
    assert calls == 2


@pytest.mark.parametrize("call", ["open", "flock"])
def test_without_locks_everybody_works_alone(call: str, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(errno.ENOLCK if call == "flock" else errno.EROFS, "no")

    monkeypatch.setattr(os if call == "open" else fcntl, call, refuse)
    with ShardLocks(entry, [0, 1, 2]) as one, ShardLocks(entry, [0, 1, 2]) as other:
        assert list(one.lock_all()) == list(other.lock_all()) == [0, 1, 2]
        assert not one.are_pending


def test_a_lock_file_that_is_a_link_or_a_pipe_leads_nowhere(entry: Entry, tmp_path: Path) -> None:
    first, second = (entry.shard_path(number).with_suffix(".lock") for number in (0, 1))
    first.symlink_to(tmp_path / "made through it")
    os.mkfifo(second)
    assert not is_unlocked(first)
    with ShardLocks(entry, [0, 1]) as locks:
        assert list(locks.lock_all()) == [0, 1]
    assert not (tmp_path / "made through it").exists()


def test_a_lock_file_of_another_user_is_opened_for_reading(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def open_others(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, mode)

    path = entry.shard_path(0).with_suffix(".lock")
    path.touch()
    with ShardLocks(entry, [0]) as locks:
        assert list(locks.lock_all()) == [0]
        monkeypatch.setattr(os, "open", open_others)
        assert not is_unlocked(path)
        monkeypatch.undo()
    path.touch()
    monkeypatch.setattr(os, "open", open_others)
    assert is_unlocked(path)
    with ShardLocks(entry, [0]) as one, ShardLocks(entry, [0]) as other:
        assert list(one.lock_all()) == [0]
        assert list(other.lock_all()) == []


def test_a_lock_that_the_system_knows_nothing_of_counts_as_free_after_a_day(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = entry.shard_path(0).with_suffix(".lock")
    assert is_unlocked(path), "nobody has what does not exist"
    path.touch()

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EBADF, "a lock of a network file system needs a file that is open for writing")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert not is_unlocked(path)
    past = time.time() - 90_000  # more than a day
    os.utime(path, (past, past))
    assert is_unlocked(path)


def test_waiting_polls_now_and_then(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 5:
            make(entry, 0)

    monkeypatch.setattr(time, "sleep", sleep)
    with ShardLocks(entry, [0]) as other, ShardLocks(entry, [0]) as one:
        assert list(other.lock_all()) == [0]
        assert list(one.lock_all()) == []
        assert one.wait() == [0]
    assert len(naps) == 5
    assert min(naps) > 0.05, "a process that waits leaves the cores to those that work"
