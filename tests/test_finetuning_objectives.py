"""What strategies go towards: the words and keys of those with a teacher or a second task, and what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grids import few_l2_in
from probeline.cli import program as cli
from probeline.errors import BadOption, UnknownName
from probeline.evaluate.heads import exact
from probeline.finetuning import fitted_probe, requests
from probeline.finetuning.requests import training_options
from probeline.options.grids import OF_NUMBERS, TRAIN
from probeline.options.settings import Settings
from probeline.results.score import SCORES
from probeline.session import Session
from small_finetunes import GROUPS, NET, OTHER, asked, keys, run, timeless
from small_runs import Stopping, unreadable

# Words


def test_words_of_one_strategy_are_no_options_of_another() -> None:
    own = {
        **{strategy: {"temperature", "alpha"} for strategy in ("distill", "distill-head")},
        **{strategy: {"second_weight"} for strategy in ("multi-task", "multi-task-head")},
        "lora": {"lora_r", "lora_alpha", "lora_dropout", "lora_targets"},
        "wise-ft": {"wise_steps"},
    }
    special = set().union(*own.values())
    settings = Settings.of(train=("temperature=2", "alpha=0.25", "second_weight=3"))
    for strategy in ("full", "head", "last-1", "lp-ft", "scratch", "bitfit", *own):
        found = training_options(settings, strategy)
        assert set(found) & special == own.get(strategy, set())
        assert set(TRAIN) - set(found) - set(OF_NUMBERS) == special - own.get(strategy, set())
        assert not set(found) & set(OF_NUMBERS)
    assert training_options(settings, "distill")["alpha"] == (0.25,)


def test_options_and_keys_of_other_strategies_stay_as_they_were(
    world: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = asked(world, place, tmp_path, strategies=("full", "head", "lp-ft"))
    more = settings.changed(train=("temperature=2", "alpha=0.1", "second_weight=2"), teacher=OTHER, second=GROUPS)
    assert keys(settings) == keys(more)


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"train": ("temperature=2",)}, {"distill", "distill-head"}),
        ({"train": ("alpha=0.4",)}, {"distill", "distill-head"}),
        ({"train": ("second_weight=1",)}, {"multi-task", "multi-task-head"}),
        ({"teacher": NET}, {"distill", "distill-head"}),
        ({"second": ("cool=blue", "warm=red,green")}, {"multi-task", "multi-task-head"}),
        ({"second": ("frost=green,blue", "warm=red")}, {"multi-task", "multi-task-head"}),
        ({"weights": "none"}, {"distill", "distill-head", "multi-task", "multi-task-head"}),
        ({"train": ("clip=1",)}, {"distill", "distill-head", "multi-task", "multi-task-head"}),
        ({"workers": 1}, set()),
    ],
    ids=lambda value: ", ".join(sorted(map(str, value))) if isinstance(value, set) else str(value),
)
def test_a_key_changes_with_what_changes_the_numbers(
    changes: dict[str, Any],
    changed: set[str],
    world: Path,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strategies = ("distill", "distill-head", "multi-task", "multi-task-head")
    settings = asked(world, place, tmp_path, strategies=strategies, weights="none", teacher=OTHER, second=GROUPS)
    if "weights" in changes:
        settings = settings.changed(teacher=NET, weights=str(world / "squeezed.safetensors"))
    before, after = keys(settings), keys(settings.changed(**changes))
    assert {method for method, key in after.items() if key != before[method]} == changed
    assert len(set(before.values())) == 4


# Interrupted


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["distill-head", "multi-task-head"])
def test_an_interrupted_run_goes_on_bit_for_bit(strategy: str, world: Path, place: Path, tmp_path: Path) -> None:
    settings = asked(world, place, tmp_path, strategies=(strategy,), teacher=NET, second=GROUPS, epochs=2)
    # The keys are those of no other test's run: checkpoints of one key are gone on with.
    settings = settings.changed(backbones=(OTHER,), weights="none", train=("augment=none", "clip=3"))
    with pytest.raises(KeyboardInterrupt):
        run(replace(settings, console=Stopping(len(Session(settings).splits.train))))
    again = run(settings)[strategy]
    for checkpoint in settings.folders.cache.rglob(f"seed0-{again.key[:12]}/*"):
        checkpoint.unlink()
    whole = run(settings.changed(reports=tmp_path / "whole"))[strategy]
    assert timeless(again) == timeless(whole)


# What is wrong


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"strategies": ("full", "distill")}, "no teacher for --strategy distill (expected --teacher BACKBONE)"),
        (
            {"strategies": ("multi-task-head",)},
            "no second task for --strategy multi-task-head "
            "(expected --second NAME=CLASS,CLASS NAME=CLASS or --second FILE.csv)",
        ),
        ({"strategies": ("multi-task",), "second": ("warm=red",)}, "bad --second (expected NAME=CLASS[,CLASS...] for"),
        (
            {"strategies": ("multi-task",), "second": ("warm=red,pink", "cool=blue,green")},
            "unknown class in --second 'pink' (expected one of: blue, green, red)",
        ),
        (
            {"strategies": ("multi-task",), "second": ("warm=red,green", "cool=blue,green")},
            "bad --second (expected every class once, got green twice)",
        ),
        ({"strategies": ("distill",), "teacher": "resnet1"}, "unknown backbone 'resnet1'; did you mean resnet18 or "),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_trained(
    changes: dict[str, Any], told: str, world: Path, place: Path, tmp_path: Path
) -> None:
    settings = asked(world, place, tmp_path, console=Stopping(0), **changes)
    before = set(settings.folders.cache.rglob("*"))
    with pytest.raises((BadOption, UnknownName), match="^" + re.escape(told)):
        run(settings, watch=unreadable)
    assert set(settings.folders.cache.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--strategy", "distill"), "no teacher for --strategy distill (expected --teacher BACKBONE)"),
        (("--strategy", "distill", "--teacher", "resnet1"), "unknown backbone 'resnet1'; did you mean resnet18 or "),
        (("--strategy", "multi-task"), "no second task for --strategy multi-task (expected --second"),
        (("--strategy", "multi-task", "--second", "a"), "bad --second (expected NAME=CLASS[,CLASS...] for two groups"),
        (("--train", "alpha=1.5"), "bad --train alpha (expected numbers from 0.0 to 1.0, a single one, got 1.5)"),
        (("--train", "temperature=0"), "bad --train temperature (expected numbers from 0.01 to 1000.0, a single one,"),
    ],
)
def test_the_command_line_refuses_it_before_any_stage(
    words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    places = ("--cache", str(tmp_path / "cache"), "--reports", str(tmp_path / "reports"), "--weights", "none")
    assert cli.main(["run", *words, *places]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"probeline: {told}")
    assert not list(tmp_path.rglob("*.h5"))


# A second run


@pytest.mark.slow
def test_a_second_run_imports_no_torch(world: Path, place: Path, tmp_path: Path) -> None:
    settings = asked(world, place, tmp_path, strategies=("distill-head", "multi-task-head"), teacher=NET, second=GROUPS)
    settings = settings.changed(train=("augment=none",), epochs=1)
    scores = run(settings)
    program = few_l2_in(exact, fitted_probe, requests) + (
        "import sys\nfrom probeline.cli.program import main\nassert main(sys.argv[1:]) == 0\n"
        "assert not {'torch', 'torchvision', 'safetensors'} & set(sys.modules), 'torch was imported'"
    )
    words = ["finetune", "--dataset", settings.data.dataset, "--backbone", NET, "--weights", settings.nets.weights]
    words += [
        "--cache",
        str(settings.folders.cache),
        "--reports",
        str(settings.folders.reports),
        "--image-size",
        "32",
        "--epochs",
        "1",
    ]
    words += ["--batch-size", "16", "--strategy", *settings.training.strategies, "--teacher", NET, "--second", *GROUPS]
    words += ["--train", "augment=none", "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", program, *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("already scored, skipped") == 2
    assert {score.key for score in SCORES.load(Session(settings).reports)[0]} == {s.key for s in scores.values()}
