"""Fine-tuning on the command line in several processes: one request, one voice, and processes that die."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from probeline.cli import program
from probeline.cli.program import main
from probeline.commands import finetune
from probeline.errors import BadData, BadOption, FoundUnreadable, RankLost
from probeline.finetuning.ranks import ALONE
from probeline.finetuning.requests import accumulate_over
from probeline.options.settings import Settings
from probeline.results.score import SCORES, Score
from probeline.session import Session
from small_ranks import start

pytestmark = pytest.mark.usefixtures("every_l2")  # as the processes that are started have them

NET = """
import os, signal, torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.dropout = torch.nn.Dropout(0.2)
        self.fc = torch.nn.Linear(8, 2)
        self.passes = 0

    def forward(self, x):
        self.passes += self.training
        if self.passes == int(os.environ.get("PASSES", -1)) and os.environ["VICTIM"] == os.environ.get("RANK", "alone"):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.fc(self.dropout(self.norm(self.conv(x)).relu().mean((2, 3))))

def make():
    torch.manual_seed(0)
    return Net()

preprocess = {"resize": 10, "crop": 8, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.25] * 3}
"""
"""A net that kills its process at a pass of its training."""

COMMAND = ["finetune", "--dataset", "arrays:images.npz", "--backbone", "python:net.py:make", "--strategy", "full"]
COMMAND += ["--epochs", "4", "--batch-size", "16", "--lr", "0.1", "--device", "cpu", "--workers", "1"]
BATCHES = 4
"""Of an epoch: the 57 train images are three batches of 16 and one of 9."""
TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2"}


def make_place(folder: Path) -> Path:
    """Write the net into a folder, and images whose strongest channel tells their class."""
    (folder / "net.py").write_text(NET)
    labels = np.arange(90) % 3
    images = np.random.default_rng(0).integers(0, 160, (90, 12, 12, 3), dtype=np.uint8)
    images[np.arange(90), :, :, labels] += 90
    np.savez(folder / "images.npz", x=images, y=labels)
    return folder


def words(name: str, *more: str) -> list[str]:
    return [*COMMAND, "--cache", f"{name}/cache", "--reports", f"{name}/reports", *more]


def run_alone(folder: Path, name: str) -> int:
    """Run the command in this process, and return its exit code."""
    with contextlib.chdir(folder):
        return main(words(name, "--train", "accumulate=2"))


def epochs_done(folder: Path, name: str) -> int:
    """Return after how many epochs the checkpoint is that a training has left."""
    (record,) = (folder / name / "cache").glob("*/*/*/last.json")
    return len(json.loads(record.read_text())["history"])


def score_in(folder: Path, name: str, method: str = "finetune") -> Score:
    scores, ignored = SCORES.load(folder / name / "reports" / "arrays--images")
    assert not ignored
    (score,) = [score for score in scores if score.method == method]
    return score


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A folder with what one process makes of it in parts, as ``alone``."""
    folder = make_place(tmp_path_factory.mktemp("ranks"))
    assert run_alone(folder, "alone") == 0
    return folder


@pytest.fixture(scope="module")
def launched(place: Path) -> subprocess.CompletedProcess[str]:
    """What two processes of torchrun say, which go on after one that was killed in its third epoch."""
    # BATCHES of two parts each, so that this pass is in the third epoch; the thread that writes may be late by one.
    command = [sys.executable, "-m", "probeline", *words("two", "--train", "accumulate=2")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "VICTIM": "alone", "PASSES": str(2 * BATCHES * 2 + 3)}
    assert subprocess.run(command, cwd=place, env=env, capture_output=True, check=False).returncode < 0
    assert epochs_done(place, "two") in (1, 2)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "probeline", *words("two", "--json")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def survivor(place: Path) -> Mapping[str, Any]:
    """What is left of two processes of which the second is killed in its third epoch, and that one then ends."""
    program = ["-m", "probeline", *words("killed")]
    processes = start(program, folder=place, VICTIM="1", PASSES=str(2 * BATCHES + 2))
    said = [process.communicate(timeout=120) for process in processes]
    assert epochs_done(place, "killed") in (1, 2)
    ended = run_alone(place, "killed")
    return {"codes": [process.returncode for process in processes], "said": said, "ended": ended}


