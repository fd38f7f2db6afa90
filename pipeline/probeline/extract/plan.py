"""What is left to extract of a backbone, per tap and part, and about how long it takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from probeline.cache.reading import entry_folders, is_done, missing_shards, open_entry, shard_record
from probeline.disk import path_name
from probeline.errors import ProbelineError
from probeline.session import Session
from probeline.types import Backbone


@dataclass(frozen=True)
class ExtractionPlan:
    """What is left to extract of one entry.

    Attributes
    ----------
    title : str
        Data set, part, backbone and tap.
    backbone, tap, part : str
    images, cached : int
        All rows of the entry, and those in finished shards.
    seconds : float or None
        About how long the rest takes, estimated from finished shards of the same backbone and image size; None if there
        are none.
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
    """Return what is left to extract of a backbone at every tap, over every part; nothing is written or run.

    Parameters
    ----------
    session : Session
    backbone : str
        ``NAME[@WEIGHTS]``.

    Raises
    ------
    ProbelineError
        As :meth:`probeline.session.Session.taps`.
    """
    plans = []
    for record in session.every_tap(backbone):
        seconds = _seconds_per_image(session, record)
        for entry in session.entries(record):
            missing = sum(len(entry.shards[shard]) for shard in missing_shards(entry))
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
    """Return what an image took in all finished shards of the same backbone, image size and precision."""
    timed = list(_timed_shards(session, record))
    return sum(seconds for _, seconds in timed) / sum(rows for rows, _ in timed) if timed else None


def _timed_shards(session: Session, record: Backbone) -> Iterator[tuple[int, float]]:
    """Yield rows and seconds of each such shard that a net made; a copy of other shards takes no time."""
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
                    seconds = float(shard_record(entry, shard)["provenance"].get("seconds", 0.0))
                    if seconds > 0:
                        yield len(entry.shards[shard]), seconds
