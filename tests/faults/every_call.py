"""SIGKILL at every file-system call of an extraction: before it, after it, and half through each write."""

from __future__ import annotations

import random
import shutil
from functools import partial

from faults import calls, producer
from faults.children import Say, start
from faults.figures import Figures, summed
from probeline.cache.entry import Entry

SHARDS = 2


def run(count: int | None, seed: int) -> Figures:
    """Kill at each call, or at `count` seeded ones of them; audit, run again, compare every byte."""
    clean = producer.clean(SHARDS)
    complaints = []
    with producer.workplace() as place:
        names = calls.count(partial(producer.extract, producer.make_entry(place / "counted", SHARDS)))
        points = [
            (number, when)
            for number, name in enumerate(names)
            for when in (("before", "half", "after") if name == "write" else ("before", "after"))
        ]
        if count is not None:
            points = random.Random(seed).sample(points, count)
        for at, when in points:
            entry = producer.make_entry(place / f"{at}-{when}", SHARDS)

            def work(say: Say, entry: Entry = entry, at: int = at, when: str = when) -> None:
                with calls.between(calls.killing(at, when)):
                    producer.extract(entry, started=lambda number: say(b"c"))

            ended = start(work).finish()
            redone = ended.output.count(b"c") - len(producer.proven(entry))
            found = (
                ended.complaint
                or ("the call was not reached" if ended.code == 0 else "")
                or producer.complaint(entry)
                or (f"{redone} shards redone" if redone > 1 else "")
                or producer.resumed(entry, clean)
            )
            complaints.append(found and f"{when} call {at} ({names[at]}): {found}")
            shutil.rmtree(place / f"{at}-{when}")
    note = f"{len(names)} calls of {SHARDS} shards, before and after each, and half through each write"
    return summed("SIGKILL at every file-system call", complaints, note)