def assert_same(found: Score, alone: Score) -> None:
    """Equal requests, of which the scores differ by what running statistics are rounded by."""
    assert found.key == alone.key
    assert found.options == alone.options
    assert found.options["accumulate"] == 2
    assert found.predictions == alone.predictions
    assert found.chosen == alone.chosen
    for name in ("epoch", "lr", "parts", "train_loss", "train_top1", "val_top1"):
        assert [line[name] for line in found.history] == [line[name] for line in alone.history]
    # As in test_finetuning_ranks.py: 200 units of the statistics, times 10 for two layers.
    assert found.raw_nll == pytest.approx(alone.raw_nll, abs=2000 * 2.0**-24)


@pytest.mark.slow
def test_torchrun_ends_what_one_process_began(place: Path, launched: subprocess.CompletedProcess[str]) -> None:
    assert launched.returncode == 0, launched.stderr
    found, alone = score_in(place, "two"), score_in(place, "alone")
    assert_same(found, alone)
    assert math.ceil(found.n_train / 16) == BATCHES
    assert found.top1 > 0.9
    assert (found.environment["device"], alone.environment["device"]) == ("2 x CPU", "CPU")


@pytest.mark.slow
def test_a_line_of_nets_is_measured_by_all_processes(place: Path) -> None:
    """Two processes go on from their LP-FT, one trains alone."""
    strategies = ["--strategy", "lp-ft", "wise-ft"]
    with contextlib.chdir(place):
        assert main(["extract", *COMMAND[1:5], "--cache", "line/cache", "--reports", "line/reports"]) == 0
        shutil.copytree("line", "line alone")
        processes = start(["-m", "probeline", *words("line", *strategies)], folder=place)
        said = [process.communicate(timeout=120) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], said
        assert main(words("line alone", "--strategy", "wise-ft", "--train", "accumulate=2")) == 0
    found, alone = score_in(place, "line", "wise-ft"), score_in(place, "line alone", "wise-ft")
    assert_same(found, alone)
    assert [point["alpha"] for point in found.path] == [point / 10 for point in range(11)]
    assert [point["top1"] for point in found.path] == [point["top1"] for point in alone.path]
    assert found.path[-1]["top1"] == score_in(place, "line", "lp-ft").val_top1
    assert sum("goes on from the finished lp-ft" in text for text, _ in said) == 1
    (kept,) = (place / "line" / "cache").glob("*/*-wise-ft/*/best.safetensors")
    tensors, own = (
        load_file(kept),
        load_file(next((place / "line alone" / "cache").glob("*/*-wise-ft/*/best.safetensors"))),
    )
    for name, tensor in own.items():
        # Running statistics are rounded differently, see test_finetuning_ranks.py, and what they normalise alike.
        assert (tensors[name] - tensor).abs().max() <= 200 * 2.0**-24 * tensor.abs().max().clamp(min=1), name


@pytest.mark.slow
def test_one_process_speaks(launched: subprocess.CompletedProcess[str]) -> None:
    (scored,) = json.loads(launched.stdout)["finetune"]  # one object, of one process
    assert scored["method"] == "finetune"
    said = [line for line in launched.stderr.splitlines() if line]
    assert len(said) == 2, said
    assert said[0].endswith(
        "2 processes train together, as torchrun says: one alone would do the same with --train accumulate=2"
    )
    assert "test top-1" in said[1]


@pytest.mark.slow
def test_a_process_that_is_killed_ends_all(survivor: Mapping[str, Any]) -> None:
    """Without torchrun, which would have ended the other process at once."""
    first, second = survivor["codes"]
    assert (first, second < 0) == (2, True)
    (_, errors), silent = survivor["said"]
    assert "Traceback" not in errors
    assert errors.count("probeline: ") == 1
    assert "the connection to another process of this training is lost" in errors
    assert "the same command goes on from the last epoch that was finished" in errors
    assert silent == ("", "")


@pytest.mark.slow
def test_one_process_ends_what_two_began(place: Path, survivor: Mapping[str, Any]) -> None:
    assert survivor["ended"] == 0
    assert_same(score_in(place, "killed"), score_in(place, "alone"))


