"""The shards that one of several processes takes: in its turn without locks, or as a store still lacks them."""

from __future__ import annotations

from typing import Protocol, Self

from probeline.cache.entry import Entry
from probeline.cache.reading import is_done
from probeline.stores.shards import SharedShards


class Claims(Protocol):
    """The shards that this process takes among those of an entry; leaving the context gives them up."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...
    def lock(self, number: int) -> bool:
        """Return whether a shard is to be written by this process now."""

    def release(self, number: int) -> None:
        """Give up a shard, written or not."""

    def wait(self) -> list[int]:
        """Return the shards that other processes wrote, if need be after waiting."""

    @property
    def are_pending(self) -> bool:
        """Whether shards are left."""


class Turns:
    """What `ShardLocks` is, for processes that share the work by a rule: nothing is locked and nobody is waited for.

    A shard that another process is at work on is not known, so in the end some are computed twice, which is harmless.
    """

    def __init__(self, entry: Entry, shards: list[int]) -> None:
        self._entry = entry
        self._pending = set(shards)
        self._done_by_others: list[int] = []

    def __enter__(self) -> Turns:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def lock(self, number: int) -> bool:
        """Return whether a shard is to be written by this process: if it is its turn and no other has written it."""
        if number not in self._pending:
            return False
        self._pending.remove(number)
        if is_done(self._entry, number):
            self._done_by_others.append(number)
            return False
        return True

    def release(self, number: int) -> None:
        """Do nothing, as nothing is locked."""

    def wait(self) -> list[int]:
        """Return the shards that others wrote; there is nobody to wait for."""
        done, self._done_by_others = self._done_by_others, []
        return done

    @property
    def are_pending(self) -> bool:
        """Whether shards are left."""
        return bool(self._pending)


class Unpublished:
    """The shards of some claims that a store lacks; those that it has meanwhile count as written by others."""

    def __init__(self, claims: Claims, shared: SharedShards) -> None:
        self._claims, self._shared = claims, shared
        self._published: list[int] = []

    def __enter__(self) -> Unpublished:
        self._claims.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._claims.__exit__(*error)

    def lock(self, number: int) -> bool:
        """Return whether a shard is to be written by this process now."""
        if not self._claims.lock(number):
            return False
        if self._shared.is_finished(number):
            self._claims.release(number)
            self._published.append(number)
            return False
        return True

    def release(self, number: int) -> None:
        """Give up a shard, written or not."""
        self._claims.release(number)

    def wait(self) -> list[int]:
        """Return the shards that other processes wrote, in the store or the cache, if need be after waiting."""
        published, self._published = self._published, []
        return published + self._claims.wait()

    @property
    def are_pending(self) -> bool:
        """Whether shards are left."""
        return self._claims.are_pending
