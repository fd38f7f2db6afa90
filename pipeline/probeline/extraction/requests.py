"""What is to be extracted: shards of entries, and the rows of them that must go through the net."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from probeline.cache.entry import Entry
from probeline.cache.locks import ShardLocks
from probeline.cache.reuse import KnownRows
from probeline.cache.writing import encode_shard, publish_shard
from probeline.extraction.turns import Claims, Turns, Unpublished
from probeline.options.share import Share
from probeline.stores.shards import SharedShards
from probeline.types import FloatArray, IntArray


@dataclass(frozen=True)
class ShardRequest:
    """The shards of one entry to extract; the rows in `known` need no forward pass.

    With `shared` they are written to a store as well, and those that it has meanwhile are left out.
    """

    entry: Entry
    shards: list[int]
    known: KnownRows | None = None
    shared: SharedShards | None = None

    @cached_property
    def wanted(self) -> frozenset[int]:
        """The same shards, for look-ups."""
        return frozenset(self.shards)

    def claim(self, share: Share | None) -> Claims:
        """Return the shards to take: with locks, or in the turn of one of several processes."""
        claims = ShardLocks(self.entry, self.shards) if share is None else Turns(self.entry, self.shards)
        return claims if self.shared is None else Unpublished(claims, self.shared)

    def write(self, number: int, features: FloatArray, provenance: Mapping[str, Any]) -> None:
        """Publish a shard, features float32 [rows, D] of its row range."""
        shard = encode_shard(self.entry, number, features, provenance)
        if self.shared is None:
            publish_shard(self.entry, number, shard)
        else:
            self.shared.write(number, shard)


def rows_to_run(requests: Iterable[ShardRequest], shard: int) -> IntArray:
    """Return the rows of a shard that must go through the net for any of some entries."""
    rows = [np.empty(0, np.int64)]
    for request in requests:
        if shard in request.wanted:
            own = request.entry.shards[shard]
            shard_rows = np.arange(own.start, own.stop, dtype=np.int64)
            if request.known is not None:
                shard_rows = np.delete(shard_rows, request.known.rows_in(own) - own.start)
            rows.append(shard_rows)
    return np.unique(np.concatenate(rows)) if len(rows) > 2 else rows[-1]
