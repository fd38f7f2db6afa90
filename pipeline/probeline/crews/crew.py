"""What a crew is: something that runs jobs, each a command line of this program in a process of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from probeline.disk import open_log

WELL = "exit code 0"
"""How a process ended that found nothing wrong."""

_ENVIRONMENT = (
    "HF_DATASETS_CACHE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "PROBELINE_DATA",
    "PYTHONPATH",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
)
"""What decides where data, weights and code are; secrets and all that is about one machine stay here."""


@dataclass(frozen=True)
class Job:
    """One worker's command line: the words after ``probeline``, with where and how they are run.

    `log` is the file that gets all that it prints.
    """

    words: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    log: Path

    @classmethod
    def here(cls, words: Sequence[str], log: Path) -> Job:
        """Return a job that is run as if it were typed in this process's folder."""
        return cls(
            tuple(words), Path.cwd(), {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}, log
        )


class Crew(Protocol):
    """Workers that run jobs."""

    def run(self, jobs: Sequence[Job], at_once: int) -> list[str]:
        """Run jobs, so many at once, until all have ended; return how each did, in words that nobody trusts.

        Raises
        ------
        CrewFailed
            They cannot be started.
        """


def start_job(job: Job) -> subprocess.Popen[bytes]:
    """Start a job's process on this machine; it is ended with the thread that started it, if the system can do that."""
    with open_log(job.log) as log:
        return subprocess.Popen(  # noqa: S603 - this program
            # -P: files of the working folder take the place of no module, as for the installed command
            [sys.executable, "-P", "-m", "probeline", *job.words],
            cwd=job.folder,
            env={**os.environ, **job.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent(),
        )


def run_job(job: Job) -> str:
    """Run a job on the machine where this is called, and return how it ended; also if it cannot be started."""
    try:
        return in_words(start_job(job).wait())
    except OSError as error:  # no such folder on that machine
        return f"not started: {error}"


def in_words(code: int) -> str:
    """Return an exit code, or the signal that killed a process, in words."""
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _end_with_parent() -> Callable[[], object] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_ON_PARENTS_DEATH, signal.SIGTERM)


_ON_PARENTS_DEATH = 1
"""PR_SET_PDEATHSIG: an engine kills the process that started a job, and knows nothing of the job's own."""
