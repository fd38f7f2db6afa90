"""A crew of tasks of a SLURM job array, submitted by submitit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from probeline.crews.crew import Job, run_job
from probeline.errors import CrewFailed

_OWN_NAMES = {
    "minutes": "timeout_min",
    "cpus": "cpus_per_task",
    "gpus": "gpus_per_node",
    "memory_gb": "mem_gb",
    **{name: f"slurm_{name}" for name in ("partition", "account", "qos", "constraint")},
}
"""How submitit calls the settings."""


class Slurm:
    """Tasks of one job array; `cluster` is submitit's name of the scheduler."""

    def __init__(self, settings: Mapping[str, Any], cluster: str = "slurm") -> None:
        self._settings, self._cluster = settings, cluster

    def run(self, jobs: Sequence[Job], at_once: int) -> list[str]:
        """Run each job as a task of an array; an interrupt cancels those that are left."""
        import submitit

        parameters = {_OWN_NAMES[name]: value for name, value in self._settings.items()}
        folder = jobs[0].log.parent / "slurm"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)  # submitit's files are pickles: nobody else may change them
            executor = submitit.AutoExecutor(folder=folder, cluster=self._cluster)
            executor.update_parameters(name="probeline", slurm_array_parallelism=at_once, **parameters)
            tasks = executor.map_array(run_job, jobs)
        except (OSError, RuntimeError) as error:  # no srun here, or sbatch refuses
            raise CrewFailed("SLURM takes no job", got=(str(error).strip() or type(error).__name__)) from error
        try:
            return [self._wait(submitit, task) for task in tasks]
        except BaseException:
            for task in tasks:
                task.cancel(check=False)
            raise

    @staticmethod
    def _wait(submitit: Any, task: Any) -> str:
        try:
            return str(task.result())
        except submitit.core.utils.UncompletedJobError:
            return f"SLURM says {task.state}"
