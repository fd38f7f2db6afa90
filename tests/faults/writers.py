"""Many writers on one entry, some of them killed; and a second one that locks do not keep away."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import time
from functools import partial
from typing import Any

import numpy as np

from faults import calls, producer
from faults.children import Child, Say, start
from faults.figures import Figures, summed
from probeline.cache import reading, writing
from probeline.cache.check import check_entry, set_aside_bad_files
from probeline.cache.entry import Entry
from probeline.errors import ProbelineError
from probeline.extraction import turns
from probeline.options.share import Share
from probeline.types import FloatArray

SHARDS = 5
SLOWEST = 0.003
"""Seconds that computing a shard takes at most."""

MOST_WRITERS = 8

SHARERS, SHARED_SHARDS = 4, 24


def run(count: int, seed: int) -> Figures:
    """Let 2 to 8 writers share an entry, `count` rounds for each number, with locks and without in turn."""
    clean = producer.clean(SHARDS)
    complaints = []
    killed = twice = 0
    with producer.workplace() as place:
        for writers in range(2, MOST_WRITERS + 1):
            for number in range(count):
                chance = random.Random(f"{seed} {writers} {number}")
                entry = producer.make_entry(place / "cache", SHARDS)
                complaint, deaths, again = _round(entry, writers, number % 2 == 0, chance)
                complaints.append(complaint or producer.complaint(entry) or producer.resumed(entry, clean))
                killed, twice = killed + deaths, twice + again
                shutil.rmtree(place / "cache")
    note = (
        f"{count} rounds for each number, every other one on a file system without locks; {killed:,} writers killed; "
        f"with locks, {twice:,} shards were computed twice, never more than were killed"
    )
    return summed(f"2 to {MOST_WRITERS} writers with random kills", complaints, note)


def _round(entry: Entry, writers: int, with_locks: bool, chance: random.Random) -> tuple[str, int, int]:
    """Run some writers and kill some of them; return what went wrong, how many died, and what was computed again."""
    children = [start(partial(_write, entry, with_locks, chance.random())) for _ in range(writers)]
    moments = sorted((chance.uniform(0, 2 * SLOWEST * SHARDS), child.process, child) for child in children)
    began = time.perf_counter()
    for moment, _, child in moments[: chance.randrange(writers + 1)]:
        time.sleep(max(0.0, began + moment - time.perf_counter()))
        child.kill()
    ends = [_finished(child) for child in children]
    killed = sum(end[1] for end in ends)
    again = max(0, sum(end[2] for end in ends) - SHARDS)
    complaint = next((end[0] for end in ends if end[0]), "")
    if killed < writers and not complaint and reading.missing_shards(entry):
        complaint = "writers ended and left shards that are not done"
    if with_locks and again > killed:
        complaint = complaint or f"{again} shards computed again after {killed} kills"
    return complaint, killed, again if with_locks else 0


def _finished(child: Child) -> tuple[str, bool, int]:
    """Return a writer's complaint, whether it was killed, and how many shards it began."""
    ended = child.finish()
    return ended.complaint, ended.code < 0, ended.output.count(b"c")


def _write(entry: Entry, with_locks: bool, seed: float, say: Say) -> None:
    naps = random.Random(seed)
    if not with_locks:
        fcntl.flock = _refuse

    def compute(number: int) -> None:
        say(b"c")
        time.sleep(naps.uniform(0, SLOWEST))

    with calls.between(calls.lingering(lambda: time.sleep(naps.uniform(0, SLOWEST / 10)))):
        producer.extract(entry, started=compute, poll_seconds=0.002)