@pytest.mark.parametrize(("processes", "is_scored"), [("1", False), ("2", True), ("4", False)])
def test_a_dry_run_is_about_what_the_processes_would_train(
    place: Path, processes: str, is_scored: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", processes)
    with contextlib.chdir(place):
        assert main(words("alone", "--dry-run", "--json")) == 0
    (row,) = json.loads(capsys.readouterr().out)["dry_run"][0]["rows"]
    assert row["scored"] == is_scored


# Requests


@pytest.mark.parametrize(
    ("train", "processes", "expected"),
    [
        ((), 4, ("accumulate=4",)),
        (("clip=1",), 2, ("clip=1", "accumulate=2")),
        (("accumulate=8", "clip=1"), 4, ("clip=1", "accumulate=8")),
    ],
)
def test_processes_are_parts_of_a_batch(train: tuple[str, ...], processes: int, expected: tuple[str, ...]) -> None:
    assert accumulate_over(processes, Settings.of(train=train)) == expected


@pytest.mark.parametrize(
    ("changes", "processes", "message"),
    [
        ({"train": ("accumulate=1",)}, 2, r"expected a multiple of 2, got 1\); leave it out for --train accumulate=2"),
        ({"train": ("accumulate=6",)}, 4, r"expected a multiple of 4, got 6"),
        ({}, 17, r"expected 34 or more, got 32\); use --batch-size 34, or fewer processes"),
        ({"batch_size": 6}, 4, r"expected 8 or more, got 6"),
        ({"train": ("accumulate=0",)}, 2, "bad --train accumulate"),
    ],
)
def test_what_cannot_be_divided_is_refused(changes: dict[str, Any], processes: int, message: str) -> None:
    with pytest.raises(BadOption, match=message):
        accumulate_over(processes, Settings.of(**changes))


# Messages and exit codes


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


@pytest.mark.parametrize(("rank", "expected"), [("0", []), ("1", [program.SECONDS_TO_WAIT])])
def test_the_first_process_says_what_all_would(
    rank: str,
    expected: list[float],
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The others wait for torchrun to end them; what is theirs alone they say in the end."""
    for name, value in {**TORCHRUN, "RANK": rank}.items():
        monkeypatch.setenv(name, value)
    assert main(["finetune", "--train", "accumulate=3"]) == 2
    assert waits == expected
    assert capsys.readouterr().err.count("expected a multiple of 2, got 3") == 1


def test_a_lost_connection_is_no_cause(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: object) -> None:
        raise RankLost("the connection is lost")

    monkeypatch.setattr(program, "_run", lose)
    assert main(["finetune"]) == 2
    assert waits == [program.SECONDS_TO_WAIT]


def test_an_interrupt_ends_the_wait(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    for name, value in {**TORCHRUN, "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(time, "sleep", interrupt)
    assert main(["finetune", "--train", "accumulate=3"]) == 2
    assert capsys.readouterr().err.count("expected a multiple of 2, got 3") == 1


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_one_process_says_that_it_was_interrupted(
    rank: str, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for name, value in {**TORCHRUN, "RANK": rank}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(program, "_run", interrupt)
    assert main(["finetune"]) == program.INTERRUPTED
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_run_does_not_train_in_several_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert main(["run", "--recipe", "demo", "--dry-run"]) == 2
    assert (
        "start extract and finetune by torchrun, then the same command without it, with --train accumulate=2"
        in capsys.readouterr().err
    )


def test_images_that_turn_out_to_be_unreadable_end_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One process alone would begin again without them, while the others are in the middle of an epoch."""

    def find(*_: object) -> None:
        raise FoundUnreadable("an image cannot be read", remedy="run it again: they are left out from now on")

    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(finetune, "joined", lambda *_: contextlib.nullcontext(ALONE))
    monkeypatch.setattr(finetune, "finetune", find)
    with contextlib.chdir(make_place(tmp_path)):
        settings = Settings.of(
            dataset="arrays:images.npz", backbones=("python:net.py:make",), strategies=("full",), device="cpu"
        )
        with pytest.raises(BadData, match="run it again") as raised:
            finetune.run(Session(settings))
    assert not isinstance(raised.value, FoundUnreadable)
