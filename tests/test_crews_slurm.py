"""A crew of SLURM: submitit's own scripts, run by commands that stand for SLURM's."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from probeline.crews.crew import Job
from probeline.crews.slurm import Slurm
from probeline.errors import CrewFailed

pytest.importorskip("submitit", reason="submitit is not installed")

SBATCH = """
import os, pathlib, re, subprocess, sys
script = pathlib.Path(sys.argv[-1])
(here := pathlib.Path(__file__).parent).joinpath("submitted").write_text(script.read_text())
first, last = map(int, re.search(r"--array=(\\d+)-(\\d+)", script.read_text()).groups())
for index in range(first, last + 1):
    own = {"SLURM_JOB_ID": str(70 + index), "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": str(index)}
    own |= {"SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    with (here / "bash.log").open("ab") as log:
        subprocess.Popen(["bash", script], env={**os.environ, **own}, stdout=log, stderr=log)
print("Submitted batch job 7")
"""
SRUN = """
import os, sys
if os.environ["SLURM_ARRAY_TASK_ID"] == "1":
    sys.exit(1)  # a machine that is lost
command = sys.argv[next(index for index, word in enumerate(sys.argv) if "python" in word and index) :]
os.execv(command[0], command)
"""
SACCT = """
print("JobID|State|NodeList")
for index in range(3):
    print(f"7_{index}|{'NODE_FAIL' if index == 1 else 'RUNNING'}|here")
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, program in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT), ("scancel", "")):
        (commands / name).write_text(f"#!{sys.executable}\n{program}")
        (commands / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    return commands


def test_an_array_runs_every_job_and_says_how_each_ended(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0)  # of the lost one there is no result
    jobs = [Job.here(words, tmp_path / f"{words[0]}.txt") for words in (["--version"], ["list"], ["--wrong"])]
    settings = {"minutes": 90, "partition": "gpu", "account": "us", "cpus": 8, "gpus": 1, "memory_gb": 32}
    assert Slurm(settings).run(jobs, 2) == ["exit code 0", "SLURM says NODE_FAIL", "exit code 2"]
    assert stat.S_IMODE((tmp_path / "slurm").stat().st_mode) == 0o700
    assert jobs[0].log.read_text().startswith("probeline ")
    assert "--wrong stands before the verb" in jobs[2].log.read_text()
    lines = (slurm / "submitted").read_text().splitlines()
    assert {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")} >= {
        "array=0-2%2",
        "job-name=probeline",
        "time=90",
        "partition=gpu",
        "account=us",
        "cpus-per-task=8",
        "gpus-per-node=1",
        "mem=32GB",
    }


def test_no_slurm_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CrewFailed, match=r"SLURM takes no job \(got Could not detect .srun"):
        Slurm({"minutes": 1}).run([Job.here(["--version"], tmp_path / "log")], 1)


def test_a_refusal_of_sbatch_is_one_line(slurm: Path, tmp_path: Path) -> None:
    (slurm / "sbatch").write_text(f"#!{sys.executable}\nimport sys\nsys.exit('sbatch: error: no such partition')\n")
    with pytest.raises(CrewFailed, match="no such partition"):
        Slurm({"minutes": 1}).run([Job.here(["--version"], tmp_path / "log")], 1)
