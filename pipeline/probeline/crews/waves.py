"""Waves: a crew is started again and again, until the cache says that nothing is missing."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probeline.cache.entry import Entry
from probeline.crews.crew import WELL, Crew, Job
from probeline.disk import make_folder
from probeline.errors import BadOption, CrewFailed, FoundUnreadable
from probeline.files.reading import TEXT, read_text
from probeline.format import plural
from probeline.options.command_line import command_line, command_words
from probeline.options.crew import CREWS, parse_crew_settings
from probeline.options.settings import Settings
from probeline.options.share import Share, share_of_environment
from probeline.session import Session
from probeline.stores.shards import SharedShards, find_missing
from probeline.stores.store import Store, find_store

_LOGS = ".crews"
"""The folder among the reports that has a folder of logs for each crew; in a cache they would be somebody else's."""


def choose_crew(session: Session, name: str) -> Crew:
    """Return the crew of a name, with what the settings give its workers.

    Raises
    ------
    BadOption
        This process is itself one of several.
    """
    sharing, device = session.settings.sharing, session.settings.compute.device
    if found := share_of_environment(os.environ):
        raise BadOption(
            "--crew in one of several processes",
            got=f"process {found[0]} by {found[1]}",
            remedy="leave --crew away there, or start the command once and without that launcher",
        )
    values = parse_crew_settings(name, sharing.crew_with)
    if name == "ray":
        from probeline.crews.ray_tasks import Ray

        return Ray(values, session.console.say, use_gpus=device not in ("cpu", "mps"))
    if name == "slurm":
        from probeline.crews.slurm import Slurm

        return Slurm(values)
    from probeline.crews.local import Local

    return Local(share_gpus=device in ("auto", "cuda"))


def run_waves(session: Session, crew: Crew) -> dict[str, int]:
    """Start a crew until no shard of the session's entries is missing; return how many were, by entry's folder.

    What workers say is shown and not trusted: after each wave the cache is read. A wave has no more workers than shards
    are missing.

    Raises
    ------
    CrewFailed
        Workers cannot be started, or a wave of them extracted nothing.
    FoundUnreadable
        Workers found images that cannot be decoded; loaded again, the data set leaves them out.
    ProbelineError
    """
    settings, say = session.settings, session.console.say
    taps = [tap for name in settings.nets.backbones for tap in session.every_tap(name)]
    entries = [entry for tap in taps for entry in session.entries(tap)]
    total = sum(len(entry.shards) for entry in entries)
    store = find_store(settings.sharing.store)
    before = missing = _count_missing(entries, store)
    size, wave = settings.sharing.crew_size or 1, 0
    logs = settings.folders.reports.absolute() / _LOGS / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
    if left := sum(missing.values()):
        make_folder(logs)
        say(f"extract: {describe_crew(settings)}: {left:,} of {total:,} shards are missing; logs in {logs}")
    while left:
        wave += 1
        jobs = _make_jobs(settings, min(size, left), logs, wave)
        ended = crew.run(jobs)
        missing, left_before = _count_missing(entries, store), left
        left = sum(missing.values())
        counts = ", ".join(f"{count} x {how}" for how, count in Counter(ended).items())
        state = f"{total - left:,} shards are done, {left:,} missing"
        say(f"extract: wave {wave}: {plural(len(jobs), 'worker')} ended ({counts}); {state}")
        _refuse_new_verdicts(session)
        if left >= left_before:
            raise _nothing_done(jobs, ended, logs)
    return before


def describe_crew(settings: Settings) -> str:
    """Return in words which workers the settings start."""
    workers = CREWS[settings.sharing.crew or "local"].workers
    return f"a crew of {settings.sharing.crew_size} {workers}"


def describe_first_job(settings: Settings) -> str:
    """Return the command of the first of a crew's workers."""
    return command_line(settings, "extract", **_changes(0, settings.sharing.crew_size or 1))


def _changes(index: int, count: int) -> dict[str, Any]:
    # With a share of its own a worker asks no launcher which one it is, and without a crew it starts none.
    return {"share": str(Share(index, count)), "crew": None, "crew_size": None, "crew_with": ()}


def _make_jobs(settings: Settings, count: int, logs: Path, wave: int) -> list[Job]:
    return [
        Job.here(
            command_words(settings, "extract", **_changes(index, count)),
            logs / f"wave-{wave}-worker-{index + 1}-of-{count}.txt",
        )
        for index in range(count)
    ]


def _count_missing(entries: Sequence[Entry], store: Store | None) -> dict[str, int]:
    # A listing of a store is used for a moment only, so each count has its own.
    shared = [None if store is None else SharedShards(store, entry) for entry in entries]
    return {str(entry.folder): len(find_missing(entry, own)) for entry, own in zip(entries, shared, strict=True)}


def _refuse_new_verdicts(session: Session) -> None:
    """Raise FoundUnreadable if images turned out to be unreadable in other processes."""
    known = session.verdicts.known()
    session.verdicts.refresh()
    if new := session.verdicts.known() - known:
        raise FoundUnreadable(f"workers found {len(new):,} images that cannot be decoded", remedy="run it again")


def _nothing_done(jobs: Sequence[Job], ended: Sequence[str], logs: Path) -> CrewFailed:
    index = next((index for index, how in enumerate(ended) if how != WELL), 0)
    try:
        lines = read_text(jobs[index].log, TEXT).split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "nothing")
    except (OSError, UnicodeDecodeError):
        last = "nothing that can be read"
    return CrewFailed(
        f"{len(jobs)} workers extracted nothing",
        where=logs,
        got=f"worker {index + 1}, {ended[index]}, whose last line is: {last}",
        remedy="mend what the logs say, then run the same command again: what is finished is kept"
        if ended[index] != WELL
        else "they must see the same files as this process: give a --cache that all machines share, or a --store",
    )
