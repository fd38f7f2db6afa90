"""What training goes down: each loss by hand, and what a net makes of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch import Tensor, nn

from probeline.backbones.build import random_net
from probeline.backbones.penultimate import find_tap
from probeline.finetuning.head import TwoHeads, fresh_head
from probeline.finetuning.training.losses import CrossEntropy, DistillationLoss, TwoTaskLoss
from probeline.finetuning.training.trainer import Trainer, _best_epoch
from probeline.types import DROPPED, IntArray
from small_trainings import (
    BATCHES_AN_EPOCH,
    CLASSES,
    FEED,
    LABELS,
    SIZE,
    TRAIN,
    TRAINING,
    VAL,
    Interrupted,
    Steps,
    Tiny,
    fit,
    lines,
    make_trainer,
    moved,
    seeded,
    state,
)
from variants import slow_after

ROWS = np.array([7, 2, 9, 4, 0])
OUTPUT = torch.from_numpy(np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32))
TRUTH = torch.tensor([2, 0, 1, 1, 0])
TEACHER = torch.from_numpy(3 * np.random.default_rng(2).standard_normal((10, 3)).astype(np.float32))


def chances(logits: Tensor) -> Tensor:
    powers = (logits.double() - logits.double().max(1, keepdim=True).values).exp()
    return powers / powers.sum(1, keepdim=True)


# By hand


def test_the_metric_that_selects_is_measured_too() -> None:
    plain = CrossEntropy(0.0).measure(OUTPUT, TRUTH, ROWS)
    assert "val_score" not in plain
    two = TwoTaskLoss(0.0, 3, 1.0, torch.zeros(10, dtype=torch.long), torch.zeros(10, dtype=torch.long), 1.0)
    wide = torch.cat([OUTPUT, 9 * torch.ones(5, 2)], 1)  # a second task's columns are no classes
    for metric, average in (("macro", None), ("macro-f1", "macro")):
        predicted = OUTPUT.argmax(1)
        expected = f1_score(TRUTH, predicted, average=average, zero_division=0) if average else None
        expected = balanced_accuracy_score(TRUTH, predicted) if expected is None else expected
        measured = CrossEntropy(0.0, metric=metric).measure(OUTPUT, TRUTH, ROWS)
        assert measured == {**plain, "val_score": pytest.approx(expected)}
        assert replace(two, metric=metric).measure(wide, TRUTH, ROWS)["val_score"] == pytest.approx(expected)


def test_the_epoch_is_chosen_by_the_metric_if_it_is_measured() -> None:
    history = [{"epoch": 1, "val_top1": 0.9, "val_loss": 1.0}, {"epoch": 2, "val_top1": 0.8, "val_loss": 1.0}]
    assert _best_epoch(history) == 1
    assert _best_epoch([{**one, "val_score": value} for one, value in zip(history, (0.5, 0.6), strict=True)]) == 2


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy(smoothing: float) -> None:
    loss, right = CrossEntropy(smoothing).loss(OUTPUT, TRUTH, ROWS)
    target = (1 - smoothing) * nn.functional.one_hot(TRUTH, 3) + smoothing / 3
    assert float(loss) == pytest.approx(float(-(target * chances(OUTPUT).log()).sum(1).mean()), rel=1e-6)
    assert int(right) == int((OUTPUT.argmax(1) == TRUTH).sum())
    read = CrossEntropy(smoothing).measure(OUTPUT, TRUTH, ROWS)
    own = chances(OUTPUT)[torch.arange(5), TRUTH]
    assert read["val_loss"] == pytest.approx(float(-own.log().mean()), rel=1e-6), "val is never smoothed"
    assert read["val_top1"] == int(right) / 5


WEIGHTS = (0.5, 3.0, 1.25)


def test_class_weights_multiply_each_images_loss() -> None:
    loss, right = CrossEntropy(0.0, class_weights=WEIGHTS).loss(OUTPUT, TRUTH, ROWS)
    each = nn.functional.cross_entropy(OUTPUT, TRUTH, weight=torch.tensor(WEIGHTS), reduction="none")
    assert float(loss) == pytest.approx(float(each.mean()), rel=1e-6)
    assert int(right) == int((OUTPUT.argmax(1) == TRUTH).sum()), "what is right counts once"
    parts = [
        CrossEntropy(0.1, class_weights=WEIGHTS).loss(OUTPUT[p], TRUTH[p], ROWS[p])[0] for p in ([0, 1], [2, 3, 4])
    ]
    whole = float(CrossEntropy(0.1, class_weights=WEIGHTS).loss(OUTPUT, TRUTH, ROWS)[0])
    assert float(2 * parts[0] + 3 * parts[1]) / 5 == pytest.approx(whole, rel=1e-6), "a batch in parts is the batch"
    plain = CrossEntropy(0.0).measure(OUTPUT, TRUTH, ROWS)
    assert CrossEntropy(0.0, class_weights=WEIGHTS).measure(OUTPUT, TRUTH, ROWS) == plain, "val counts each image once"


def test_a_teachers_term_and_a_second_task_have_no_class_weights() -> None:
    (plain, weighted), smoothing = (CrossEntropy(0.1), CrossEntropy(0.1, class_weights=WEIGHTS)), 0.1
    difference = float(weighted.loss(OUTPUT, TRUTH, ROWS)[0] - plain.loss(OUTPUT, TRUTH, ROWS)[0])
    assert abs(difference) > 0.01
    taught = DistillationLoss(smoothing, TEACHER, 2.0, 0.25)
    two = [taught.loss(OUTPUT, TRUTH, ROWS)[0], replace(taught, class_weights=WEIGHTS).loss(OUTPUT, TRUTH, ROWS)[0]]
    assert float(two[1] - two[0]) == pytest.approx(0.75 * difference, rel=1e-4)
    two = [loss.loss(BOTH, TRUTH, ROWS)[0] for loss in (two_tasks(), replace(two_tasks(), class_weights=WEIGHTS))]
    assert float(two[1] - two[0]) == pytest.approx(difference, rel=1e-4)


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 1.0), (4.0, 0.5), (0.5, 0.2)])
def test_a_teachers_loss(temperature: float, alpha: float) -> None:
    loss, right = DistillationLoss(0.1, TEACHER, temperature, alpha).loss(OUTPUT, TRUTH, ROWS)
    hard, _ = CrossEntropy(0.1).loss(OUTPUT, TRUTH, ROWS)
    says, student = (chances(logits / temperature) for logits in (TEACHER[torch.from_numpy(ROWS)], OUTPUT))
    soft = (says * (says.log() - student.log())).sum(1).mean()
    expected = (1 - alpha) * float(hard) + alpha * temperature**2 * float(soft)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert int(right) == int((OUTPUT.argmax(1) == TRUTH).sum()), "right is what the labels have, not the teacher"


def test_a_student_that_says_what_the_teacher_says_has_nothing_to_lose() -> None:
    output = TEACHER[torch.from_numpy(ROWS)].clone().requires_grad_()
    loss, _ = DistillationLoss(0.0, TEACHER, 4.0, 1.0).loss(output + 5.0, TRUTH, ROWS)
    loss.backward()  # type: ignore[no-untyped-call]
    # Roundings of 6e-8, relative to 1, through a handful of operations, and times 16.
    assert abs(float(loss.detach())) < 1e-5
    assert output.grad is not None
    assert float(output.grad.abs().max()) < 1e-5


def test_the_temperatures_square_keeps_the_gradients_size() -> None:
    # Where temperatures are high the gradient is (student - teacher) / K, both centred (section 2.1 of the paper).
    output = OUTPUT.clone().requires_grad_()
    loss, _ = DistillationLoss(0.0, TEACHER, 1000.0, 1.0).loss(output, TRUTH, ROWS)
    loss.backward()  # type: ignore[no-untyped-call]
    says = TEACHER[torch.from_numpy(ROWS)]
    centred = (OUTPUT - OUTPUT.mean(1, keepdim=True)) - (says - says.mean(1, keepdim=True))
    assert output.grad is not None
    # The next term of the expansion is smaller by logits / temperature, 1e-2; and T^2 scales roundings up by 1e6.
    torch.testing.assert_close(output.grad, centred / 3 / 5, rtol=0.05, atol=0.02)


SECOND = torch.tensor([0, DROPPED, DROPPED, 1, 1, DROPPED, 0, 1, 1, DROPPED])
BOTH = torch.cat([OUTPUT, torch.from_numpy(np.random.default_rng(3).standard_normal((5, 2)).astype(np.float32))], 1)


def two_tasks(weight: float = 0.5, *, share: float = 0.7, smoothing: float = 0.1) -> TwoTaskLoss:
    return TwoTaskLoss(smoothing, 3, weight, SECOND, SECOND, share)


def test_two_tasks() -> None:
    loss, right = two_tasks().loss(BOTH, TRUTH, ROWS)
    main, expected_right = CrossEntropy(0.1).loss(OUTPUT, TRUTH, ROWS)
    known = [0, 3, 4]  # rows 7, 4 and 0; 2 and 9 have no label
    second = nn.functional.cross_entropy(BOTH[known, 3:], torch.tensor([1, 1, 0]), label_smoothing=0.1)
    # Three of five images have one; of all train rows it is said that seven in ten have.
    assert float(loss) == pytest.approx(float(main) + 0.5 * float(second) * (3 / 5) / 0.7, rel=1e-6)
    assert int(right) == int(expected_right)
    read = two_tasks().measure(BOTH, TRUTH, ROWS)
    assert {**read, "val_second_top1": None} == {
        **CrossEntropy(0.1).measure(OUTPUT, TRUTH, ROWS),
        "val_second_top1": None,
    }
    assert read["val_second_top1"] == int((BOTH[known, 3:].argmax(1) == torch.tensor([1, 1, 0])).sum()) / 3


def test_where_every_image_has_both_labels_the_second_loss_is_a_plain_mean() -> None:
    every = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 1, 0])
    loss, _ = TwoTaskLoss(0.0, 3, 2.0, every, every, 1.0).loss(BOTH, TRUTH, ROWS)
    main, second = (
        nn.functional.cross_entropy(part, truth)
        for part, truth in ((OUTPUT, TRUTH), (BOTH[:, 3:], every[torch.from_numpy(ROWS)]))
    )
    assert float(loss) == pytest.approx(float(main + 2.0 * second), rel=1e-6)


def test_an_image_without_a_label_has_no_part_in_the_second_loss() -> None:
    output = BOTH.clone().requires_grad_()
    loss, _ = two_tasks().loss(output, TRUTH, ROWS)
    loss.backward()  # type: ignore[no-untyped-call]
    assert output.grad is not None
    assert not output.grad[[1, 2], 3:].any()
    assert output.grad[[0, 3, 4], 3:].all()
    assert output.grad[:, :3].all()
    unknown, _ = two_tasks().loss(BOTH[1:3], TRUTH[1:3], ROWS[1:3])
    main, _ = CrossEntropy(0.1).loss(OUTPUT[1:3], TRUTH[1:3], ROWS[1:3])
    assert float(unknown) == float(main), "a batch of which none has one is no division by 0"
    assert two_tasks().measure(BOTH[1:3], TRUTH[1:3], ROWS[1:3])["val_second_top1"] is None


# In training


def teacher(of: IntArray = LABELS, sure: float = 8.0) -> Tensor:
    return sure * nn.functional.one_hot(torch.from_numpy(of), CLASSES).float()


def second_head(weight: float = 0.5, labels: IntArray = LABELS % 2) -> TwoTaskLoss:
    truth = torch.from_numpy(labels)
    return TwoTaskLoss(0.0, CLASSES, weight, truth, truth, float((labels[TRAIN] != DROPPED).mean()))


def test_alpha_0_is_plain_training_bit_for_bit(tmp_path: Path) -> None:
    plain, taught = make_trainer(), make_trainer(loss=DistillationLoss(0.0, teacher((LABELS + 1) % 3), 4.0, 0.0))
    history = lines(fit(plain, tmp_path / "plain").history)
    assert lines(fit(taught, tmp_path / "taught").history) == history
    assert moved(state(plain.net), taught.net.state_dict()) == set()


def test_alpha_1_follows_the_teacher_and_knows_no_label(tmp_path: Path) -> None:
    other = (LABELS + 1) % 3
    states = []
    for number, labels in enumerate((LABELS, np.zeros_like(LABELS))):
        trainer = make_trainer(
            replace(TRAINING, epochs=12), labels=labels, loss=DistillationLoss(0.0, teacher(other), 4.0, 1.0)
        )
        fit(trainer, tmp_path / str(number), labels=other)
        states.append(state(trainer.net))
        # As the same training does of labels; guessing would give 1/3.
        assert float((trainer.predict(VAL, FEED).argmax(1).numpy() == other[VAL]).mean()) >= 0.9
    assert moved(*states) == set()


def test_a_second_loss_of_weight_0_is_plain_training_bit_for_bit(tmp_path: Path) -> None:
    plain = make_trainer()
    both = make_trainer(loss=second_head(0.0), second=2)
    history = lines(fit(plain, tmp_path / "plain").history)
    found = lines(fit(both, tmp_path / "both").history)
    assert [{k: v for k, v in epoch.items() if k != "val_second_top1"} for epoch in found] == history
    after = {name.replace("fc.main.", "fc."): tensor for name, tensor in both.net.state_dict().items()}
    second = {name for name in after if "second" in name}
    assert second == {"fc.second.weight", "fc.second.bias"}
    assert moved(state(plain.net), {name: after[name] for name in set(after) - second}) == set()
    assert both.trainable - plain.trainable == both.total - plain.total == 13 * 2


def test_the_second_heads_gradients_reach_the_backbone() -> None:
    net = make_trainer(make=Steps, second=2, loss=second_head()).net
    assert isinstance(net.fc, TwoHeads)
    net.requires_grad_(True)
    output = net(torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))
    assert output.shape == (4, CLASSES + 2)
    output[:, CLASSES:].square().sum().backward()
    reached = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert {name.partition(".")[0] for name in reached} == {"low", "mid", "top", "fc"}
    assert not {name for name in reached if name.startswith("fc.main")}


def test_both_heads_learn_their_own_task(tmp_path: Path) -> None:
    trainer = make_trainer(replace(TRAINING, epochs=12), loss=second_head(1.0, LABELS // 2), second=2)
    trained = fit(trainer, tmp_path)
    best = trained.history[trained.best_epoch - 1]
    assert (best["val_top1"], best["val_second_top1"]) >= (0.9, 0.9)
    output = trainer.predict(VAL, FEED)
    assert best["val_second_top1"] == float((output[:, CLASSES:].argmax(1).numpy() == LABELS[VAL] // 2).mean())


def some_labels() -> IntArray:
    labels = LABELS // 2
    labels[::4] = DROPPED
    return labels


def test_parts_of_a_batch_add_up_to_it_where_labels_are_missing(tmp_path: Path) -> None:
    runs = []
    for accumulate in (1, 4):
        training = replace(TRAINING, accumulate=accumulate, clip=0.5)
        trainer = make_trainer(
            training, make=lambda: Steps(norms=False), second=2, loss=second_head(1.0, some_labels())
        )
        fit(trainer, tmp_path / str(accumulate))
        runs.append(state(trainer.net))
    for name, tensor in runs[0].items():
        # Rounding of float32 sums in another order, 16 Adam steps on.
        torch.testing.assert_close(runs[1][name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("after", slow_after(2, range(0, 4 * BATCHES_AN_EPOCH, 5)))
@pytest.mark.parametrize("kind", ["distilled", "two tasks"])
def test_an_interrupted_run_goes_on_bit_for_bit(kind: str, after: int, tmp_path: Path) -> None:
    def begin(feed: object = FEED) -> Trainer:
        given = {"second": 2, "loss": second_head(0.7, some_labels())}
        if kind == "distilled":
            given = {"loss": DistillationLoss(0.1, teacher(sure=3.0), 4.0, 0.5)}
        return make_trainer(feed=feed, **given)  # type: ignore[arg-type]

    whole = begin()
    expected = fit(whole, tmp_path / "whole")
    feed = Interrupted(after)
    with pytest.raises(KeyboardInterrupt):
        fit(begin(feed), tmp_path / "cut", feed=feed)
    again = begin()
    found = fit(again, tmp_path / "cut")
    assert found.resumed_from == after // BATCHES_AN_EPOCH
    assert lines(found.history) == lines(expected.history)
    assert moved(state(whole.net), again.net.state_dict()) == set()
    assert math.isfinite(found.history[-1]["train_loss"])


# Heads


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1", "googlenet"])
def test_two_heads_stand_where_one_stood(name: str) -> None:
    outputs = []
    for second in (0, 4):
        net = random_net(name, 0)
        fresh_head(net, find_tap(net, 64, name), 3, 5, second=second)
        net.eval()
        with torch.no_grad():
            outputs.append(net(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))))
    assert outputs[1].shape == (2, 7)
    # The first begins as it would alone; another shape of a product, another order of its sums.
    torch.testing.assert_close(outputs[1][:, :3], outputs[0], rtol=1e-5, atol=1e-5)
    assert not torch.equal(outputs[1][:, 3:6], outputs[0])


def test_the_global_random_state_stays_as_it_is() -> None:
    before = torch.get_rng_state()
    net = seeded(Tiny)
    fresh_head(net, find_tap(net, SIZE, "tiny"), 3, 0, second=2)
    assert torch.equal(torch.get_rng_state(), before)