def _refuse(*arguments: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def run_shared(count: int, seed: int) -> Figures:
    """Let 4 writers share an entry by a rule: no locks, clocks that differ by days, and stale listings in turn."""
    clean = producer.clean(SHARED_SHARDS)
    complaints = []
    killed = twice = 0
    with producer.workplace() as place:
        for number in range(count):
            chance = random.Random(f"{seed} {number}")
            entry = producer.make_entry(place / "cache", SHARED_SHARDS)
            complaint, deaths, again = _shared_round(entry, number % 2 == 1, chance)
            complaints.append(complaint or producer.complaint(entry) or producer.resumed(entry, clean))
            killed, twice = killed + deaths, twice + again
            shutil.rmtree(place / "cache")
    note = (
        f"{SHARED_SHARDS} shards; {killed:,} writers killed; every other round a third of the looks whether a shard is "
        f"there were stale; in the others {twice:,} shards were computed twice, never more than {SHARERS**2} a round"
    )
    return summed(f"{SHARERS} writers that share by a rule, without locks", complaints, note)


def _shared_round(entry: Entry, is_stale: bool, chance: random.Random) -> tuple[str, int, int]:
    shares = [Share(index, SHARERS) for index in range(SHARERS)]
    children = [start(partial(_write_share, entry, share, is_stale, chance.random())) for share in shares]
    latest = 2 * SLOWEST * SHARED_SHARDS / SHARERS
    moments = sorted((chance.uniform(0, latest), child.process, child) for child in children)
    began = time.perf_counter()
    for moment, _, child in moments[: chance.randrange(SHARERS)]:  # one lives at least
        time.sleep(max(0.0, began + moment - time.perf_counter()))
        child.kill()
    ends = [_finished(child) for child in children]
    complaint = next((end[0] for end in ends if end[0]), "")
    if not complaint and reading.missing_shards(entry):
        complaint = "a writer ended and left shards that are not done"
    again = max(0, sum(end[2] for end in ends) - SHARED_SHARDS)
    if not is_stale and again > SHARERS**2:
        complaint = complaint or f"{again} shards computed again"
    return complaint, sum(end[1] for end in ends), 0 if is_stale else again


def _write_share(entry: Entry, share: Share, is_stale: bool, seed: float, say: Say) -> None:
    chance = random.Random(seed)
    fcntl.flock = _refuse
    shift, clock = chance.uniform(-3, 3) * 86_400, time.time
    time.time = lambda: clock() + shift
    slowest = SLOWEST * chance.choice([1, 1, 1, 8])
    if is_stale:
        turns.is_done = lambda entry, number: chance.random() > 1 / 3 and reading.is_done(entry, number)
    values = producer.truth(entry)
    with calls.between(calls.lingering(lambda: time.sleep(chance.uniform(0, SLOWEST / 10)))):
        shards = share.order(reading.missing_shards(entry))
        writing.write_entry(entry)
        with turns.Turns(entry, shards) as claims:
            for number in shards:
                if claims.lock(number):
                    say(b"c")
                    time.sleep(chance.uniform(0, slowest))
                    rows = entry.shards[number]
                    writing.write_shard(entry, number, values[rows.start : rows.stop], producer.FACTS)
                    claims.release(number)


def run_between(count: int | None, seed: int) -> Figures:
    """Without locks, let a second writer run to its end, or to its death, at each call of the first."""
    return _run_between("A second writer at every call of the first", count, seed, other_bits=False)


def run_other_bits(count: int | None, seed: int) -> Figures:
    """The same with a second writer whose features differ in their last bit, as another processor's do."""
    return _run_between("The same, with features of other bits", count, seed, other_bits=True)


def _run_between(name: str, count: int | None, seed: int, *, other_bits: bool) -> Figures:
    clean = producer.clean(1)
    with producer.workplace() as place:
        names = calls.count(partial(producer.extract, producer.make_entry(place / "counted", 1)))
        points = [(at, dies_at) for at in range(len(names)) for dies_at in (None, *range(len(names)))]
        if count is not None:
            points = random.Random(seed).sample(points, count)
        complaints = []
        refused = 0
        for at, dies_at in points:
            entry = producer.make_entry(place / "cache", 1)
            found = start(partial(_first, entry, at, dies_at, other_bits)).finish().complaint
            if other_bits:
                if check_entry(entry.folder, entry).problems:
                    refused += 1
                    set_aside_bad_files(check_entry(entry.folder, entry))
                found = found or _either(entry)
            else:
                found = found or producer.complaint(entry) or producer.resumed(entry, clean)
            complaints.append(found and f"the second at call {at} ({names[at]}), dying at {dies_at}: {found}")
            shutil.rmtree(place / "cache")
    note = (
        f"no locks; it ends, or dies at one of its own calls: {len(points):,} of {len(names)} x {len(names) + 1} ways"
    )
    if other_bits:
        note += f"; {refused} left a shard that reading refuses and a repair makes anew"
    return summed(name, complaints, note)


def _either(entry: Entry) -> str:
    """Extract what is missing, and say where a shard is neither writer's."""
    try:
        producer.extract(entry)
        found = reading.read_features(entry).features
    except ProbelineError as error:
        return str(error)
    values = producer.truth(entry)
    return "" if np.array_equal(found, values) or np.array_equal(found, _nudged(values)) else "neither writer's rows"


def _nudged(values: FloatArray) -> FloatArray:
    """Return the next larger float32 of each value."""
    return np.nextafter(values, np.float32(np.inf))


def _first(entry: Entry, at: int, dies_at: int | None, other_bits: bool, say: Say) -> None:
    fcntl.flock = _refuse

    def act(number: int, name: str, call: calls.Call, arguments: tuple[Any, ...]) -> Any:
        if number == at:
            ended = start(lambda _: _second(entry, dies_at, other_bits)).finish()
            if ended.complaint:
                raise RuntimeError(ended.complaint)
        return call(*arguments)

    with calls.between(act):
        producer.extract(entry)


def _second(entry: Entry, dies_at: int | None, other_bits: bool) -> None:
    with calls.between(calls.killing(-1 if dies_at is None else dies_at, "before")):
        producer.extract(entry, change=_nudged if other_bits else lambda values: values)
