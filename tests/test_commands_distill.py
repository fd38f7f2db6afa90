"""Distillation from the stage to the score, on a tiny folder of pictures."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from probeline.commands import finetune
from probeline.results.score import SCORES
from probeline.session import Session
from small_finetunes import NET, OTHER, asked, comparable, options, run
from small_runs import Listening

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def test_without_the_teachers_share_it_is_the_plain_fine_tune(world: Path, place: Path, tmp_path: Path) -> None:
    settings = asked(world, place, tmp_path, strategies=("full", "distill"), teacher=NET, train=("alpha=0",))
    found = run(settings)
    assert comparable(found["distill"]) == comparable(found["finetune"])
    assert found["distill"].options["alpha"] == 0.0
    assert "alpha" not in found["finetune"].options


def test_a_distilled_score_says_who_taught(world: Path, place: Path, tmp_path: Path) -> None:
    console = Listening()
    settings = asked(
        world, place, tmp_path, strategies=("distill",), weights="none", teacher=OTHER, console=console, epochs=1
    )
    score = run(settings)["distill"]
    session = Session(settings)
    net = session.backbone(OTHER)[0]
    asked_for = {name: score.options[name] for name in ("teacher", "teacher_weights", "temperature", "alpha")}
    assert asked_for == {
        "teacher": OTHER,
        "teacher_weights": net.weights_sha256[:12],
        "temperature": 4.0,
        "alpha": 0.5,
    }
    told = score.certificate["teacher"]
    assert (told["backbone"], told["weights"]) == (OTHER, net.weights_sha256)
    assert told["unseen"] == score.n_train
    assert told["converged"] is True
    extraction = sum(session.features(net, part).seconds for part in session.parts())
    assert score.cold_seconds > score.warm_seconds + extraction, "the fits count beside it"
    (line,) = (line for line in console.said if line.startswith("teacher"))
    assert re.fullmatch(
        rf"teacher: {OTHER}, l2 \S+: top-1 {told['train_top1']:.4f} on {score.n_train} train images, "
        rf"{score.n_train} of the predictions are out-of-fold",
        line,
    )


def test_the_teachers_word_is_followed(world: Path, place: Path, tmp_path: Path) -> None:
    """Of the teacher's word alone the net learns what the labels would have taught."""
    settings = asked(world, place, tmp_path, strategies=("distill",), weights="none", teacher=NET, epochs=10, lr=3e-3)
    score = run(settings.changed(train=("alpha=1",)))["distill"]
    assert score.certificate["teacher"]["train_top1"] > 0.8, "else the teacher has nothing to say"
    assert score.history[-1]["train_loss"] < 0.8 * score.history[0]["train_loss"]
    # Guessing among three classes is right of a third.
    assert score.history[-1]["train_top1"] > 0.6


def test_a_distilled_head_needs_no_pixel(world: Path, place: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "pictures", tmp_path / "pictures")
    changes: dict[str, Any] = {"dataset": f"folder:{tmp_path / 'pictures'}", "strategies": ("distill-head",)}
    changes |= {"backbones": (OTHER,), "weights": "none", "teacher": NET, "train": ("augment=none",)}
    session = Session(asked(world, place, tmp_path, **changes))
    assert len(session.splits.train)
    shutil.rmtree(tmp_path / "pictures")
    finetune.run(session)
    (score,), _ = SCORES.load(session.reports)
    assert score.certificate["cut"]
    assert score.cold_seconds > score.warm_seconds


def test_a_teacher_that_is_not_extracted_is_extracted(world: Path, tmp_path: Path) -> None:
    console = Listening()
    settings = options(world, tmp_path, strategies=("distill",), teacher=OTHER, weights="none", epochs=1)
    assert run(replace(settings, console=console))["distill"].options["teacher"]
    missing = "are not extracted yet; extracting what is missing"
    assert [line for line in console.said if missing in line] == [f"probe: features of {OTHER} {missing}"]


def test_seeds_and_strategies_share_one_teacher(world: Path, place: Path, tmp_path: Path) -> None:
    console = Listening()
    settings = asked(world, place, tmp_path, strategies=("distill", "distill-head"), teacher=NET, epochs=1, seeds=2)
    run(replace(settings, console=console))
    assert sum(line.startswith("teacher") for line in console.said) == 1
