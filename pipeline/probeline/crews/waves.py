"""Waves: a crew is started again and again, until nothing is missing."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from probeline.crews.crew import WELL, Crew, Job
from probeline.crews.work import Work
from probeline.disk import make_folder
from probeline.errors import BadOption, CrewFailed, FoundUnreadable
from probeline.files.reading import TEXT, read_text
from probeline.format import plural
from probeline.options.crew import CREWS, parse_crew_settings
from probeline.options.settings import Settings
from probeline.options.share import share_of_environment
from probeline.session import Session

_LOGS = ".crews"
"""The folder among the reports that has a folder of logs for each crew; in a cache they would be somebody else's."""


def choose_crew(session: Session) -> Crew:
    """Return the crew of the settings, with what they give its workers.

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
    name = sharing.crew or "local"
    values = parse_crew_settings(name, sharing.crew_with)
    if name == "ray":
        from probeline.crews.ray_tasks import Ray

        return Ray(values, session.console.say, use_gpus=device not in ("cpu", "mps"))
    if name == "slurm":
        from probeline.crews.slurm import Slurm

        return Slurm(values)
    from probeline.crews.local import Local

    return Local(share_gpus=device in ("auto", "cuda"))


def run_waves(session: Session, crew: Crew, work: Work) -> None:
    """Start a crew until nothing of some work is missing.

    What workers say is shown and not trusted: after each wave the work itself is asked what is missing.

    Raises
    ------
    CrewFailed
        Workers cannot be started, or a wave of them brought nothing.
    FoundUnreadable
        Workers found images that cannot be decoded; loaded again, the data set leaves them out.
    ProbelineError
    """
    settings, say = session.settings, session.console.say
    size, wave, total = settings.sharing.crew_size or 1, 0, work.total
    logs = settings.folders.reports.absolute() / _LOGS / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
    if left := work.count_missing():
        make_folder(logs)
        state = f"{left:,} of {plural(total, work.piece)} {'is' if left == 1 else 'are'} missing"
        say(f"{work.verb}: {describe_crew(settings)}: {state}; logs in {logs}")
    while left:
        wave += 1
        commands = work.commands(min(size, left))
        names = (f"wave-{wave}-worker-{number}-of-{len(commands)}.txt" for number in range(1, len(commands) + 1))
        jobs = [Job.here(words, logs / name) for words, name in zip(commands, names, strict=True)]
        ended = crew.run(jobs, min(size, len(jobs)))
        left_before, left = left, work.count_missing()
        counts = ", ".join(f"{count} x {how}" for how, count in Counter(ended).items())
        state = f"{plural(total - left, work.piece)} done, {left:,} missing"
        say(f"{work.verb}: wave {wave}: {plural(len(jobs), 'worker')} ended ({counts}); {state}")
        _refuse_new_verdicts(session)
        if left >= left_before:
            raise _nothing_done(work, jobs, ended, logs)


def describe_crew(settings: Settings) -> str:
    """Return in words which workers the settings start."""
    workers = CREWS[settings.sharing.crew or "local"].workers
    return f"a crew of {settings.sharing.crew_size} {workers}"


def _refuse_new_verdicts(session: Session) -> None:
    """Raise FoundUnreadable if images turned out to be unreadable in other processes."""
    known = session.verdicts.known()
    session.verdicts.refresh()
    if new := session.verdicts.known() - known:
        raise FoundUnreadable(f"workers found {len(new):,} images that cannot be decoded", remedy="run it again")


def _nothing_done(work: Work, jobs: Sequence[Job], ended: Sequence[str], logs: Path) -> CrewFailed:
    index = next((index for index, how in enumerate(ended) if how != WELL), 0)
    try:
        lines = read_text(jobs[index].log, TEXT).split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "nothing")
    except (OSError, UnicodeDecodeError):
        last = "nothing that can be read"
    return CrewFailed(
        f"{work.verb}: {plural(len(jobs), 'worker')} brought nothing",
        where=logs,
        got=f"worker {index + 1}, {ended[index]}, whose last line is: {last}",
        remedy="mend what the logs say, then run the same command again: what is finished is kept"
        if ended[index] != WELL
        else f"they must see the same files as this process: give {work.shared_options}",
    )
