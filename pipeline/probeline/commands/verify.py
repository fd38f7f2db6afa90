"""Verify: every byte of the cache, and whether the rows are those of the images and the net as they are now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from probeline.cache.audit import Audit, audit, put_aside
from probeline.cache.entry import Entry
from probeline.cache.reading import entry_folders, read_rows, shard_rows
from probeline.cache.writing import write_entry
from probeline.disk import path_name
from probeline.errors import Mismatch, MissingData
from probeline.extract import canary
from probeline.extract.engine import Engine, ShardRequest
from probeline.finetune import checkpoint_files as sealed
from probeline.session import Session
from probeline.types import Backbone


def run(session: Session) -> dict[str, Any]:
    """Check every entry of the cache, and join those of the configuration to their images; return what was checked.

    Images and weights are hashed anew: no memo is asked, and one that is found untrue is dropped. With ``repair`` what
    is bad in the configuration's entries is put aside and extracted again, and bad checkpoints are put aside; with
    ``canary`` so many rows of each entry of the configuration are run again.

    Raises
    ------
    MissingData
        There is no such cache, or no row that a canary could run again.
    Mismatch
        Something is bad, and was not repaired.
    ProbelineError
    """
    settings = session.settings
    say = settings.console.say
    fresh = Session(settings, remember=False)
    joined, nets = _joined(fresh)
    if not settings.folders.cache.is_dir():
        raise MissingData("no such folder", where=settings.folders.cache, remedy="run extract, or name another --cache")
    expected = {folder: entry for folder, (entry, _) in joined.items()}
    folders = sorted({*entry_folders(settings.folders.cache), *expected})
    audits = {folder: audit(folder, expected.get(folder)) for folder in folders}
    untrue = _untrue(session, fresh, nets)
    again, differing = 0, []
    for folder, (entry, backbone) in joined.items():
        engine: Engine | None = None
        if settings.maintenance.repair and audits[folder].entry and audits[folder].findings:
            engine = Engine(session, backbone)
            _repair(entry, audits[folder], engine, session)
            audits[folder] = audit(folder, entry)
        if settings.compute.canary and audits[folder].proven:
            rows = canary.sample_rows(entry, shard_rows(entry, list(audits[folder].proven)), settings.compute.canary)
            again += len(rows)
            try:
                worst = canary.rerun(session, engine or Engine(session, backbone), entry, rows, read_rows(entry, rows))
                say(f"verify: {entry.title}: {len(rows)} rows, run again, differ by {worst:.1e} of their largest value")
            except Mismatch as error:
                differing.append(str(error))
    for audited in audits.values():
        say(f"verify: {_told(audited, session, joined=audited.folder in joined)}")
    checkpoints = sealed.checkpoints(settings.folders.cache)
    damaged = _torn(session, checkpoints)
    damaged += [finding.problem for audited in audits.values() for finding in audited.findings]
    findings = untrue + damaged + differing
    for finding in findings:
        say(f"verify: bad: {finding}")
    if findings:
        remedies = (
            (damaged, "run verify --repair with the --dataset, --backbone and --weights of the entries that are named"),
            (untrue, "run extract again: what changed is extracted anew"),
            (differing, "nothing was changed; find out what differs today, or use another --cache"),
        )
        raise Mismatch(
            "something in the cache is bad" if len(findings) == 1 else f"{len(findings)} things in the cache are bad",
            where=settings.folders.cache,
            remedy="; ".join(remedy for some, remedy in remedies if some),
        )
    if settings.compute.canary and not again:
        raise MissingData(
            "no row was run again",
            where=settings.folders.cache,
            expected="an entry of this --dataset, --backbone, --weights and size, joined to its images",
            remedy="look for one with probeline cache ls",
        )
    say(f"verify: {len(audits)} {'entry' if len(audits) == 1 else 'entries'} in {settings.folders.cache}, nothing bad")
    return {
        "checkpoints": len(checkpoints),
        "entries": [
            {
                "folder": str(audited.folder),
                "rows": len(audited.entry) if audited.entry else 0,
                "proven_shards": len(audited.proven),
                "missing_shards": len(audited.missing),
                "bytes": audited.bytes,
                "joined": audited.folder in joined,
            }
            for audited in audits.values()
        ],
    }


def _joined(fresh: Session) -> tuple[dict[Path, tuple[Entry, Backbone]], list[Backbone]]:
    """Return the configuration's entries that are in the cache, as images and nets say they must be, by folder.

    And those nets of which the cache has anything.
    """
    settings, say = fresh.settings, fresh.settings.console.say
    try:
        fresh.parts()
    except MissingData as error:
        say(f"verify: not joined to its images: {error}")
        return {}, []
    found: dict[Path, tuple[Entry, Backbone]] = {}
    nets: list[Backbone] = []
    for name in settings.nets.backbones:
        if not any((settings.folders.cache / fresh.dataset.name).glob(f"{path_name(fresh.spec(name).name)}-*/*/*")):
            say(f"verify: {fresh.dataset.name} x {name}: not in the cache, so not joined to its images")
            continue
        taps = fresh.every_tap(name)
        nets += taps
        for backbone, entry in ((tap, entry) for tap in taps for entry in fresh.entries(tap)):
            if entry.folder.is_dir():
                found[entry.folder] = (entry, backbone)
            else:
                say(
                    f"verify: {entry.title}: no entry of just these images, net and options is in the cache; "
                    "probeline explain says what differs"
                )
    return found, nets


def _untrue(session: Session, fresh: Session, nets: list[Backbone]) -> list[str]:
    """Return what the memo of hashes has wrong, and drop the memo where that is anything.

    A file that changed under its old size and time would be met with the embeddings of what it was.
    """
    found = []
    for name, part in (fresh.dataset.parts if nets else {}).items():
        believed = session.dataset.parts[name].content if name in session.dataset.parts else part.content
        if len(believed) == len(part.content):
            changed = [row for row, pair in enumerate(zip(believed, part.content, strict=True)) if len(set(pair)) > 1]
            if changed:
                files = "1 file" if len(changed) == 1 else f"{len(changed):,} files"
                found.append(f"{files} changed under an old size and time, such as {part.sample_ids[changed[0]]}")
    texts = {session.asked_as(net.name, net.weights) for net in nets}
    believed_nets = {tap for text in texts for tap in session.every_tap(text)}
    found += [
        f"the weights of {name} changed under an old size and time"
        for name in dict.fromkeys(net.name for net in nets if net not in believed_nets)
    ]
    if found:
        session.memo.drop()
    return [f"{line}: the memo of hashes was wrong and is dropped" for line in found]


def _torn(session: Session, checkpoints: list[tuple[Path, str]]) -> list[str]:
    """Return which checkpoints are bad; with ``repair`` they are put aside, and it is none."""
    say = session.console.say
    torn = [place for place in checkpoints if sealed.read(*place) is None]
    if checkpoints:
        proven = len(checkpoints) - len(torn)
        say(f"verify: checkpoints of training: {proven} of {len(checkpoints)} proven: seals, hashes")
    if not session.settings.maintenance.repair:
        return [f"a checkpoint is damaged, or its writer died between its two files: {f / name}" for f, name in torn]
    for folder, name in torn:
        sealed.put_aside(folder, name)
        say(f"verify: {folder / name}: put aside as *.bad; training that needs it begins anew")
    return []


def _repair(entry: Entry, audited: Audit, engine: Engine, session: Session) -> None:
    shards = put_aside(audited)
    write_entry(entry)
    if shards:
        engine.fill(ShardRequest(entry, shards))
    session.console.say(
        f"verify: {entry.title}: made anew: {len(shards)} shards"
        + (", entry.json" if any(finding.shard is None for finding in audited.findings) else "")
        + "; the bad files are kept beside them as *.bad"
    )


def _told(audited: Audit, session: Session, *, joined: bool) -> str:
    entry = audited.entry
    if entry is None:
        return f"{audited.folder}: cannot be read"
    told = f"{entry.title} {entry.key[:12]}: {len(audited.proven)} of {len(entry.shards)} shards proven"
    if audited.proven:
        told += f", {audited.bytes / 1e6:.1f} MB: seals, keys, ranges, hashes, layout, order, finite values"
    if joined:
        told += ", images and labels"
    if audited.missing:
        told += f"; {len(audited.missing)} not extracted yet"
    if not session.settings.compute.canary and (
        strange := sum(map(len, canary.shards_from_elsewhere(session, entry, audited.proven)))
    ):
        told += f"; {strange} made elsewhere or by other software: --canary 8 runs rows of them again"
    if audited.leftovers:
        told += f"; {len(audited.leftovers)} files that are no part of it (probeline cache gc)"
    return told
