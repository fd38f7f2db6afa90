"""What is known of a machine without torch: its processors, by the quota of a container too, and its visible GPUs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import probeline
from probeline import environment


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "0 0\n"}, None),
        (
            {
                "proc/self/cgroup": "0::/pods/one\n",
                "sys/fs/cgroup/pods/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/pods/one/cpu.max": "max 100000\n",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ({"proc/self/cgroup": "0::/../above\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
    ],
)
def test_the_quota_of_a_container(files: dict[str, str], processors: int | None, tmp_path: Path) -> None:
    assert environment._quota(write(tmp_path, files)) == processors


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    monkeypatch.setattr(environment, "_quota", lambda: None)
    assert environment.cores() == allowed
    monkeypatch.setattr(environment, "_quota", lambda: 1)
    assert environment.cores() == 1
    monkeypatch.setattr(environment, "_quota", lambda: 10**6)
    assert environment.cores() == allowed


GPUS = {
    f"proc/driver/nvidia/gpus/0000:0{number}:00.0/information": (
        f"Model: \t\t {model}\nIRQ:   \t\t 25\nGPU UUID: \t {uuid}\n"
    )
    for number, (model, uuid) in enumerate(
        [("NVIDIA A100", "GPU-aaaa-1"), ("NVIDIA H100", "GPU-bbbb-2"), ("NVIDIA L4", "GPU-bbcc-3")]
    )
}


@pytest.mark.parametrize(
    ("listed", "option", "device"),
    [
        (None, "auto", "NVIDIA A100"),
        (None, "cuda:2", "NVIDIA L4"),
        ("2,0", "cuda", "NVIDIA L4"),
        ("2,0", "cuda:1", "NVIDIA A100"),
        (" 1 ", "auto", "NVIDIA H100"),
        ("GPU-bbb", "auto", "NVIDIA H100"),
        ("MIG-1234", "auto", "GPU"),
        ("0,7,1", "cuda:1", "GPU"),
        ("", "auto", "CPU"),
        ("-1", "auto", "CPU"),
        ("wrong", "auto", "CPU"),
        ("", "cuda", "GPU"),
    ],
)
def test_a_gpu_is_counted_among_the_visible_ones(
    listed: str | None, option: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = environment._gpus(write(tmp_path, GPUS))
    monkeypatch.setattr(environment, "_gpus", lambda *_: gpus)
    monkeypatch.setattr(environment, "_driver", lambda: "550.54.14")
    if listed is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert environment.likely_device(option) == device


def test_what_is_measured_on_tells_the_processors() -> None:
    assert environment.environment()["cores"] == environment.cores() >= 1


def test_the_version_is_that_of_the_code_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "installed", lambda name: "0.0.1" if name == "probeline" else None)
    assert environment.environment()["probeline"] == probeline.__version__
