"""Crews make results that do not depend on each other, each in a command of its own, and are believed in nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probeline import extract
from probeline.cli import main
from probeline.cli.parser import parse
from probeline.crews.crew import Job
from small_crews import NET, make_place

DATA = ["--dataset", "arrays:images.npz", "--limit", "240", "--workers", "1"]
NETS = ["--backbone", "python:net.py:make", "python:other.py:make"]
CREW = ["--crew", "local", "--crew-size", "2"]


class Inside:
    """Workers in this process; `lose` says which commands end without having done anything."""

    def __init__(self, lose: Callable[[dict[str, Any]], bool] = lambda _: False) -> None:
        self._lose = lose
        self.commands: list[dict[str, Any]] = []
        self.at_once: list[int] = []

    def run(self, jobs: Sequence[Job], at_once: int) -> list[str]:
        self.at_once.append(at_once)
        return [self._run(job) for job in jobs]

    def _run(self, job: Job) -> str:
        given = {name: value for name, value in vars(parse(job.words)).items() if value is not None}
        self.commands.append(given)
        return "exit code 0" if self._lose(given) else f"exit code {main(job.words)}"

    def of(self, verb: str, *names: str) -> list[tuple[Any, ...]]:
        """Return what the commands of a verb were given by these names."""
        return [tuple(given.get(name) for name in names) for given in self.commands if given["verb"] == verb]


@pytest.fixture
def crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inside:
    make_place(tmp_path)
    (tmp_path / "other.py").write_text(NET.replace("manual_seed(0)", "manual_seed(1)"))
    monkeypatch.chdir(tmp_path)
    return use(Inside(), monkeypatch)


def use(crew: Inside, monkeypatch: pytest.MonkeyPatch) -> Inside:
    monkeypatch.setattr("probeline.crews.local.Local", lambda **_: crew)
    return crew


def results(capsys: pytest.CaptureFixture[str], verb: str, *words: str) -> list[dict[str, Any]]:
    """Run a command and return what it prints last, of each result, without what differs between two places."""
    capsys.readouterr()
    assert main([verb, *DATA, *words, "--json"]) == 0
    return [
        {name: value for name, value in result.items() if name != "file"}
        for result in json.loads(capsys.readouterr().out.splitlines()[-1])[verb]
    ]


ALONE = ["--cache", "alone", "--reports", "alone-reports"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["probe", "baselines"])
def test_each_backbone_is_fitted_by_a_worker_of_its_own(
    verb: str, crew: Inside, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--sgd", "lr=1e-3,1e-2", "epochs=2", "--seeds", "2"] if verb == "probe" else []
    expected = results(capsys, verb, *NETS, *more, *ALONE)
    assert results(capsys, verb, *NETS, *more, *CREW) == expected
    assert {share for (share,) in crew.of("extract", "share")} == {"1/2", "2/2"}
    assert crew.of(verb, "backbones") == [(["python:net.py:make"],), (["python:other.py:make"],)]
    assert not any("crew" in given for given in crew.commands)
    started = len(crew.commands)
    assert results(capsys, verb, *NETS, *more, *CREW) == expected
    assert len(crew.commands) == started, "nothing is missing"


def test_each_training_is_done_by_a_worker_of_its_own(crew: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--strategy", "head", "full", "--seed", "3", "--seeds", "2", "--epochs", "1", *NETS[:2]]
    expected = results(capsys, "finetune", *words, *ALONE)
    assert results(capsys, "finetune", *words, *CREW) == expected
    asked = [(strategy, seed, seeds) for (strategy,), seed, seeds in crew.of("finetune", "strategies", "seed", "seeds")]
    assert asked == [(strategy, seed, None) for strategy in ("head", "full") for seed in (3, 4)], "one seed is default"
    assert crew.at_once == [2], "four trainings, two at once"


@pytest.mark.slow
def test_each_curve_is_computed_by_a_worker_of_its_own(crew: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*NETS, "--fractions", "50", "100", "--shots", "0", "--draws", "1", "--curve-strategy", "full"]
    words += ["--epochs", "1"]
    expected = results(capsys, "curve", *words, *ALONE)
    assert results(capsys, "curve", *words, *CREW) == expected
    nets = [["python:net.py:make"], ["python:other.py:make"]]
    assert crew.of("curve", "backbones", "curve_strategies") == [
        *((net, None) for net in nets),
        *((net, ["full"]) for net in nets),
    ]


@pytest.mark.slow
def test_what_a_worker_left_undone_is_done_by_the_next_wave(
    crew: Inside, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost: list[int] = []

    def lose_first_of_the_second(given: dict[str, Any]) -> bool:
        if given["verb"] == "probe" and given["backbones"] == ["python:other.py:make"] and not lost:
            lost.append(1)
            return True
        return False

    use(Inside(lose_first_of_the_second), monkeypatch)
    assert main(["probe", *DATA, *NETS, *CREW]) == 0
    said = capsys.readouterr().out
    assert "probe: wave 1: 2 workers ended (2 x exit code 0); 1 tap done, 1 missing" in said
    assert "probe: wave 2: 1 worker ended (1 x exit code 0); 2 taps done, 0 missing" in said


def test_trainings_that_nobody_can_do_end_the_run(
    crew: Inside, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(Inside(lambda _: True), monkeypatch)
    assert main(["finetune", *DATA, *NETS[:2], "--strategy", "head", "--epochs", "1", *CREW]) == 2
    assert "finetune: 1 worker brought nothing" in capsys.readouterr().err


FINISHED: dict[str, list[str]] = {
    "probe": [],
    "baselines": [],
    "curve": ["--fractions", "50", "100", "--shots", "0", "--draws", "1"],
}


@pytest.mark.parametrize("verb", FINISHED)
def test_nothing_is_extracted_for_results_that_exist(
    verb: str, crew: Inside, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*NETS[:2], *FINISHED[verb]]
    expected = results(capsys, verb, *words)
    shutil.rmtree("cache")
    assert results(capsys, verb, *words, *CREW) == expected
    assert not crew.commands
    assert results(capsys, verb, *NETS, *FINISHED[verb], *CREW)[: len(expected)] == expected
    extracted = {tuple(given["backbones"]) for given in crew.commands if given["verb"] == "extract"}
    assert extracted == {("python:other.py:make",)}, "the other net's results exist"


def test_features_from_which_trainings_start_are_extracted_by_the_crew(
    crew: Inside, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--strategy", "head", "lp-ft", "--epochs", "1", *NETS[:2], *CREW]
    assert main(["finetune", *DATA, *words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "dry run: extract: a crew of 2 processes on this machine would be started" in said
    assert "dry run: finetune: a crew of 2 processes on this machine would be started" in said
    assert [score["method"] for score in results(capsys, "finetune", *words)] == ["head", "lp-ft"]
    assert [given["verb"] for given in crew.commands] == ["extract", "finetune", "finetune"]


def test_a_crew_extracts_nothing_of_embeddings(crew: Inside, capsys: pytest.CaptureFixture[str]) -> None:
    features = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.savez("embeddings.npz", x=features, y=np.arange(60) % 3)
    command = ["probe", "--dataset", "features:embeddings.npz", *CREW]
    assert main([*command, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "to extract" not in said
    assert "dry run: extract" not in said
    assert main(command) == 0
    assert "1 of 1 tap is missing" in capsys.readouterr().out
    assert [given["verb"] for given in crew.commands] == ["probe"]


def test_workers_that_leave_no_results_here_are_told_what_they_must_share(
    crew: Inside, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(Inside(lambda given: given["verb"] == "probe"), monkeypatch)
    assert main(["probe", *DATA, *NETS[:2], *CREW]) == 2
    assert "give a --cache and --reports that all machines share" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["crew", "share", "crew_size", "recipe"])
def test_options_of_commands_are_refused_by_functions(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} is an option of the command line alone"):
        extract("digits", "resnet18", **{name: "1/2"})
