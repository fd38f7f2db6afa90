"""Filling the cache: a frozen backbone once over each part; what is there and proven is left alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.cache.entry import Entry
from probeline.cache.reading import is_done, missing_shards, verify_entry
from probeline.cache.reuse import gather
from probeline.cache.writing import write_entry, write_shard
from probeline.environment import environment, today
from probeline.errors import BadData, Mismatch
from probeline.extract import canary
from probeline.extract.engine import Engine, Want, title
from probeline.session import Session
from probeline.types import Backbone

if TYPE_CHECKING:
    from probeline.backbones.resolve import Loaded


def fill(session: Session, backbones: Iterable[str]) -> list[dict[str, Any]]:
    """Make sure that the embeddings of these backbones over every part are in the cache, and return where.

    Raises
    ------
    BadData
        Names the images that cannot be read; all shards without them are written.
    Mismatch
        Rows that were made under other conditions come out differently today.
    ProbelineError
    """
    unreadable: list[BadData] = []
    found: list[dict[str, Any]] = []
    for name in backbones:
        asked, loaded = session.taps(name)
        taps = tuple(dict.fromkeys(tap for together in asked for tap in together))
        engine = functools.cache(functools.partial(_build, session, taps, loaded))
        for entries in zip(*map(session.entries, taps), strict=True):
            jobs = [_Job(session, entry, engine) for entry in entries]
            shards = [_look(job) for job in jobs]
            wants = [want for job, some in zip(jobs, shards, strict=True) if some and (want := _copy(job, some))]
            if wants:
                try:
                    engine().fill(*wants)
                except BadData as error:
                    unreadable.append(error)
            found += [
                {
                    "backbone": taps[0].name,
                    "tap": entry.tap,
                    "part": entry.part,
                    "shape": [len(entry), entry.dim],
                    "extracted_shards": len(some),
                    "key": entry.key,
                    "folder": str(entry.folder),
                }
                for entry, some in zip(entries, shards, strict=True)
            ]
    if len(unreadable) == 1:
        raise unreadable[0]
    if unreadable:
        raise BadData(
            "images cannot be read",
            where="; ".join(dict.fromkeys(str(error.where) for error in unreadable)),
            remedy="replace or remove them, then run extract again: finished shards are kept",
        )
    return found


@dataclass(frozen=True)
class _Job:
    """One entry to make sure of; the net is built when it is first needed."""

    session: Session
    entry: Entry
    engine: Callable[[], Engine]

    @property
    def title(self) -> str:
        return title(self.entry)


def _build(session: Session, taps: tuple[Backbone, ...], loaded: Loaded | None) -> Engine:
    return Engine(session, *taps, loaded=loaded)


def _look(job: _Job) -> list[int]:
    """Return the shards that are missing. Those that are there meet the canary, or are proven where none is missing."""
    entry, say = job.entry, job.session.console.say
    there = [shard for shard in range(len(entry.shards)) if is_done(entry, shard)]
    if there and not (entry.folder / "entry.json").exists():
        write_entry(entry)
        say(f"extract: {job.title}: its record was gone and is made anew")
    shards = missing_shards(entry)
    canary.hold_earlier(job.session, job.engine, entry, there)
    if not shards:
        hashed = verify_entry(entry)
        say(
            f"extract: {job.title}: {len(entry):,} embeddings are in {entry.folder}, "
            f"every shard proven ({hashed / 1e6:.1f} MB hashed)"
        )
    return shards


def _copy(job: _Job, shards: list[int]) -> Want | None:
    """Write the shards whose rows other entries hold, and return what is left for the net."""
    entry, say = job.entry, job.session.console.say
    known = gather(entry, shards, job.session.settings.folders.cache, say=say)
    if not len(known.rows):
        return Want(entry, shards)
    try:
        groups = [known.rows[places] for places in known.made_elsewhere(today(job.session.settings.compute.device))]
        if len(again := canary.chosen(job.session, entry, groups)):
            stored = known.features[np.searchsorted(known.rows, again)]
            canary.hold(job.session, job.engine, entry, again, stored, "of other entries")
    except Mismatch as error:
        say(f"extract: nothing is copied: {error}")
        return Want(entry, shards)
    say(
        f"extract: {job.title}: {len(known.rows):,} embeddings of equal images are copied from "
        f"{len(known.sources)} other entries, every shard proven"
    )
    write_entry(entry)
    for shard in (shard for shard in shards if known.holds(entry.shards[shard])):
        rows = entry.shards[shard]
        features = np.empty((len(rows), entry.dim), np.float32)
        facts = known.copy_into(features, rows, {**environment("none"), "seconds": 0.0})
        write_shard(entry, shard, features, facts)
    rest = [shard for shard in shards if not known.holds(entry.shards[shard])]
    return Want(entry, rest, known) if rest else None
