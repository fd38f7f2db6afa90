"""Filling the cache: one pass of a frozen backbone over each part; cached shards are verified and kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from probeline.cache.entry import Entry
from probeline.cache.reading import is_done, missing_shards, verify_entry
from probeline.cache.reuse import find_known_rows
from probeline.cache.writing import write_entry
from probeline.environment import environment, today
from probeline.errors import FoundUnreadable, Mismatch
from probeline.extraction import canary
from probeline.extraction.confirm import confirm_records, describe_confirmed
from probeline.extraction.engine import Engine
from probeline.extraction.odd_pixels import warn_of_odd_pixels
from probeline.extraction.requests import ShardRequest
from probeline.extraction.token_budget import check_token_budget
from probeline.files.reading import memory_bytes
from probeline.format import plural
from probeline.names import OUTPUT
from probeline.options.share import Share
from probeline.session import Session
from probeline.stores.shards import SharedShards, find_missing
from probeline.stores.store import find_store
from probeline.types import Backbone

_SHARE_OF_MEMORY = 4
"""Rows of other entries take a quarter of the machine's memory at most."""


def fill(session: Session, backbones: Iterable[str], share: Share | None = None) -> list[dict[str, Any]]:
    """Extract the missing features of some backbones over every part, and return where the features are.

    With a share, this is one of several processes that need no locks; each goes on until everything is extracted.

    Raises
    ------
    FoundUnreadable
        Images that cannot be decoded; all shards without them are written, and a session that is loaded again leaves
        them out.
    BadData
        Images that cannot be read just now.
    Mismatch
        Rows that were computed under other conditions have other features today.
    ProbelineError
    """
    say = session.console.say
    if not session.has_images:
        say(f"extract: {session.dataset.name} has embeddings: there is nothing to extract")
        return []
    results: list[dict[str, Any]] = []
    order = list if share is None else share.order
    store = find_store(session.settings.sharing.store)
    for name in backbones:
        together, loaded = session.taps(name)
        taps = tuple(dict.fromkeys(tap for taps in together for tap in taps))
        loaded = loaded or confirm_records(session, name, taps)
        for tap in taps:
            if tap.pooling == OUTPUT:
                say(f"{tap.name}: has no head; its own output [N, {tap.dim}] is the embedding")
        check_token_budget(session, taps)
        unreadable: list[FoundUnreadable] = []
        passes = _taps_of_equal_shards(session, taps)
        for own_taps in passes:
            # An engine changes its net, so that only the first one has the net that may have been built above.
            built = loaded if own_taps == passes[0] else None
            engine = functools.cache(partial(Engine, session, *own_taps, loaded=built))
            for entries in zip(*map(session.entries, own_taps), strict=True):
                shared = [None if store is None else SharedShards(store, entry) for entry in entries]
                for entry, own in zip(entries, shared, strict=True):
                    if own is not None:
                        _publish_cached(session, entry, own)
                        if share is None:  # else what others extracted stays in the store
                            _fetch(session, entry, own)
                missing = [_check_shards(session, *pair, engine) for pair in zip(entries, shared, strict=True)]
                requests = [
                    _reuse_rows(
                        session,
                        ShardRequest(entry, order(shards), shared=own),
                        engine,
                        partial(describe_confirmed, session, name, tap, loaded),
                    )
                    for tap, entry, own, shards in zip(own_taps, entries, shared, missing, strict=True)
                    if shards
                ]
                requests = [request for request in requests if request.shards]
                if requests:
                    try:
                        engine().fill(*requests, share=share)
                    except FoundUnreadable as error:
                        unreadable.append(error)
                for entry, own in zip(entries, shared, strict=True):
                    if own is not None and share is None:  # what others extracted meanwhile
                        own.list_again()
                        _fetch(session, entry, own)
                        own.require_fetched()
                warn_of_odd_pixels(session, entries[0])
                results += [
                    {
                        "backbone": taps[0].name,
                        "tap": entry.tap,
                        "part": entry.part,
                        "shape": [len(entry), *entry.row_shape],
                        "extracted_shards": len(shards),
                        "key": entry.key,
                        "folder": str(entry.folder),
                    }
                    for entry, shards in zip(entries, missing, strict=True)
                ]
        if unreadable:  # of all parts; the next net is spared them
            raise unreadable[0]
    return results


def _taps_of_equal_shards(session: Session, taps: Sequence[Backbone]) -> list[tuple[Backbone, ...]]:
    """Return the taps by the rows of their shards: what one pass can fill. Shards of tokens may have fewer rows."""
    groups: dict[int, tuple[Backbone, ...]] = {}
    for tap in taps:
        rows = session.entry(tap, session.parts()[0]).rows_per_shard
        groups[rows] = (*groups.get(rows, ()), tap)
    return list(groups.values())


