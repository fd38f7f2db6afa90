"""A crew of processes on this machine; where it has several GPUs, each sees one of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from probeline.crews.crew import Job, in_words, start_job


class Local:
    """Processes of this machine; with `share_gpus` they take its GPUs in turn."""

    def __init__(self, *, share_gpus: bool) -> None:
        self._share_gpus = share_gpus

    def run(self, jobs: Sequence[Job]) -> list[str]:
        """Run each job in a process; if this one is interrupted, so are they."""
        gpus = _visible_gpus() if self._share_gpus else []
        processes = []
        try:
            for number, job in enumerate(jobs):
                own = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if len(gpus) > 1 else {}
                processes.append(start_job(replace(job, environment={**job.environment, **own})))
            return [in_words(process.wait()) for process in processes]
        finally:
            for process in processes:
                if process.poll() is None:
                    process.terminate()
                    process.wait()


def _visible_gpus() -> list[str]:
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
