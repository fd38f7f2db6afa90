"""How many rows remain to be extracted per backbone, tap and part, and about how long it takes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from probeline.cache.reading import entry_folders, is_done, open_entry, shard_record
from probeline.disk import path_name
from probeline.errors import ProbelineError
from probeline.extraction.token_budget import check_token_budget
from probeline.session import Session
from probeline.stores.shards import SharedShards, find_missing
from probeline.stores.store import find_store
from probeline.types import Backbone


@dataclass(frozen=True)
class ExtractionPlan:
    """What remains to be extracted of one entry.

    Attributes
    ----------
    cached : int
        Rows in finished shards, of the cache or of the store.
    seconds : float or None
        About how long the rest takes; None without finished shards of the same backbone and image size.
    """

    title: str
    backbone: str
    tap: str
    part: str
    images: int
    cached: int
    seconds: float | None

    @property
    def missing(self) -> int:
        """Rows to extract."""
        return self.images - self.cached


def plan_extraction(session: Session, backbone: str) -> list[ExtractionPlan]:
    """Return the plans for one backbone at every tap, over every part; nothing is written or run.

    Raises
    ------
    BadOption
        Tokens would take more than their budget.
    """
    plans = []
    store = find_store(session.settings.sharing.store)
    taps = session.every_tap(backbone)
    check_token_budget(session, taps, "dry run")
    for record in taps:
        seconds = _seconds_per_image(session, record)
        for entry in session.entries(record):
            shared = None if store is None else SharedShards(store, entry)
            missing = sum(len(entry.shards[shard]) for shard in find_missing(entry, shared))
            plans.append(
                ExtractionPlan(
                    entry.title,
                    record.name,
                    entry.tap,
                    entry.part,
                    len(entry),
                    len(entry) - missing,
                    None if seconds is None else seconds * missing,
                )
            )
    return plans


def _seconds_per_image(session: Session, record: Backbone) -> float | None:
    """Return the mean over all finished shards of the same backbone, image size and precision that a net computed."""
    rows, seconds = 0, 0.0
    for folder in entry_folders(session.settings.folders.cache):
        if not folder.parent.name.startswith(f"{path_name(record.name)}-"):
            continue
        with contextlib.suppress(ProbelineError, OSError):
            entry = open_entry(folder)
            net = (entry.inputs["backbone"], entry.inputs["preprocess"]["crop"], entry.inputs["precision"])
            if net != (record.name, record.preprocess.crop, session.settings.nets.precision):
                continue
            for shard in range(len(entry.shards)):
                if is_done(entry, shard):
                    shard_seconds = float(shard_record(entry, shard).provenance.get("seconds", 0.0))
                    if shard_seconds > 0:  # shards copied from other entries took no time
                        rows += len(entry.shards[shard])
                        seconds += shard_seconds
    return seconds / rows if rows else None
