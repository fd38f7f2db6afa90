"""Each command that is printed or shown on the page is complete: run as it stands, it does what it says."""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from threadpoolctl import threadpool_limits

from probeline.backbones.build import random_net
from probeline.cli import program as cli
from probeline.cli.parser import parse
from probeline.cli.steps import settings_of
from probeline.errors import MissingData
from probeline.options.settings import Settings
from probeline.results.score import SCORES
from probeline.session import Session

pytestmark = pytest.mark.usefixtures("one_thread")


class Run(NamedTuple):
    """A small run of two nets with labels of its own, and what its report says."""

    options: list[str]
    folder: Path
    missing: list[str]
    page: str
    printed: str


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("a run")
    (root / "weights").mkdir()
    torch.save(random_net("squeezenet1_1", 7).state_dict(), root / "weights" / "own net.pth")
    part = Session(Settings.of(limit=30, cache=root / "none")).dataset.parts["all"]
    names = [
        f"{sample},{'even' if label % 2 == 0 else 'odd'}"
        for sample, label in zip(part.sample_ids, part.labels, strict=True)
    ]
    (root / "labels.csv").write_text("\n".join(["sample_id,label", *names]) + "\n")
    data = ["--dataset=digits", "--limit=30", f"--labels={root / 'labels.csv'}"]
    folders = [f"--cache={root / 'the cache'}", f"--reports={root / 'reports'}"]
    nets = ["--image-size=32", "--backbone", "squeezenet1_1@none", f"squeezenet1_1@{root / 'weights' / 'own net.pth'}"]
    options = [*data, *folders, *nets]
    with threadpool_limits(1):
        heads = ["--mlp", "width=8", "lr=1e-2", "epochs=1", "--sgd", "lr=1e-3", "epochs=1", "--seeds=2"]
        for verb in (["extract"], ["probe", *heads], ["baselines"]):
            assert cli.main([*verb, *options]) == 0
        training = ["--strategy=head", "--epochs=1", "--train=lr=1e-3,1e-2"]
        assert cli.main(["finetune", *options, *training]) == 0
        printed = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
            patch.setattr("probeline.report.figures.draw", lambda *_: [])
            assert cli.main(["compare", *options, "--strategy=head", "--epochs=1"]) == 0
    (folder,) = (root / "reports").iterdir()
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    page = (folder / "index.html").read_text(encoding="utf-8")
    return Run(options, folder, [one["command"] for one in report["missing"]], page, printed.getvalue())


def shown(page: str) -> list[str]:
    """Return the commands of a page, in their order."""
    return [html.unescape(text) for text in re.findall(r"<code[^>]*>(probeline [^<]+)</code>", page)]


def commands_of_rows(page: str) -> dict[str, str]:
    """Return the command of each row of a page by the first digits of its first key."""
    rows = re.findall(
        r"<tr[^>]*><th[^>]*>[^<]*</th><td[^>]*><code>([0-9a-f]{12})</code>.*?<code>(probeline .*?)</code>", page
    )
    return {key: html.unescape(command) for key, command in rows}


def run(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command as it stands and return what it prints."""
    program, *words = shlex.split(command)
    assert program == "probeline"
    code = cli.main(words)
    printed = capsys.readouterr()
    assert code == 0, (command, printed.err)
    return printed.out


@pytest.mark.slow
def test_the_command_of_a_row_finds_the_row_scored_already(small: Run, capsys: pytest.CaptureFixture[str]) -> None:
    found = commands_of_rows(small.page)
    before = {score.key for score in SCORES.load(small.folder)[0]}
    assert len(found) == 2 * (6 + 2 + 2 + 1), "ten heads and a training of each net"
    assert {key[:12] for key in before} >= found.keys()
    for command in found.values():
        assert "already scored, skipped" in run(command, capsys)
    # What is fitted anew would be a further score: a probe's command also finds the heads of its default grid.
    extra = {score.key for score in SCORES.load(small.folder)[0]} - before
    assert all(key not in found for key in extra)


def test_commands_on_the_page_are_complete(small: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that take long are planned: their options are understood and their data found."""
    printed = [line[line.index("probeline ") :] for line in small.printed.splitlines() if line.startswith("Not run")]
    assert printed == small.missing
    rows = set(commands_of_rows(small.page).values())
    further = [command for command in dict.fromkeys(shown(small.page)) if command not in rows]
    assert set(small.missing) <= set(further)
    assert len(further) >= len(set(small.missing)) + 4, "a curve, pictures, the doctor, latency"
    labels = next(word for word in small.options if word.startswith("--labels=")).partition("=")[2]
    for command in further:
        assert f"--labels {shlex.quote(labels)}" in command
        assert "--image-size 32" in command
        run(f"{command} --dry-run", capsys)


def test_the_command_in_an_error_does_what_it_says(
    small: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [word for word in small.options if not word.startswith("--cache=")]
    settings, _ = settings_of(parse(["probe", *options, f"--cache={tmp_path / 'another cache'}"]))
    session = Session(settings)
    backbone, _ = session.backbone(settings.nets.backbones[0])
    with pytest.raises(MissingData) as caught:
        session.features(backbone, "all")
    capsys.readouterr()
    run(str(caught.value).partition("; run: ")[2], capsys)
    assert session.features(backbone, "all").features.shape == (30, 512)


@pytest.mark.usefixtures("undrawn")
def test_a_report_that_does_not_know_the_folder_of_the_weights_says_so(
    small: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [word for word in small.options if "own net.pth" not in word]
    run(shlex.join(["probeline", "compare", *options]), capsys)
    page = (small.folder / "index.html").read_text(encoding="utf-8")
    own = [command for command in commands_of_rows(page).values() if "own net.pth" in command]
    assert len(own) >= 9
    assert all("--weights 'PATH-TO/own net.pth'" in command for command in own)
    assert cli.main(shlex.split(own[0])[1:]) == 2
    assert "the folder of own net.pth is not on record" in capsys.readouterr().err
