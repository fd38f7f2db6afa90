"""Calls that a disk refuses: no space, an error of the device, a write that is cut short."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from faults import calls, producer
from faults.children import sweep
from faults.figures import Figures, summed
from probeline.cache import writing
from probeline.cache.entry import Entry
from probeline.errors import BadCache, CannotWrite

SHARDS = 3
CODES = (errno.ENOSPC, errno.EIO)


@dataclass(frozen=True)
class Refusal:
    """What befalls the calls of an extraction.

    Attributes
    ----------
    at : int
        The first call that it befalls.
    name : str
        Of that call.
    code : int
        What is raised; 0 for a write of half the bytes that succeeds.
    lasting : bool
        Whether it befalls all that follow too. Where space is short, names may still be removed.
    """

    at: int
    name: str
    code: int
    lasting: bool

    def __str__(self) -> str:
        what = os.strerror(self.code) if self.code else "half a write"
        return f"{what} {'from' if self.lasting else 'at'} call {self.at} ({self.name})"

    def act(self, number: int, name: str, call: calls.Call, arguments: tuple[Any, ...]) -> Any:
        befallen = number >= self.at if self.lasting else number == self.at
        if not befallen or name == "close" or (self.code == errno.ENOSPC and _needs_no_space(name, arguments)):
            return call(*arguments)
        if self.code:
            raise OSError(self.code, os.strerror(self.code))
        if name != "write":
            return call(*arguments)
        return call(arguments[0], arguments[1][: max(1, len(arguments[1]) // 2)])


def _needs_no_space(name: str, arguments: tuple[Any, ...]) -> bool:
    return name == "unlink" or (name == "open" and not arguments[1] & os.O_CREAT)


def refusals(names: list[str]) -> Iterator[Refusal]:
    """Yield all that is tried on an extraction with these calls."""
    for at, name in enumerate(names):
        if name == "close":  # nothing is left to be written by then
            continue
        for lasting in (False, True):
            yield from (Refusal(at, name, code, lasting) for code in CODES)
            if name == "write":
                yield Refusal(at, name, 0, lasting)


def run(count: int | None, seed: int) -> Figures:
    """Let every call fail, or `count` seeded ones: a clean error or none, what was there kept, the rest resumed."""
    clean = producer.clean(SHARDS)
    with producer.workplace() as place:
        trials: list[tuple[int, str, Refusal]] = []
        for scene, prepare in SCENES.items():
            entry = producer.make_entry(place / scene, SHARDS)
            prepare(entry)
            names = calls.count(partial(_extract, entry, scene))
            trials += [(len(trials), scene, refusal) for refusal in refusals(names)]
        trials = [(number, scene, refusal) for number, (_, scene, refusal) in enumerate(trials)]
        if count is not None:
            trials = random.Random(seed).sample(trials, count)

        def attempt(trial: tuple[int, str, Refusal]) -> str:
            number, scene, refusal = trial
            entry = producer.make_entry(place / f"trial-{number}", SHARDS)
            SCENES[scene](entry)
            try:
                return befall(entry, scene, refusal, clean)
            finally:
                shutil.rmtree(place / f"trial-{number}", ignore_errors=True)

        results = sweep(trials, attempt, limit=20)
    complaints = [
        line.removeprefix("refused") and f"{refusal}, {scene}: {line.removeprefix('refused')}"
        for line, (_, scene, refusal) in zip(results, trials, strict=True)
    ]
    note = (
        "ENOSPC and EIO at each open, write, fsync, link, rename, unlink and mkdir, once and from then on, and half "
        f"writes; {', '.join(SCENES)}; {results.count('refused')} ended in a clean error, the others were withstood"
    )
    return summed("Calls refused by the disk", complaints, note)


def _nothing(entry: Entry) -> None:
    """Leave the entry as it is."""


def _first_shard(entry: Entry) -> None:
    writing.write_entry(entry)
    rows = entry.shards[0]
    writing.write_shard(entry, 0, producer.truth(entry)[rows.start : rows.stop], producer.FACTS)


def _dead_writers_shard(entry: Entry) -> None:
    _first_shard(entry)
    entry.shard_path(1).write_bytes(b"half a shard")


WITHOUT_LINKS = "a file system without links"
SCENES = {
    "an empty cache": _nothing,
    "one shard there": _first_shard,
    "a dead writer's half shard": _dead_writers_shard,
    WITHOUT_LINKS: _first_shard,
}
"""What is there before, by name."""


def _extract(entry: Entry, scene: str) -> None:
    """Extract, as far as the file system lets it."""
    if scene != WITHOUT_LINKS:
        producer.extract(entry)
        return

    def act(number: int, name: str, call: calls.Call, arguments: tuple[Any, ...]) -> Any:
        if name == "link":
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return call(*arguments)

    with calls.between(act):
        producer.extract(entry)


def befall(entry: Entry, scene: str, refusal: Refusal, clean: dict[str, bytes]) -> str:
    """Extract under a refusal, then without one; return what went wrong, or ``refused`` for a clean error."""
    before = {name: data for name, data in producer.files(entry).items() if data == clean[name]}
    refused = ""
    with calls.between(refusal.act):
        try:
            _extract(entry, scene)
        except CannotWrite as error:
            refused = "refused"
            if "\n" in str(error) or "run again" not in str(error):
                return f"an error that does not say what to do: {error}"
        except BadCache as error:
            refused = "refused"
            if "\n" in str(error) or "cannot be read" not in str(error) or str(entry.folder) not in str(error):
                return f"an error that does not name what cannot be read: {error}"
        except Exception as error:
            return f"an error of another kind: {error!r}"
    after = producer.files(entry)
    if not refused and after != clean:
        return "no error, and not complete"
    if before.items() - after.items():
        return "earlier files changed"
    return producer.complaint(entry) or producer.resumed(entry, clean) or refused
