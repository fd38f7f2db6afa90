"""Verifying the cache against the present images and nets: the checks that need the data set, the weights or a net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from probeline.cache.check import EntryCheck, check_entry, set_aside_bad_files
from probeline.cache.entry import Entry
from probeline.cache.reading import read_rows, shard_rows
from probeline.cache.writing import write_entry
from probeline.disk import path_name
from probeline.errors import MissingData
from probeline.extraction import canary
from probeline.extraction.engine import Engine
from probeline.extraction.requests import ShardRequest
from probeline.session import Session
from probeline.types import Backbone

Expected = dict[Path, tuple[Entry, Backbone]]
"""Entries by folder, as they follow from images and nets."""


def expected_entries(fresh: Session) -> tuple[Expected, list[Backbone]]:
    """Return the expected entries that are in the cache, and the nets that have any, for a session without the memo."""
    settings, say = fresh.settings, fresh.console.say
    try:
        fresh.parts()
    except MissingData as error:
        say(f"verify: not compared with its images: {error}")
        return {}, []
    expected: Expected = {}
    nets: list[Backbone] = []
    for name in settings.nets.backbones:
        if not any((settings.folders.cache / fresh.dataset.name).glob(f"{path_name(fresh.spec(name).name)}-*/*/*")):
            say(f"verify: {fresh.dataset.name} x {name}: not in the cache, so not compared with its images")
            continue
        taps = fresh.every_tap(name)
        nets += taps
        for backbone, entry in ((tap, entry) for tap in taps for entry in fresh.entries(tap)):
            if entry.folder.is_dir():
                expected[entry.folder] = (entry, backbone)
            else:
                say(
                    f"verify: {entry.title}: the cache has no entry of exactly these images, net and options; "
                    "probeline explain shows what differs"
                )
    return expected, nets


def drop_wrong_memo(session: Session, fresh: Session, nets: Sequence[Backbone]) -> list[str]:
    """Return the errors of the memo of hashes and of the verdicts on images, and drop what is wrong.

    A file that changed but kept its size and time would otherwise get the features of its earlier content, and a sound
    image that is taken for unreadable would be left out of every run.
    """
    problems = []
    present = {sha256 for part in fresh.dataset.parts.values() for sha256 in part.content} if nets else set()
    if wrong := session.verdicts.known() & present:
        session.verdicts.forget(wrong)
        images = "1 image" if len(wrong) == 1 else f"{len(wrong):,} images"
        return [f"{images} can be read that the cache takes for unreadable: these verdicts are dropped"]
    for name, part in (fresh.dataset.parts if nets else {}).items():
        remembered = session.dataset.parts[name].content if name in session.dataset.parts else part.content
        if len(remembered) == len(part.content):
            pairs = zip(remembered, part.content, strict=True)
            changed = [row for row, (before, now) in enumerate(pairs) if before != now]
            if changed:
                files = "1 file" if len(changed) == 1 else f"{len(changed):,} files"
                problems.append(f"{files} changed under an old size and time, such as {part.sample_ids[changed[0]]}")
    texts = {session.asked_as(net.name, net.weights) for net in nets}
    remembered_nets = {tap for text in texts for tap in session.every_tap(text)}
    problems += [
        f"the weights of {name} changed under an old size and time"
        for name in dict.fromkeys(net.name for net in nets if net not in remembered_nets)
    ]
    if problems:
        session.memo.drop()
    return [f"{line}: the memo of hashes was wrong and is dropped" for line in problems]


def repair_entry(session: Session, entry: Entry, backbone: Backbone, check: EntryCheck) -> EntryCheck:
    """Extract the bad shards of an entry again, and return its new check."""
    shards = set_aside_bad_files(check)
    write_entry(entry)
    if shards:
        Engine(session, backbone).fill(ShardRequest(entry, shards))
    record = ", entry.json" if any(problem.shard is None for problem in check.problems) else ""
    session.console.say(
        f"verify: {entry.title}: extracted again: {len(shards)} shards{record}; the bad files are kept as *.bad"
    )
    return check_entry(entry.folder, entry)


def rerun_rows(session: Session, entry: Entry, backbone: Backbone, check: EntryCheck) -> int:
    """Run ``--canary`` rows of an entry's verified shards again, and return their number. Raises Mismatch."""
    count = session.settings.compute.canary or 0
    rows = canary.sample_rows(entry, shard_rows(entry, list(check.verified)), count)
    worst = canary.rerun(session, Engine(session, backbone), entry, rows, read_rows(entry, rows))
    session.console.say(
        f"verify: {entry.title}: {len(rows)} rows were run again and differ by at most {worst:.1e} "
        "of their largest value"
    )
    return len(rows)


def describe_check(session: Session, check: EntryCheck, *, is_expected: bool) -> str:
    """Return one line about an entry: how much of it is verified, missing, or computed under other conditions."""
    entry = check.entry
    newer = "written by a newer version of Probeline: neither checked nor changed"
    if entry is None:
        return f"{check.folder}: {newer if check.is_newer else 'cannot be read'}"
    line = f"{entry.title} {entry.key[:12]}: {len(check.verified)} of {len(entry.shards)} shards verified"
    if check.verified:
        line += f", {check.bytes / 1e6:.1f} MB: records, keys, ranges, checksums, layout, order, finite values"
    if is_expected:
        line += ", images and labels"
    if check.is_newer:
        line += f"; others were {newer}"
    if check.missing:
        line += f"; {len(check.missing)} not extracted yet"
    elsewhere = [] if session.settings.compute.canary else canary.shards_from_elsewhere(session, entry, check.verified)
    if count := sum(map(len, elsewhere)):
        line += f"; {count} from other hardware or software: --canary 8 runs some of their rows again"
    if check.leftovers:
        line += f"; {len(check.leftovers)} files that do not belong to it (probeline cache gc)"
    return line
