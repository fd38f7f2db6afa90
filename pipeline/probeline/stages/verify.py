"""Verify: every byte of the cache, and whether the rows are those of the images and the net as they are now."""

from __future__ import annotations

from typing import Any

from probeline.adapt import sealed
from probeline.errors import Mismatch, MissingData
from probeline.records import Backbone
from probeline.stages import canary
from probeline.stages.engine import Engine, title
from probeline.stages.inputs import Inputs
from probeline.store import entry as store
from probeline.store.audit import Audit, audit, put_aside


def run(inputs: Inputs) -> dict[str, Any]:
    """Check every entry of the cache, and join those of the configuration to their images; return what was checked.

    Images and weights are hashed anew: no memo is asked. With ``repair`` what is bad in the configuration's entries
    is put aside and extracted again, and bad checkpoints are put aside; with ``canary`` so many rows of each entry of
    the configuration are run again.

    Raises
    ------
    Mismatch
        Something is bad, and was not repaired.
    ProbelineError
    """
    config = inputs.config
    say = config.console.say
    audits = {folder: audit(folder) for folder in store.entries(config.cache)}
    joined = _joined(Inputs(config, remember=False))
    audits |= {entry.folder: audit(entry.folder, entry) for entry, _ in joined.values()}
    differing = []
    for folder, (entry, backbone) in joined.items():
        engine: Engine | None = None
        if config.repair and audits[folder].findings:
            engine = Engine(inputs, backbone)
            _repair(entry, audits[folder], engine, inputs)
            audits[folder] = audit(folder, entry)
        if config.canary and audits[folder].proven:
            rows = canary.pick(entry, store.rows_of(entry, list(audits[folder].proven)), config.canary)
            try:
                worst = canary.check(
                    inputs, engine or Engine(inputs, backbone), entry, rows, store.read_rows(entry, rows)
                )
                say(
                    f"verify: {title(entry)}: {len(rows)} rows, run again, differ by {worst:.1e} of their largest value"
                )
            except Mismatch as error:
                differing.append(str(error))
    for audited in audits.values():
        say(f"verify: {_told(audited, joined=audited.folder in joined)}")
    checkpoints = sealed.checkpoints(config.cache)
    torn = [place for place in checkpoints if sealed.read(*place) is None]
    if checkpoints:
        proven = len(checkpoints) - len(torn)
        say(f"verify: checkpoints of training: {proven} of {len(checkpoints)} proven: seals, hashes")
    if config.repair:
        for folder, name in torn:
            sealed.put_aside(folder, name)
            say(f"verify: {folder / name}: put aside as *.bad; training that needs it begins anew")
        torn = []
    findings = [finding.problem for audited in audits.values() for finding in audited.findings] + differing
    findings += [f"a checkpoint is damaged, or its writer died between its two files: {f / name}" for f, name in torn]
    for finding in findings:
        say(f"verify: bad: {finding}")
    if findings:
        raise Mismatch(
            "something in the cache is bad" if len(findings) == 1 else f"{len(findings)} things in the cache are bad",
            where=config.cache,
            remedy="run verify --repair with the --dataset, --backbone and --weights of the entries that are named",
        )
    say(f"verify: {len(audits)} entries in {config.cache}, nothing bad")
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


def _joined(fresh: Inputs) -> dict[Any, tuple[store.Entry, Backbone]]:
    """Return the configuration's entries that are in the cache, as images and nets say they must be, by folder."""
    config = fresh.config
    try:
        parts = fresh.parts()
    except MissingData as error:
        config.console.say(f"verify: not joined to its images: {error}")
        return {}
    found = {}
    for name in config.backbones:
        slug = name.replace("/", "--").replace(":", "--")
        if not any((config.cache / fresh.dataset.name).glob(f"{slug}-*/*/entry.json")):
            continue
        backbone, _ = fresh.backbone(name)
        for part in parts:
            entry = fresh.entry(backbone, part)
            if entry.folder.is_dir():
                found[entry.folder] = (entry, backbone)
            else:
                config.console.say(
                    f"verify: {title(entry)}: the images or the net are others than those that were extracted; "
                    "probeline explain says what differs"
                )
    return found


def _repair(entry: store.Entry, audited: Audit, engine: Engine, inputs: Inputs) -> None:
    shards = put_aside(audited)
    store.begin(entry)
    if shards:
        engine.fill(entry, shards)
    inputs.config.console.say(
        f"verify: {title(entry)}: made anew: {len(shards)} shards"
        + (", entry.json" if any(finding.shard is None for finding in audited.findings) else "")
        + "; the bad files are kept beside them as *.bad"
    )


def _told(audited: Audit, *, joined: bool) -> str:
    entry = audited.entry
    if entry is None:
        return f"{audited.folder}: cannot be read"
    told = (
        f"{title(entry)}: {len(audited.proven)} of {len(entry.shards)} shards proven, "
        f"{audited.bytes / 1e6:.1f} MB: seals, keys, ranges, hashes, layout, order, finite values"
    )
    if joined:
        told += ", images and labels"
    if audited.missing:
        told += f"; {len(audited.missing)} not extracted yet"
    if audited.leftovers:
        told += f"; {len(audited.leftovers)} files that are no part of it (probeline cache gc)"
    return told
