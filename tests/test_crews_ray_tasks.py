"""A crew of Ray: what it asks of Ray, and real clusters whose workers and machines are killed."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from probeline.cli import main
from probeline.crews.crew import Job
from probeline.crews.ray_tasks import Ray
from probeline.errors import CrewFailed
from small_crews import COMMAND, SHARDS, assert_same, make_place

real = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


class RayError(Exception):
    pass


class FakeRay:
    """As much of Ray as a crew uses, in this process; it loses the second task."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, *nodes: dict[str, float]) -> None:
        self._nodes, self._task = nodes, lambda job: ""
        self.asked: list[dict[str, Any]] = []
        self.waited_for: list[list[str]] = []
        self.is_shut = False

    def init(self, **options: Any) -> None:
        self.asked.append(options)

    def nodes(self) -> list[dict[str, Any]]:
        gone = {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 99.0}}
        return [gone, *({"Alive": True, "Resources": node} for node in self._nodes)]

    def remote(self, function: Callable[[Job], str]) -> FakeRay:
        self._task = function
        return self

    def options(self, **options: Any) -> SimpleNamespace:
        self.asked.append(options)
        return SimpleNamespace(remote=lambda job: job)

    def wait(self, running: list[Job], *, num_returns: int) -> tuple[list[Job], list[Job]]:
        self.waited_for.append([job.log.name for job in running])
        return running[:num_returns], running[num_returns:]

    def get(self, job: Job) -> str:
        if job.log.name == "1":
            raise RayError
        return self._task(job)

    def shutdown(self) -> None:
        self.is_shut = True


@pytest.mark.parametrize(
    ("settings", "nodes", "use_gpus", "needed", "line"),
    [
        ({}, [{"CPU": 4.0}], True, (1, 0), "Ray has 1 node (CPU 4, GPU 0); a worker takes CPU 1, GPU 0"),
        (
            {},
            [{"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0}],
            True,
            (1, 1),
            "2 nodes (CPU 12, GPU 2); a worker takes CPU 1, GPU 1",
        ),
        ({}, [{"CPU": 8.0, "GPU": 2.0}], False, (1, 0), "a worker takes CPU 1, GPU 0"),
        ({"cpus": 8.0, "gpus": 0.5}, [{"CPU": 8.0, "GPU": 2.0}], True, (8, 0.5), "takes CPU 8, GPU 0.5"),
        ({"gpus": 1.0}, [{"CPU": 4.0}], True, (1, 1), "GPU 1: no node has as much, and they wait until one does"),
    ],
)
def test_ray_is_asked_for_what_a_worker_needs(
    settings: dict[str, Any],
    nodes: list[dict[str, float]],
    use_gpus: bool,
    needed: tuple[float, float],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray, said = FakeRay(*nodes), list[str]()
    monkeypatch.setitem(sys.modules, "ray", ray)
    crew = Ray({"address": "localhost:6379", **settings}, said.append, use_gpus=use_gpus)
    jobs = [Job.here(["--wrong"], tmp_path / str(number)) for number in range(2)]
    assert crew.run(jobs, 2) == ["exit code 2", "lost by Ray: RayError"]
    assert ray.asked[0]["address"] == "localhost:6379"
    assert (ray.asked[1]["num_cpus"], ray.asked[1]["num_gpus"]) == needed
    assert ray.asked[1]["max_retries"] > 0
    assert line in said[0]
    assert ray.is_shut


def test_no_more_tasks_are_given_to_ray_than_may_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay({"CPU": 99.0})
    monkeypatch.setitem(sys.modules, "ray", ray)
    jobs = [Job.here(["--version"], tmp_path / name) for name in "abcd"]
    crew = Ray({"address": "localhost:6379"}, [].append, use_gpus=False)
    assert crew.run(jobs, 2) == ["exit code 0"] * 4
    assert ray.waited_for == [["a", "b"], ["b", "c"]]


def test_a_ray_that_is_not_reached_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay()
    monkeypatch.setattr(ray, "init", lambda **_: (_ for _ in ()).throw(ConnectionError("nobody\nthere")), raising=False)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(CrewFailed, match=r"^Ray cannot be reached: auto \(got nobody there\)$"):
        Ray({"address": "auto"}, [].append, use_gpus=False).run([Job.here([], tmp_path / "log")], 1)


@pytest.mark.parametrize("port", ["{free}", "99999"])
def test_ray_is_not_asked_to_try_a_wrong_address(port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    with socket.socket() as bound:  # and nobody listens
        bound.bind(("127.0.0.2", 0))
        address = f"127.0.0.2:{port.format(free=bound.getsockname()[1])}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(CrewFailed, match=f"Ray cannot be reached: {address}"):
            Ray({}, [].append, use_gpus=False).run([Job.here([], tmp_path / "log")], 1)
    assert not ray.asked


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(make_place(tmp_path))
    assert main([*COMMAND, "--cache", "alone"]) == 0
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    return tmp_path


CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = cluster.add_node(num_cpus=1)
print("ADDRESS", cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(other, allow_graceful=False)
print("REMOVED", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


def extract_by_ray(*options: str, **environ: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "probeline", *COMMAND, "--crew", "ray", "--crew-size", "2", "--cache", "shared"]
    return subprocess.Popen(
        [*command, *options],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@real
@pytest.mark.slow
def test_ray_starts_a_task_again_whose_worker_is_killed(place: Path) -> None:
    process = extract_by_ray(VICTIM="2/2", PARENT="")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert (place / "killed-2-2").exists()
    assert f"wave 1: 2 workers ended (2 x exit code 0); {SHARDS} shards done, 0 missing" in said
    (log,) = (place / "reports").glob(".crews/*/wave-1-worker-2-of-2.txt")
    assert log.read_text().count("extract: process 2 of 2") == 2, "it was begun twice"
    assert_same(place / "shared", place / "alone")


@real
@pytest.mark.slow
def test_a_machine_of_ray_may_die(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDS", "2")
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    try:
        address = next(line.split()[1] for line in cluster.stdout if line.startswith("ADDRESS"))
        process = extract_by_ray(RAY_ADDRESS=address)
        deadline = time.monotonic() + 120
        while not list(place.glob("shared/*/*/*/shard-*.json")) and time.monotonic() < deadline:
            time.sleep(0.1)
        cluster.stdin.write("kill\n")
        assert any(line.startswith("REMOVED") for line in cluster.stdout)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert "Ray has 2 nodes (CPU 2, GPU 0)" in said
        assert f"wave 1: 2 workers ended (2 x exit code 0); {SHARDS} shards done, 0 missing" in said
        logs = [log.read_text() for log in (place / "reports").glob(".crews/*/*.txt")]
        assert sorted(log.count("extract: process") for log in logs) == [1, 2], "that of the dead machine began twice"
        assert_same(place / "shared", place / "alone")
    finally:
        cluster.communicate("end\n", timeout=60)
