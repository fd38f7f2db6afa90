"""Training on several labels and on numbers: the losses against torch's, the scale and metrics against scikit-learn."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, log_loss, mean_squared_error, r2_score
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from probeline.errors import BadOption, Diverged
from probeline.evaluate.targets.scale import TargetScale
from probeline.evaluate.targets.task import target_task
from probeline.files.decode import BadRecord, check_members
from probeline.finetuning.checkpoint_files import EpochMembers
from probeline.finetuning.requests import training_options
from probeline.finetuning.targets.objective import check_training_words
from probeline.finetuning.training.target_losses import LabelLoss, NumberLoss, TargetLoss
from probeline.names import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from probeline.options.settings import Settings
from probeline.types import DoubleArray
from small_trainings import (
    BATCHES_AN_EPOCH,
    FEED,
    LABELS,
    TRAIN,
    TRAINING,
    VAL,
    Interrupted,
    Steps,
    fit,
    lines,
    make_trainer,
    moved,
    state,
)
from variants import slow_after

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = np.array([7, 2, 9, 4, 0])
OUTPUT = torch.from_numpy(3 * np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32))
HOLES = np.random.default_rng(4).random((10, 3)) < 0.3


def holed(Y: DoubleArray, holes: Any = HOLES) -> DoubleArray:
    own = Y.copy()
    own[holes] = np.nan
    return own


BITS = np.random.default_rng(2).integers(0, 2, (10, 3)).astype(np.float64)
NUMBERS = np.random.default_rng(3).normal([5, -300, 2e6], [2, 40, 3], (10, 3))


def label_loss(Y: DoubleArray, smoothing: float = 0.0) -> LabelLoss:
    known = float((~np.isnan(Y)).sum() / len(Y))
    return LabelLoss(target_task(MULTI_LABEL), TargetScale.of(MULTI_LABEL, Y), known, Y, smoothing)


def number_loss(Y: DoubleArray, kind: Any = "mse", delta: float = 1.0) -> NumberLoss:
    known = float((~np.isnan(Y)).sum() / len(Y))
    return NumberLoss(target_task(REGRESSION), TargetScale.of(REGRESSION, Y), known, Y, kind, delta)


def truth(loss: TargetLoss, rows: Any = ROWS) -> Tensor:
    return torch.from_numpy(loss.scale.standardise(loss.val)[rows])


# Losses


def test_labels_that_are_all_known_have_torchs_loss() -> None:
    loss = label_loss(BITS)
    own, counted = loss.loss(OUTPUT, truth(loss), ROWS)
    assert float(own) == pytest.approx(float(nn.BCEWithLogitsLoss()(OUTPUT, truth(loss))), rel=1e-6)
    assert float(counted) == 0
    shares = torch.sigmoid(OUTPUT.double()).numpy()
    by_label = [log_loss(BITS[ROWS][:, i], shares[:, i], labels=[0, 1]) for i in range(3)]
    assert float(own) == pytest.approx(np.mean(by_label), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "delta", "reference"),
    [("mse", 1.0, nn.MSELoss()), ("huber", 1.0, nn.HuberLoss()), ("huber", 0.2, nn.HuberLoss(delta=0.2))],
)
def test_numbers_that_are_all_known_have_torchs_loss(kind: Any, delta: float, reference: nn.Module) -> None:
    loss = number_loss(NUMBERS, kind, delta)
    own = float(loss.loss(OUTPUT, truth(loss), ROWS)[0])
    assert own == pytest.approx(float(reference(OUTPUT, truth(loss))), rel=1e-6)
    if kind == "mse":
        scaled = StandardScaler().fit(NUMBERS).transform(NUMBERS)[ROWS]
        assert own == pytest.approx(mean_squared_error(scaled, OUTPUT.numpy()), rel=1e-5)


def test_huber_and_the_squared_error_differ_where_they_should() -> None:
    near, far = torch.tensor([[0.5]]), torch.tensor([[4.0]])
    of = {kind: number_loss(np.array([[-1.0], [1.0]]), kind) for kind in ("mse", "huber")}
    zero = torch.zeros(1, 1)
    losses = {kind: [float(loss.loss(x, zero, np.array([0]))[0]) for x in (near, far)] for kind, loss in of.items()}
    assert losses == {"mse": [0.25, 16.0], "huber": [0.125, 3.5]}


@pytest.mark.parametrize("make", [label_loss, number_loss])
def test_unknown_targets_do_not_count(make: Any) -> None:
    loss = make(holed(BITS if make is label_loss else NUMBERS))
    targets = truth(loss)
    known = ~targets.isnan()
    assert 0 < known.sum() < known.numel()
    reference = nn.BCEWithLogitsLoss(reduction="sum") if make is label_loss else nn.MSELoss(reduction="sum")
    output = OUTPUT.clone().requires_grad_()
    own, _ = loss.loss(output, targets, ROWS)
    expected = float(reference(OUTPUT[known], targets[known])) / (5 * loss.known)
    assert float(own.detach()) == pytest.approx(expected, rel=1e-6)
    own.backward()  # type: ignore[no-untyped-call]
    assert output.grad is not None
    assert not output.grad[~known].any()
    assert output.grad[known].all()
    # An epoch's mean is that over all known targets.
    every, output = truth(loss, np.arange(10)), torch.cat([OUTPUT, OUTPUT.flip(0)])
    whole = float(loss.loss(output, every, np.arange(10))[0])
    plain = float(reference(output[~every.isnan()], every[~every.isnan()])) / int((~every.isnan()).sum())
    assert whole == pytest.approx(plain, rel=1e-6)
    parts = [float(loss.loss(output[part], every[part], np.arange(10)[part])[0]) for part in (slice(3), slice(3, 10))]
    assert (3 * parts[0] + 7 * parts[1]) / 10 == pytest.approx(whole, rel=1e-6), "a batch in parts is the batch"


def test_smoothing_moves_targets_in_training_alone() -> None:
    loss = label_loss(BITS, 0.2)
    expected = nn.BCEWithLogitsLoss()(OUTPUT, truth(loss) * 0.8 + 0.1)
    assert float(loss.loss(OUTPUT, truth(loss), ROWS)[0]) == pytest.approx(float(expected), rel=1e-6)
    on_val = loss.measure(OUTPUT, truth(loss), ROWS)["val_loss"]
    assert on_val == pytest.approx(float(nn.BCEWithLogitsLoss()(OUTPUT, truth(loss))), rel=1e-6)


# What is measured on val


def test_labels_on_val_against_scikit_learn() -> None:
    loss = label_loss(holed(BITS))
    targets = truth(loss)
    measured = loss.measure(OUTPUT, targets, ROWS)
    Y, each = holed(BITS)[ROWS], []
    for label in range(3):
        known = ~np.isnan(Y[:, label])
        if (Y[known, label] == 1).any():
            each.append(average_precision_score(Y[known, label], OUTPUT.numpy()[known, label]))
    assert len(each) > 1
    assert measured["val_score"] == pytest.approx(np.mean(each))
    known = ~targets.isnan()
    assert measured["val_loss"] == pytest.approx(float(nn.BCEWithLogitsLoss()(OUTPUT[known], targets[known])), rel=1e-6)


def test_numbers_on_val_against_scikit_learn() -> None:
    loss = number_loss(holed(NUMBERS))
    measured = loss.measure(OUTPUT, truth(loss), ROWS)
    Y = holed(NUMBERS)[ROWS]
    scaler = StandardScaler().fit(holed(NUMBERS))  # which passes over NaN
    predicted = scaler.inverse_transform(OUTPUT.numpy().astype(np.float64))
    each = []
    for column in range(3):
        known = ~np.isnan(Y[:, column])
        each.append(r2_score(Y[known, column], predicted[known, column]))
    assert measured["val_score"] == pytest.approx(np.mean(each), rel=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_outputs_that_are_not_finite_have_no_score(value: float) -> None:
    for loss in (label_loss(BITS), number_loss(NUMBERS)):
        output = OUTPUT.clone()
        output[0, 0] = value if truth(loss)[0, 0] < 1 else -value
        assert not math.isfinite(loss.measure(output, truth(loss), ROWS)["val_loss"])


# The scale


def test_numbers_are_standardised_as_scikit_learn_does() -> None:
    Y = holed(NUMBERS)
    scale = TargetScale.of(REGRESSION, Y)
    expected = StandardScaler().fit_transform(Y)
    np.testing.assert_allclose(scale.standardise(Y), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scale.restore(scale.standardise(Y)), Y, rtol=1e-6)


def test_what_cannot_be_learned_is_predicted_as_the_exact_heads_do() -> None:
    Y = np.array([[0.1, np.nan, 1.0], [0.1, np.nan, 2.0], [0.1, np.nan, 4.0]])
    scale = TargetScale.of(REGRESSION, Y)
    np.testing.assert_allclose(scale.restore(np.full((1, 3), 7.0))[0, :2], [0.1, 0.0])
    scaled = scale.standardise(np.array([[0.3, 5.0, 1.0]]))
    assert scaled[0, 0] == pytest.approx(0.2)
    assert np.isnan(scaled[0, 1])
    labels = TargetScale.of(MULTI_LABEL, np.array([[1.0, np.nan], [0.0, np.nan]]))
    np.testing.assert_array_equal(labels.restore(np.full((1, 2), 2.5)), [[2.5, -40.0]])
    np.testing.assert_array_equal(labels.standardise(np.array([[1.0, 1.0]])), [[1.0, np.nan]])


# In training

OF_CLASS = np.eye(3)[LABELS]
SIZES = np.random.default_rng(5).random((42, 3)) < 0.2


def targets_in(kind: str) -> DoubleArray:
    """Return targets that follow from the classes, of which some are unknown, but not all of an image."""
    holes = SIZES & ~SIZES.all(axis=1, keepdims=True)
    if kind == "labels":
        return holed(OF_CLASS, holes)
    return holed(OF_CLASS * [10, 2, 1e3] + [0, 5, -1e3], holes)


def loss_in(kind: str) -> TargetLoss:
    Y = targets_in(kind)
    task = MULTI_LABEL if kind == "labels" else REGRESSION
    scale, known = TargetScale.of(task, Y[TRAIN]), float((~np.isnan(Y[TRAIN])).sum() / len(TRAIN))
    if kind == "labels":
        return LabelLoss(target_task(task), scale, known, Y, 0.1)
    return NumberLoss(target_task(task), scale, known, Y, "huber" if kind == "huber" else "mse", 1.0)


@pytest.mark.parametrize("kind", ["labels", "mse", "huber"])
def test_a_net_learns_its_targets_and_the_best_epoch_is_kept(kind: str, tmp_path: Path) -> None:
    loss = loss_in(kind)
    labels = loss.scale.standardise(loss.val)
    trainer = make_trainer(replace(TRAINING, epochs=12), loss=loss, labels=labels)
    trained = fit(trainer, tmp_path, labels=labels)
    scores = [epoch["val_score"] for epoch in trained.history]
    assert all("train_top1" not in epoch and "val_top1" not in epoch for epoch in trained.history)
    assert trained.best["val_score"] == max(scores) > 0.8
    assert trained.selection_score == (max(scores), -trained.best["val_loss"])
    output = trainer.predict(VAL, FEED)
    assert loss.measure(output, torch.from_numpy(labels[VAL]), VAL)["val_score"] == trained.best["val_score"]


@pytest.mark.parametrize("kind", ["labels", "mse"])
def test_parts_of_a_batch_add_up_to_it(kind: str, tmp_path: Path) -> None:
    runs, loss = [], loss_in(kind)
    for accumulate in (1, 4):
        labels = loss.scale.standardise(loss.val)
        training = replace(TRAINING, accumulate=accumulate, clip=0.5)
        trainer = make_trainer(training, make=lambda: Steps(norms=False), loss=loss, labels=labels)
        fit(trainer, tmp_path / str(accumulate), labels=labels)
        runs.append(state(trainer.net))
    for name, tensor in runs[0].items():
        # Rounding of float32 sums in another order, 16 Adam steps on.
        torch.testing.assert_close(runs[1][name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("after", slow_after(2, range(0, 4 * BATCHES_AN_EPOCH, 5)))
@pytest.mark.parametrize("kind", ["labels", "huber"])
def test_an_interrupted_run_goes_on_bit_for_bit(kind: str, after: int, tmp_path: Path) -> None:
    loss = loss_in(kind)
    labels = loss.scale.standardise(loss.val)
    whole = make_trainer(loss=loss, labels=labels)
    expected = fit(whole, tmp_path / "whole", labels=labels)
    feed = Interrupted(after)
    with pytest.raises(KeyboardInterrupt):
        fit(make_trainer(feed=feed, loss=loss, labels=labels), tmp_path / "cut", feed=feed, labels=labels)
    again = make_trainer(loss=loss, labels=labels)
    found = fit(again, tmp_path / "cut", labels=labels)
    assert found.resumed_from == after // BATCHES_AN_EPOCH
    assert lines(found.history) == lines(expected.history)
    assert moved(state(whole.net), again.net.state_dict()) == set()


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    loss = loss_in("mse")
    labels = loss.scale.standardise(loss.val)
    with pytest.raises(Diverged):
        fit(make_trainer(replace(TRAINING, lr=1e30), loss=loss, labels=labels), tmp_path, labels=labels)


def test_checkpoints_tell_classes_from_numbers() -> None:
    plain = {"epoch": 1, "parts": 1, "val_loss": 0.5, "seconds": 1.0}
    for chosen_by in ({"val_top1": 0.5}, {"val_score": -7.5}, {"val_top1": 0.5, "val_score": 0.4}):
        check_members(EpochMembers, {**plain, **chosen_by})
    for wrong in ({}, {"val_top1": 0.5, "val_score": -7.5}, {"val_top1": 2.0}, {"val_score": math.inf}):
        with pytest.raises(BadRecord):
            check_members(EpochMembers, {**plain, **wrong})


# Options


def test_each_task_has_its_own_options() -> None:
    settings = Settings()
    of = {task: training_options(settings, "full", task) for task in (SINGLE_LABEL, MULTI_LABEL, REGRESSION)}
    assert training_options(settings, "full") == of[SINGLE_LABEL] == of[MULTI_LABEL]
    assert of[REGRESSION].keys() - of[SINGLE_LABEL].keys() == {"loss"}
    assert of[SINGLE_LABEL].keys() - of[REGRESSION].keys() == {"label_smoothing"}
    assert (of[SINGLE_LABEL]["augment"], of[REGRESSION]["augment"]) == (("flip-crop",), ("none",))
    huber = training_options(settings.changed(train=("loss=huber", "huber_delta=0.5,1")), "full", REGRESSION)
    assert (huber["loss"], huber["huber_delta"]) == (("huber",), (0.5, 1.0))


@pytest.mark.parametrize(
    ("words", "task", "message"),
    [
        (("loss=huber",), SINGLE_LABEL, "--train loss is about numbers (expected it with --task regression"),
        (("huber_delta=1",), MULTI_LABEL, "--train huber_delta is about numbers"),
        (("label_smoothing=0.1",), REGRESSION, "--train label_smoothing is about classes and labels"),
        (("huber_delta=1",), REGRESSION, "--train huber_delta without Huber's loss (expected --train loss=huber"),
    ],
)
def test_an_option_without_use_is_refused(words: tuple[str, ...], task: str, message: str) -> None:
    with pytest.raises(BadOption) as error:
        check_training_words(Settings().changed(train=words), task)
    assert message in str(error.value)
