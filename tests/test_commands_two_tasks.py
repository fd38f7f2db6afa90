"""Two tasks on one backbone, from the stage to the report, on a tiny folder of pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from probeline.commands import compare
from probeline.errors import BadData, Diverged
from probeline.finetuning.training.trainer import Trainer
from probeline.metrics.intervals import wilson
from probeline.session import Session
from small_finetunes import GROUPS, NET, OTHER, SQUEEZENET, asked, comparable, run
from small_runs import Listening, unreadable

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_second_loss_of_weight_0_is_the_plain_fine_tune(world: Path, place: Path, tmp_path: Path) -> None:
    settings = asked(
        world, place, tmp_path, strategies=("full", "multi-task"), second=GROUPS, train=("second_weight=0",)
    )
    found = run(settings)
    plain, both = (comparable(found[name]) for name in ("finetune", "multi-task"))
    assert both.pop("trainable") - plain.pop("trainable") == 2 * 513
    both.pop("total"), plain.pop("total")
    for epoch in both["history"]:
        del epoch["val_second_top1"]
    assert both == plain


def truth_of(session: Session, role: str, of: Mapping[str, int]) -> np.ndarray[Any, Any]:
    split = getattr(session.splits, role)
    part = session.dataset.parts[split.part]
    return np.array([of[part.class_names[label]] for label in part.labels[split.rows]])


@pytest.mark.usefixtures("undrawn")
def test_a_score_tells_both_tasks(world: Path, place: Path, tmp_path: Path) -> None:
    console = Listening()
    settings = asked(world, place, tmp_path, strategies=("multi-task",), second=GROUPS, epochs=2, lr=3e-3)
    settings = replace(settings, console=console)
    score = run(settings)["multi-task"]
    session = Session(settings)
    second = score.certificate["second"]
    assert second["classes"] == ["cool", "warm"]
    assert score.options["second"].startswith("cool=green,blue warm=red (")
    assert score.options["second_weight"] == 0.5
    assert score.class_names == ("blue", "green", "red")
    assert set(score.predictions) <= {0, 1, 2}
    assert score.trainable == score.total == SQUEEZENET + 2 * 513
    for role in ("val", "test"):
        n, top1 = second[role]["n"], second[role]["top1"]
        assert n == len(getattr(session.splits, role))
        assert second[role]["interval"] == list(wilson(round(top1 * n), n))
    best = score.history[score.chosen["epoch"] - 1]
    assert best["val_second_top1"] == second["val"]["top1"]
    assert all(0 <= epoch["val_second_top1"] <= 1 for epoch in score.history)
    told = next(line for line in reversed(console.said) if "second task" in line)
    n = second["test"]["n"]
    low, high = (100 * end for end in second["test"]["interval"])
    top1 = f"top-1 {100 * second['test']['top1']:.1f} % ({low:.1f}–{high:.1f}, n={n})"
    assert f"multi-task, seed 0: second task, 2 classes: test {top1}, val top-1" in told
    # A second seed stands in the report with the first, as their mean.
    run(settings.changed(seed=1))
    compare.run(Session(settings))
    report = (Session(settings).reports / "report.md").read_text(encoding="utf-8")
    assert re.search(
        rf"- two tasks on {NET}: second task, 2 classes: test top-1 \S+ % \(\S+, n={n}\), val top-1", report
    )
    assert "two tasks, whole net" in report


def test_the_checkpoint_holds_both_heads_and_says_what_the_score_says(world: Path, place: Path, tmp_path: Path) -> None:
    settings = asked(
        world, place, tmp_path, strategies=("multi-task",), second=("a=red", "b=blue", "c=green"), epochs=1
    )
    score = run(settings)["multi-task"]
    (kept,) = settings.folders.cache.rglob(f"{NET}-multi-task/seed0-{score.key[:12]}/best.safetensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(kept).items() if name.startswith("classifier")}
    assert shapes == {
        "classifier.1.main.weight": (3, 512, 1, 1),
        "classifier.1.main.bias": (3,),
        "classifier.1.second.weight": (3, 512, 1, 1),
        "classifier.1.second.bias": (3,),
    }


def test_a_file_may_leave_images_out(world: Path, place: Path, tmp_path: Path) -> None:
    settings = asked(world, place, tmp_path, strategies=("multi-task",), epochs=1)
    session = Session(settings)
    part, test = session.dataset.parts["all"], session.splits.test.rows
    named = sorted({*session.splits.train.rows[::2].tolist(), int(test[0]), int(test[1])})
    file = tmp_path / "half.csv"
    lines = [f"{part.sample_ids[row]},{'even' if row % 2 == 0 else 'odd'}" for row in named]
    file.write_text("\n".join(["sample_id,label", *lines]) + "\n", encoding="utf-8")
    score = run(settings.changed(second=(str(file),)))["multi-task"]
    second = score.certificate["second"]
    assert second["classes"] == ["even", "odd"]
    assert second["test"]["n"] == 2
    assert second["val"] == {"n": 0, "top1": None, "interval": None}
    assert [epoch["val_second_top1"] for epoch in score.history] == [None]
    assert score.n_test == len(test), "the first task has all its images"


def test_two_heads_from_cached_features_need_no_pixel(world: Path, place: Path, tmp_path: Path) -> None:
    settings = asked(world, place, tmp_path, backbones=(OTHER,), weights="none", second=GROUPS, train=("augment=none",))
    settings = settings.changed(strategies=("multi-task-head",))
    plain = run(settings.changed(frozen_gb=0.0, reports=tmp_path / "plain", cache=tmp_path / "plain"))
    score = run(settings, watch=unreadable)["multi-task-head"]
    assert score.certificate["cut"]
    assert score.trainable == (1024 + 1) * (3 + 2)
    for one, other in zip(score.history, plain["multi-task-head"].history, strict=True):
        # Folded BatchNorms and another order of sums: some hundred roundings of 6e-8, through a few steps.
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)


def test_an_output_of_the_second_head_that_is_not_finite_is_told(
    world: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = asked(world, place, tmp_path, strategies=("multi-task",), second=GROUPS, epochs=1, seed=9)
    test = Session(settings).splits.test.rows.tolist()
    predict = Trainer.predict

    def spoiled(trainer: Trainer, rows: Any, feed: Any) -> Any:
        output = predict(trainer, rows, feed)
        if rows.tolist() == test:
            output[0, -1] = np.nan
        return output

    monkeypatch.setattr(Trainer, "predict", spoiled)
    with pytest.raises(Diverged, match=r"is not finite on every image; use a lower --lr$"):
        run(settings)


def test_a_file_that_labels_no_train_image_is_told(world: Path, place: Path, tmp_path: Path) -> None:
    settings = asked(world, place, tmp_path, strategies=("multi-task",))
    session = Session(settings)
    test = [session.dataset.parts["all"].sample_ids[row] for row in session.splits.test.rows[:2]]
    file = tmp_path / "few.csv"
    file.write_text(f"sample_id,label\n{test[0]},a\n{test[1]},b\n", encoding="utf-8")
    with pytest.raises(
        BadData, match=r"^no train image has a label of the second task: --second few.csv \([0-9a-f]{8}\)$"
    ):
        run(settings.changed(second=(str(file),)))
