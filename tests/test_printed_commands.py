"""Each command that is printed or shown on the page is complete: run as it stands, it does what it says."""

from __future__ import annotations

import html
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from threadpoolctl import threadpool_limits

from probeline.backbones.zoo import random_net
from probeline.cli import program as cli
from probeline.data.sampling.subset import Subset
from probeline.data.sources.digits import load
from probeline.results.score import SCORES

PRINTED = re.compile(
    r"probeline (?:run|extract|probe|baselines|finetune|lrfind|curve|pictures|latency|doctor|export) --.*"
)


class Run(NamedTuple):
    """A small run of two nets with labels of its own, and what its report says."""

    options: list[str]
    report: dict[str, object]
    page: str
    printed: str


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("a run")
    (root / "weights").mkdir()
    torch.save(random_net("squeezenet1_1", 7).state_dict(), root / "weights" / "own net.pth")
    part = load(Subset(60, 0)).parts["all"]
    names = [
        f"{sample},{'even' if label % 2 == 0 else 'odd'}"
        for sample, label in zip(part.sample_ids, part.labels, strict=True)
    ]
    (root / "labels.csv").write_text("\n".join(["sample_id,label", *names]) + "\n")
    data = ["--dataset=digits", "--limit=60", f"--labels={root / 'labels.csv'}"]
    folders = [f"--cache={root / 'the cache'}", f"--reports={root / 'reports'}"]
    nets = ["--image-size=32", "--backbone", "squeezenet1_1@none", f"squeezenet1_1@{root / 'weights' / 'own net.pth'}"]
    options = [*data, *folders, *nets]
    with threadpool_limits(1):
        for verb in (["extract"], ["probe", "--mlp=width=8", "--sgd=lr=1e-3", "--seeds=2"], ["baselines"]):
            assert cli.main([*verb, *options]) == 0
        training = ["--strategy=head", "--epochs=1", "--train=lr=1e-3,1e-2"]
        assert cli.main(["finetune", *options, *training]) == 0
        asked = ["compare", *options, "--strategy=head", "--epochs=1"]
        done = subprocess.run([sys.executable, "-m", "probeline", *asked], capture_output=True, text=True, check=True)
    (folder,) = (root / "reports").iterdir()
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return Run(options, report, (folder / "index.html").read_text(encoding="utf-8"), done.stdout)


def run(command: str) -> str:
    """Run a command as somebody would type it, in a process of its own, and return what it prints."""
    program, *words = shlex.split(command)
    assert program == "probeline"
    done = subprocess.run([sys.executable, "-m", "probeline", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def commands_of_rows(small: Run) -> dict[str, str]:
    found = small.report["commands"]
    assert isinstance(found, dict)
    return found


def test_the_command_of_a_row_finds_the_row_scored_already(small: Run) -> None:
    found = commands_of_rows(small)
    assert len(found) >= 18, "eight heads and a training of two nets"
    for command in found.values():
        assert "already scored, skipped" in run(command)
    # Every one of them: what is fitted anew would be a further score.
    reports = Path(next(word for word in small.options if word.startswith("--reports=")).partition("=")[2])
    (folder,) = reports.iterdir()
    scores, skipped = SCORES.load(folder)
    assert not skipped
    keys = {score.key for score in scores}
    assert found.keys() <= keys
    assert len(keys) == 2 * (4 + 2 + 2 * 2 + 1), "no score was made anew"


def test_commands_on_the_page_are_those_of_the_report(small: Run) -> None:
    shown = {html.unescape(text) for text in re.findall(r"<code[^>]*>(probeline [^<]+)</code>", small.page)}
    assert shown
    known = {*commands_of_rows(small).values(), *small.report["unasked"].values()}  # type: ignore[attr-defined]
    known |= {one["command"] for one in small.report["missing"]}  # type: ignore[attr-defined]
    assert {command for command in shown if PRINTED.fullmatch(command)} <= known


def test_other_commands_are_complete_too(small: Run) -> None:
    """Those that run on other nets or take long are planned: their options are understood and their data found."""
    further = dict(small.report["unasked"])  # type: ignore[call-overload]
    missing = [one["command"] for one in small.report["missing"]]  # type: ignore[attr-defined]
    printed = [line.partition("probeline ")[2] for line in small.printed.splitlines() if line.startswith("Not run")]
    assert [f"probeline {line}" for line in printed] == missing
    labels = next(word for word in small.options if word.startswith("--labels=")).partition("=")[2]
    for command in (*further.values(), *missing):
        assert f"--labels {shlex.quote(labels)}" in command
        assert "--image-size 32" in command
        run(f"{command} --dry-run")


def test_the_command_in_an_error_does_what_it_says(
    small: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [word for word in small.options if not word.startswith("--cache=")]
    assert cli.main(["baselines", *options, f"--cache={tmp_path / 'another cache'}"]) == 2
    error = capsys.readouterr().err
    run(error.partition("; run: ")[2].strip())
    assert cli.main(["baselines", *options, f"--cache={tmp_path / 'another cache'}"]) == 0


def test_a_report_that_does_not_know_the_folder_of_the_weights_says_so(small: Run) -> None:
    options = [word for word in small.options if "own net.pth" not in word]
    said = run(shlex.join(["probeline", "compare", *options]))
    assert "own net.pth" in said or said
    reports = Path(next(word for word in small.options if word.startswith("--reports=")).partition("=")[2])
    (folder,) = reports.iterdir()
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    own = [command for command in report["commands"].values() if "own net.pth" in command]
    assert own
    assert all("--weights 'PATH-TO/own net.pth'" in command for command in own)
    done = subprocess.run(
        [sys.executable, "-m", "probeline", *shlex.split(own[0])[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "the folder of own net.pth is not on record" in done.stderr
