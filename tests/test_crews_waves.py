"""A crew is started until the cache is complete, whatever its workers say or whoever kills them."""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock, Thread

import pytest

from probeline.cache.format.layout import look_into
from probeline.cache.reading import missing_shards
from probeline.cli import main
from probeline.cli.parser import parse
from probeline.cli.program import run_steps
from probeline.crews import local
from probeline.crews.crew import Job
from probeline.crews.local import Local
from probeline.options.checks import check_settings
from probeline.options.settings import Settings
from small_crews import COMMAND, SHARDS, assert_same, entry_in, make_place
from small_runs import Listening, bomb, configuration, make_photos

CREW = ["--crew", "local", "--crew-size", "3", "--cache", "shared"]


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "RANK", "WORLD_SIZE", "JOB_COMPLETION"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(make_place(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_who_is_killed_is_replaced_by_the_others(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMAND, "--cache", "alone"]) == 0
    monkeypatch.setenv("VICTIM", "2/3")
    capsys.readouterr()
    assert main([*COMMAND, *CREW]) == 0
    said = capsys.readouterr().out
    assert f"a crew of 3 processes on this machine: {SHARDS} of {SHARDS} shards are missing; logs in {place}" in said
    (wave,) = re.findall(r"wave .*", said)
    assert "wave 1: 3 workers ended" in wave
    assert "2 x exit code 0" in wave
    assert "1 x killed by SIGKILL" in wave
    assert f"{SHARDS} shards done, 0 missing" in wave
    assert_same(place / "shared", place / "alone")
    assert look_into(place / "shared").is_only_a_cache


@pytest.mark.slow
def test_a_wave_that_is_killed_is_followed_by_another(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VICTIM", "all")
    assert main([*COMMAND, *CREW, "--crew-size", "2", "--json"]) == 0
    out, said = capsys.readouterr()
    first, *_, last = re.findall(r"wave .*", said)
    assert "2 x killed by SIGKILL" in first
    assert f"{SHARDS} shards done, 0 missing" in last
    assert not missing_shards(entry_in(place / "shared"))
    assert f'"extracted_shards": {SHARDS}' in out


@pytest.mark.slow
def test_a_wave_that_brings_nothing_ends_the_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BROKEN", "1")
    assert main([*COMMAND, *CREW]) == 2
    out, err = capsys.readouterr()
    assert len(re.findall("wave ", out)) == 1
    (line,) = err.splitlines()
    assert f"extract: 3 workers brought nothing: {place}/reports/.crews/" in line
    assert "worker 1, exit code 2, whose last line is: " in line
    assert "out of order" in line


@pytest.mark.slow
def test_images_that_workers_find_unreadable_are_left_out(tmp_path: Path) -> None:
    root = make_photos(tmp_path / "photos")
    (root / "ants" / "3.jpg").write_bytes(bomb(60_000, 60_000))
    console = Listening()
    options = {"dataset": f"folder:{root}", "limit": None, "console": console, "crew": "local", "crew_size": 2}
    settings = configuration(tmp_path / "cache", **options)
    results = run_steps(settings, [(settings, ("extract",))])
    assert [entry["shape"] for entry in results["extract"]] == [[19, 512]]
    assert [image["sample_id"] for image in results["unreadable"]] == ["ants/3.jpg"]
    assert sum("wave 1" in line for line in console.said) == 1, "workers have left it out themselves"


class Liars:
    """They say that all is well, and extract nothing."""

    def run(self, jobs: Sequence[Job], at_once: int) -> list[str]:  # noqa: ARG002
        for job in jobs:
            job.log.write_text("done\n")
        return ["exit code 0"] * len(jobs)


def test_no_worker_is_believed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("probeline.crews.local.Local", lambda **_: Liars())
    assert main([*COMMAND, *CREW]) == 2
    assert "give a --cache that all machines share" in capsys.readouterr().err


class Listed:
    """They keep their jobs, and do them in this process."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def run(self, jobs: Sequence[Job], at_once: int) -> list[str]:  # noqa: ARG002
        self.jobs += jobs
        return [f"exit code {main(job.words)}" for job in jobs]


def test_a_worker_is_told_all_that_this_process_was_told_and_starts_no_crew(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = Listed()
    monkeypatch.setattr("probeline.crews.local.Local", lambda **_: crew)
    assert main([*COMMAND, *CREW, "--limit", "2000", "--crew-size", "7"]) == 0
    assert [vars(parse(job.words))["share"] for job in crew.jobs] == ["1/2", "2/2"], "no more workers than shards"
    for job in crew.jobs:
        assert {name: value for name, value in vars(parse(job.words)).items() if value is not None} == {
            **{
                name: value for name, value in vars(parse([*COMMAND, "--cache", "shared"])).items() if value is not None
            },
            "limit": 2000,
            "share": vars(parse(job.words))["share"],
        }
        assert job.folder == place


def test_nothing_is_started_where_nothing_is_missing(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMAND, "--cache", "shared", "--limit", "100"]) == 0
    monkeypatch.setattr("probeline.crews.local.Local", lambda **_: None)
    assert main([*COMMAND, *CREW, "--limit", "100"]) == 0
    assert "crew" not in capsys.readouterr().out
    assert not (place / "reports" / ".crews").exists()


def test_a_dry_run_says_what_would_be_started(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, *CREW, "--dry-run"]) == 0
    said = capsys.readouterr().out
    (command,) = re.findall("a crew of 3 processes on this machine would be started, the first as: (.*)", said)
    assert vars(parse(shlex.split(command)[1:]))["share"] == "1/3"
    assert not (place / "shared").exists()


def test_a_process_that_a_launcher_numbered_starts_no_crew(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("probeline.cli.program.SECONDS_TO_WAIT", 0)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert main([*COMMAND, *CREW]) == 2
    assert "--crew in one of several processes (got process 2/4 by torchrun)" in capsys.readouterr().err


def test_workers_take_the_gpus_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str | None] = []

    class Process:
        def wait(self) -> int:
            return 0

        def poll(self) -> int:
            return 0

    def start(job: Job) -> Process:
        started.append(job.environment.get("CUDA_VISIBLE_DEVICES"))
        return Process()

    monkeypatch.setattr(local, "start_job", start)
    jobs = [Job.here(["--version"], tmp_path / str(number)) for number in range(3)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert Local(share_gpus=True).run(jobs, 3) == ["exit code 0"] * 3
    assert Local(share_gpus=False).run(jobs[:1], 1) == ["exit code 0"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    Local(share_gpus=True).run(jobs[:1], 1)
    assert sorted(filter(None, started[:3])) == ["4", "4", "6"]
    assert started[3:] == [None, None]


def test_no_more_processes_run_at_once_than_there_are_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0
    lock = Lock()

    class Process:
        def wait(self) -> int:
            nonlocal running
            time.sleep(0.05)
            with lock:
                running -= 1
            return 0

    def start(job: Job) -> Process:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        return Process()

    monkeypatch.setattr(local, "start_job", start)
    jobs = [Job.here(["--version"], tmp_path / str(number)) for number in range(7)]
    assert Local(share_gpus=False).run(jobs, 3) == ["exit code 0"] * 7
    assert most == 3


def test_a_process_that_cannot_be_started_keeps_no_other_from_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Process:
        def wait(self) -> int:
            return 0

    def start(job: Job) -> Process:
        if job.log.name == "0":
            raise BlockingIOError(errno.EAGAIN, "no more processes")
        return Process()

    monkeypatch.setattr(local, "start_job", start)
    jobs = [Job.here(["--version"], tmp_path / str(number)) for number in range(3)]
    ended: list[str] = []
    runner = Thread(target=lambda: ended.extend(Local(share_gpus=False).run(jobs, 1)), daemon=True)
    runner.start()
    runner.join(30)
    assert ended == [f"not started: [Errno {errno.EAGAIN}] no more processes", "exit code 0", "exit code 0"]


def test_an_interrupt_ends_the_processes_and_starts_no_more(tmp_path: Path) -> None:
    program = tmp_path / "probeline.py"
    program.write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    code = (
        "import sys, threading, time, signal, os\n"
        "from pathlib import Path\n"
        "from probeline.crews.crew import Job\n"
        "from probeline.crews.local import Local\n"
        "folder = Path(sys.argv[1])\n"
        "jobs = [Job((), folder, {'PYTHONPATH': str(folder)}, folder / f'{n}.log') for n in range(3)]\n"
        "Local(share_gpus=False).run(jobs, 2)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while len([log for log in tmp_path.glob("*.log") if log.read_text()]) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        pids = [int(log.read_text()) for log in tmp_path.glob("*.log")]
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate(timeout=30)[1]
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids) or sys.platform != "linux"
    assert not (tmp_path / "2.log").exists()


STARTED = """
import sys, time
from pathlib import Path
from probeline.crews.crew import Job, start_job

sys.executable = sys.argv[1]
print(start_job(Job.here([], Path(sys.argv[2]))).pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can do it")
def test_no_job_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    with subprocess.Popen([sys.executable, "-c", STARTED, program, tmp_path / "log"], stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        status = Path(f"/proc/{int(engine.stdout.readline())}/stat")
        assert status.read_text().split()[2] != "Z"
        engine.kill()
    deadline = time.monotonic() + 20
    while status.exists() and status.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not status.exists() or status.read_text().split()[2] == "Z"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"crew_size": 3}, "--crew-size without --crew"),
        ({"crew_with": ("gpus=1",)}, "--crew-with without --crew"),
        ({"crew": "local"}, "--crew without --crew-size"),
        ({"crew": "locl", "crew_size": 3}, "unknown crew 'locl' .*did you mean local"),
        ({"crew": "local", "crew_size": 3, "share": "1/3"}, "--crew with --share"),
        ({"crew": "local", "crew_size": 3, "crew_with": ("gpus=1",)}, "--crew local takes no --crew-with"),
        ({"crew": "ray", "crew_size": 3, "crew_with": ("gpu=1",)}, "unknown name in --crew-with 'gpu'.*gpus"),
        ({"crew": "ray", "crew_size": 3, "crew_with": ("gpus=-1",)}, r"bad --crew-with gpus .*got -1"),
        ({"crew": "ray", "crew_size": 3, "crew_with": ("cpus=nan",)}, r"bad --crew-with cpus .*got nan"),
        ({"crew": "ray", "crew_size": 3, "crew_with": ("cpus=1", "cpus=2")}, "got cpus twice"),
        ({"crew": "ray", "crew_size": 3, "crew_with": ("address=",)}, "expected address=VALUE once, got address="),
        ({"crew": "slurm", "crew_size": 3}, r"--crew slurm without --crew-with minutes"),
        ({"crew": "slurm", "crew_size": 3, "crew_with": ("minutes=1.5",)}, "expected a whole number"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError if "unknown" not in expected else LookupError, match=expected):
        check_settings(Settings.of(**options))


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"ray is not installed; pip install 'probeline\[ray\]'"):
        check_settings(Settings.of(crew="ray", crew_size=3))
    with pytest.raises(ImportError, match=r"submitit is not installed; pip install 'probeline\[slurm\]'"):
        check_settings(Settings.of(crew="slurm", crew_size=3, crew_with=("minutes=10",)))
