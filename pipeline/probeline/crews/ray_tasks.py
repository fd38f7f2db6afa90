"""A crew of Ray tasks, on the cluster that an address names, else on the one that Ray finds or starts here."""

from __future__ import annotations

import importlib
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from probeline.crews.crew import Job, run_job
from probeline.errors import CrewFailed
from probeline.format import plural

_RETRIES = 3
"""How often Ray itself starts a task again whose machine or process is gone; the next wave does it too."""


_PATIENCE = 20
"""Seconds in which a machine of the cluster answers."""


class Ray:
    """Tasks of Ray, of which each runs one command.

    `settings` are the address, and the CPUs and GPUs that Ray gives to each. By default these are one CPU, and, with
    `use_gpus`, one GPU if the cluster has any.
    """

    def __init__(self, settings: Mapping[str, Any], say: Callable[[str], None], *, use_gpus: bool) -> None:
        self._settings, self._say, self._use_gpus = settings, say, use_gpus

    def run(self, jobs: Sequence[Job], at_once: int) -> list[str]:
        """Run each job as a task; leaving Ray ends those that still run, as after an interrupt."""
        ray: Any = importlib.import_module("ray")

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports from a Ray that is started here
        address = self._settings.get("address") or os.environ.get("RAY_ADDRESS") or None
        try:
            _connect_once(address or "")
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, OverflowError) as error:
            raise CrewFailed(
                "Ray cannot be reached", where=address or "this machine", got=str(error) or type(error).__name__
            ) from error
        try:
            needed = self._choose_resources(ray.nodes())
            task = ray.remote(run_job).options(**needed, max_retries=_RETRIES, scheduling_strategy="SPREAD")
            references: list[Any] = []
            running: list[Any] = []
            for job in jobs:
                if len(running) == at_once:
                    _, running = ray.wait(running, num_returns=1)
                references.append(task.remote(job))
                running.append(references[-1])
            return [self._wait(ray, reference) for reference in references]
        finally:
            ray.shutdown()

    def _choose_resources(self, nodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Return what each task needs, and say it with what the cluster has."""
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        totals = {name: sum(node.get(name, 0) for node in alive) for name in ("CPU", "GPU")}
        cpus = self._settings.get("cpus", 1)
        gpus = self._settings.get("gpus", 1 if self._use_gpus and totals["GPU"] else 0)
        line = (
            f"crew: Ray has {plural(len(alive), 'node')} (CPU {totals['CPU']:g}, GPU {totals['GPU']:g}); "
            f"a worker takes CPU {cpus:g}, GPU {gpus:g}"
        )
        fits = any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in alive)
        self._say(line if fits else f"{line}: no node has as much, and they wait until one does")
        return {"num_cpus": cpus, "num_gpus": gpus}

    @staticmethod
    def _wait(ray: Any, reference: Any) -> str:
        try:
            return str(ray.get(reference))
        except ray.exceptions.RayError as error:
            return f"lost by Ray: {type(error).__name__}"


def _connect_once(address: str) -> None:
    """Connect to a HOST:PORT and hang up: Ray itself tries a wrong one for many minutes.

    Ray takes this machine's own names for its address in the network, so that nothing may listen there.

    Raises
    ------
    OSError, OverflowError
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal() and host not in ("", "localhost", "127.0.0.1"):
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
