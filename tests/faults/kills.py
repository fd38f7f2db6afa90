"""SIGKILL at random moments of an extraction."""

from __future__ import annotations

import random
import shutil
import time

from faults import producer
from faults.calls import between, lingering
from faults.children import Ended, Say, start
from faults.figures import Figures, summed
from probeline.cache.entry import Entry

SHARDS = 6
SLOWEST = 0.0004
"""Seconds that a call takes at most before and after it: in memory no moment would fall on one."""


def run(count: int, seed: int) -> Figures:
    """Kill `count` extractions, audit each, run it again and hold every byte against one that nothing befell."""
    moments = random.Random(seed)
    clean = producer.clean(SHARDS)
    complaints: list[str] = []
    redone = kept = 0
    with producer.workplace() as place:
        whole, took = _extraction(producer.make_entry(place / "whole", SHARDS), seed, None)
        if whole.complaint:
            raise RuntimeError(whole.complaint)
        number = 0
        while len(complaints) < count:
            number += 1
            entry = producer.make_entry(place / str(number), SHARDS)
            ended, lasted = _extraction(entry, seed + number, moments.uniform(0, took))
            if ended.code == 0:  # the moment came too late
                took = min(took, lasted)
                continue
            computed, done = ended.output.count(b"c"), len(producer.proven(entry))
            redone, kept = max(redone, computed - done), kept + done
            complaints.append(
                ended.complaint
                or producer.complaint(entry)
                or (f"{computed - done} shards redone" if computed - done > 1 else "")
                or producer.resumed(entry, clean)
            )
            shutil.rmtree(place / str(number))
    note = f"{SHARDS} shards; {kept} shards were finished before the kills and kept; at most {redone} redone a kill"
    return summed("SIGKILL at a random moment", complaints, note)


def _extraction(entry: Entry, seed: int, moment: float | None) -> tuple[Ended, float]:
    """Extract in a child that may be killed so many seconds after its start; return its end and how long it took."""
    naps = random.Random(seed)

    def work(say: Say) -> None:
        say(b"s")
        with between(lingering(lambda: time.sleep(naps.uniform(0, SLOWEST)))):
            producer.extract(entry, started=lambda number: say(b"c"))

    child = start(work)
    child.hear()
    began = time.perf_counter()
    if moment is not None:
        time.sleep(moment)
        child.kill()
    return child.finish(), time.perf_counter() - began
