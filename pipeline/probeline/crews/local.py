"""A crew of processes on this machine; where it has several GPUs, each sees one of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue

from probeline.crews.crew import Job, in_words, start_job


class Local:
    """Processes of this machine; with `share_gpus` those that run at once take its GPUs in turn."""

    def __init__(self, *, share_gpus: bool) -> None:
        self._share_gpus = share_gpus

    def run(self, jobs: Sequence[Job], at_once: int) -> list[str]:
        """Run each job in a process; if this one is interrupted, so are they."""
        gpus = _visible_gpus() if self._share_gpus else []
        places: SimpleQueue[dict[str, str]] = SimpleQueue()
        for number in range(at_once):
            places.put({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if len(gpus) > 1 else {})
        running: set[subprocess.Popen[bytes]] = set()
        is_interrupted = False

        def run(job: Job) -> str:
            if is_interrupted:
                return "not started"
            place = places.get()
            try:
                return run_in(place, job)
            except OSError as error:  # no more processes, or no space for a log
                return f"not started: {error}"
            finally:
                places.put(place)

        def run_in(place: dict[str, str], job: Job) -> str:
            process = start_job(replace(job, environment={**job.environment, **place}))
            running.add(process)
            if is_interrupted:
                process.terminate()
            try:
                return in_words(process.wait())
            finally:
                running.discard(process)

        # A thread for each process: where the system can, a process ends with the thread that started it.
        with ThreadPoolExecutor(at_once, thread_name_prefix="crew") as pool:
            try:
                return list(pool.map(run, jobs))
            finally:
                is_interrupted = True
                for process in list(running):
                    process.terminate()


def _visible_gpus() -> list[str]:
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
