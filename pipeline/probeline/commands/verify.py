"""Verify: check every byte of the cache, and its rows against the current images and nets."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from probeline.cache.check import check_entry
from probeline.cache.proof import prove_cache
from probeline.cache.reading import entry_folders
from probeline.errors import Mismatch, MissingData
from probeline.extraction.verify import describe_check, drop_wrong_memo, expected_entries, repair_entry, rerun_rows
from probeline.finetuning import checkpoint_files
from probeline.session import Session


def run(session: Session) -> dict[str, Any]:
    """Check every entry of the cache, compare those of the settings with their images, and return the counts.

    Images and weights are hashed anew, and a wrong memo of hashes is dropped. With ``repair`` bad files of the entries
    of the settings are set aside and extracted again, and bad checkpoints are set aside, in a folder that is proven to
    be a cache and not through links; with ``canary`` that number of rows of each entry of the settings is run again.
    """
    settings, say = session.settings, session.console.result
    cache, canary = settings.folders.cache, settings.compute.canary
    fresh = Session(settings, remember=False)
    expected, nets = expected_entries(fresh)
    if not cache.is_dir():
        raise MissingData("no such folder", where=cache, remedy="run extract, or name another --cache")
    known = {folder: entry for folder, (entry, _) in expected.items()}
    own = prove_cache(cache, known).folders if settings.maintenance.repair else ()
    checks = {folder: check_entry(folder, known.get(folder)) for folder in sorted({*entry_folders(cache), *known})}
    stale = drop_wrong_memo(session, fresh, nets)
    rerun, differing = 0, []
    for folder, (entry, backbone) in expected.items():
        if folder in own and checks[folder].entry and checks[folder].problems:
            checks[folder] = repair_entry(session, entry, backbone, checks[folder])
        if canary and checks[folder].verified:
            try:
                rerun += rerun_rows(session, entry, backbone, checks[folder])
            except Mismatch as error:
                rerun += 1
                differing.append(str(error))
    for folder, check in checks.items():
        say(f"verify: {describe_check(session, check, is_expected=folder in expected)}")
    checkpoints = checkpoint_files.checkpoints(cache)
    corrupt = _check_checkpoints(session, checkpoints, own)
    corrupt += [problem.message for check in checks.values() for problem in check.problems]
    _report(session, corrupt, stale, differing)
    if canary and not rerun:
        raise MissingData(
            "no row was run again",
            where=cache,
            expected="an entry of this --dataset, --backbone, --weights and size whose images are available",
            remedy="look for one with probeline cache ls",
        )
    say(f"verify: {len(checks)} {'entry' if len(checks) == 1 else 'entries'} in {cache}, no problem found")
    entries = [{**check.summary(), "joined": folder in expected} for folder, check in checks.items()]
    return {"checkpoints": len(checkpoints), "entries": entries}


def _check_checkpoints(session: Session, checkpoints: list[tuple[Path, str]], own: Collection[Path]) -> list[str]:
    """Return messages about bad checkpoints; those in folders of one's own are set aside instead."""
    say = session.console.result
    bad = [checkpoint for checkpoint in checkpoints if checkpoint_files.read(*checkpoint) is None]
    if checkpoints:
        say(f"verify: {len(checkpoints) - len(bad)} of {len(checkpoints)} training checkpoints verified")
    for folder, name in bad:
        if folder in own:
            checkpoint_files.put_aside(folder, name)
            say(f"verify: {folder / name}: set aside as *.bad; training that needs it starts again")
    return [f"a checkpoint is corrupt or incomplete: {folder / name}" for folder, name in bad if folder not in own]


def _report(session: Session, corrupt: list[str], stale: list[str], differing: list[str]) -> None:
    problems = stale + corrupt + differing
    for problem in problems:
        session.console.result(f"verify: bad: {problem}")
    if not problems:
        return
    remedies = (
        (corrupt, "run verify --repair with the --dataset, --backbone and --weights of the entries that are named"),
        (stale, "run extract again: what changed is extracted anew"),
        (differing, "nothing was changed; find out what differs today, or use another --cache"),
    )
    raise Mismatch(
        "1 problem in the cache" if len(problems) == 1 else f"{len(problems)} problems in the cache",
        where=session.settings.folders.cache,
        remedy="; ".join(remedy for lines, remedy in remedies if lines),
    )
