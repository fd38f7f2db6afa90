"""Extract: each frozen backbone once over each part, into the cache; what is there and proven is left alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.environment import environment, today
from probeline.errors import BadData, Mismatch
from probeline.records import Backbone
from probeline.stages import canary
from probeline.stages.engine import Engine, title
from probeline.stages.inputs import Inputs
from probeline.store import entry as store
from probeline.store.reuse import gather

if TYPE_CHECKING:
    from probeline.backbones.resolve import Loaded


def run(inputs: Inputs) -> list[dict[str, Any]]:
    """Make sure that the embeddings of every backbone over every part are in the cache, and return where.

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
    for name in inputs.config.backbones:
        backbone, loaded = inputs.backbone(name)
        engine = functools.cache(functools.partial(_build, inputs, backbone, loaded))
        jobs = [_Job(inputs, inputs.entry(backbone, part), engine) for part in inputs.parts()]
        for job in jobs:
            entry = job.entry
            there = [shard for shard in range(len(entry.shards)) if store.is_done(entry, shard)]
            if there and not (entry.folder / "entry.json").exists():
                store.begin(entry)
                inputs.config.console.say(f"extract: {job.title}: its record was gone and is made anew")
            shards = store.missing(entry)
            canary.hold_earlier(inputs, engine, entry, there)
            if shards:
                try:
                    _fill(job, shards)
                except BadData as error:
                    unreadable.append(error)
            else:
                hashed = store.prove(entry)
                inputs.config.console.say(
                    f"extract: {job.title}: {len(entry):,} embeddings are in {entry.folder}, "
                    f"every shard proven ({hashed / 1e6:.1f} MB hashed)"
                )
            found.append(
                {
                    "backbone": name,
                    "part": entry.part,
                    "shape": [len(entry), entry.dim],
                    "extracted_shards": len(shards),
                    "key": entry.key,
                    "folder": str(entry.folder),
                }
            )
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

    inputs: Inputs
    entry: store.Entry
    engine: Callable[[], Engine]

    @property
    def title(self) -> str:
        return title(self.entry)


def _build(inputs: Inputs, backbone: Backbone, loaded: Loaded | None) -> Engine:
    return Engine(inputs, backbone, loaded)


def _fill(job: _Job, shards: list[int]) -> None:
    """Write shards: rows that other entries hold are copied, only the others go through the net."""
    entry, say = job.entry, job.inputs.config.console.say
    known = gather(entry, shards, job.inputs.config.cache, say=say)
    if not len(known.rows):
        job.engine().fill(entry, shards)
        return
    try:
        groups = [known.rows[places] for places in known.made_elsewhere(today(job.inputs.config.device))]
        if len(again := canary.chosen(job.inputs, entry, groups)):
            stored = known.features[np.searchsorted(known.rows, again)]
            canary.hold(job.inputs, job.engine, entry, again, stored, "of other entries")
    except Mismatch as error:
        say(f"extract: nothing is copied: {error}")
        job.engine().fill(entry, shards)
        return
    say(
        f"extract: {job.title}: {len(known.rows):,} embeddings of equal images are copied from "
        f"{len(known.sources)} other entries, every shard proven"
    )
    store.begin(entry)
    for shard in (shard for shard in shards if known.holds(entry.shards[shard])):
        rows = entry.shards[shard]
        features = np.empty((len(rows), entry.dim), np.float32)
        facts = known.copy_into(features, rows, {**environment("none"), "seconds": 0.0})
        store.write_shard(entry, shard, features, facts)
    if rest := [shard for shard in shards if not known.holds(entry.shards[shard])]:
        job.engine().fill(entry, rest, known)