def fill_missing(session: Session, backbone: str, verb: str) -> None:
    """Extract the missing features of a backbone that a verb needs, after one line that says so."""
    if any(missing_shards(entry) for tap in session.every_tap(backbone) for entry in session.entries(tap)):
        session.console.say(f"{verb}: features of {backbone} are not extracted yet; extracting what is missing")
        fill(session, [backbone])


def _publish_cached(session: Session, entry: Entry, shared: SharedShards) -> None:
    """Write what the cache has and the store lacks to the store."""
    console, numbers = session.console, shared.unpublished()
    if not numbers:
        return
    with console.bar(f"publish {entry.title}", len(numbers), "shard") as bar:
        others = shared.publish_cached(numbers, bar.update)
    console.say(f"extract: {entry.title}: {plural(len(numbers), 'shard')} of the cache written to the store")
    if others:
        console.warn(
            f"{entry.title}: another process published {plural(others, 'shard')} meanwhile; the cache keeps its own, "
            "which may differ by rounding"
        )


def _fetch(session: Session, entry: Entry, shared: SharedShards) -> None:
    """Write what the store has and the cache lacks to the cache."""
    console, numbers = session.console, shared.wanted()
    if not numbers:
        return
    with console.bar(f"fetch {entry.title}", len(numbers), "shard") as bar:
        fetched = shared.fetch(numbers, bar.update)
    console.say(f"extract: {entry.title}: {plural(fetched, 'shard')} fetched from the store (checksums verified)")


def _check_shards(
    session: Session, entry: Entry, shared: SharedShards | None, engine: Callable[[], Engine]
) -> list[int]:
    """Return the missing shards; run the canary if necessary, and verify all checksums if no shard is missing."""
    say = session.console.say
    cached = [shard for shard in range(len(entry.shards)) if is_done(entry, shard)]
    if cached and not (entry.folder / "entry.json").exists():
        write_entry(entry)
        say(f"extract: {entry.title}: its record was missing and is written again")
    missing = find_missing(entry, shared)
    canary.check_earlier_shards(session, engine, entry, cached)
    if not missing and missing_shards(entry):
        count = plural(len(entry.shards), "shard")
        say(f"extract: {entry.title}: up to date, {count} in the cache or the store")
    elif not missing:
        size = verify_entry(entry)
        say(
            f"extract: {entry.title}: up to date, {len(entry):,} rows in {entry.folder} "
            f"(checksums of {size / 1e6:.1f} MB verified)"
        )
    return missing


def _reuse_rows(
    session: Session,
    request: ShardRequest,
    engine: Callable[[], Engine],
    describe: Callable[[], dict[str, Any]],
) -> ShardRequest:
    """Write the shards whose rows are in other entries of the cache, and return what the net must extract.

    `describe` gives what their provenance says of the weights. Where the rows may not fit into memory at once, they are
    read for some shards after the others, and a shard of which others know only some rows is extracted as a whole.
    """
    shards, shard_bytes = request.shards, request.entry.rows_per_shard * request.entry.row_bytes
    at_once = max(1, memory_bytes() // _SHARE_OF_MEMORY // shard_bytes)
    if len(shards) <= at_once:
        return _reuse_at_once(session, request, engine, describe)
    left: list[int] = []
    for start in range(0, len(shards), at_once):
        some = replace(request, shards=shards[start : start + at_once])
        left += _reuse_at_once(session, some, engine, describe).shards
    return replace(request, shards=left)


def _reuse_at_once(
    session: Session,
    request: ShardRequest,
    engine: Callable[[], Engine],
    describe: Callable[[], dict[str, Any]],
) -> ShardRequest:
    say, entry, shards = session.console.say, request.entry, request.shards
    # Only the canary can tell whether a net of another name is the same one.
    other_names = canary.row_count(session) > 0
    known = find_known_rows(entry, shards, session.settings.folders.cache, say=say, other_names=other_names)
    if not len(known.rows):
        return request
    try:
        groups = [known.rows[places] for places in known.from_elsewhere(today(session.settings.compute.device))]
        if len(rows := canary.choose_rows(session, entry, groups)):
            stored = known.features[np.searchsorted(known.rows, rows)]
            canary.check_rows(session, engine, entry, rows, stored)
    except Mismatch as error:
        say(f"extract: no rows are reused: {error}")
        return request
    sources = "another entry" if len(known.sources) == 1 else f"{len(known.sources)} other entries"
    say(
        f"extract: {entry.title}: {len(known.rows):,} rows of identical images reused from {sources} of the cache "
        "(checksums verified)"
    )
    write_entry(entry)
    facts = {**environment("none"), "seconds": 0.0, **describe()}
    covered = [shard for shard in shards if known.cover(entry.shards[shard])]
    for shard in (shard for shard in covered if not is_done(entry, shard)):
        rows_of_shard = entry.shards[shard]
        features = np.empty((len(rows_of_shard), entry.dim), np.float32)
        provenance = known.copy_into(features, rows_of_shard, facts)
        request.write(shard, features, provenance)
    return replace(request, shards=[shard for shard in shards if not known.cover(entry.shards[shard])], known=known)
