"""The mini-batch heads: torch's own steps, one seed one result whoever is beside, nothing chosen on what is watched."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from probeline.heads.linear import decision
from probeline.heads.minibatch import sgd, training
from probeline.heads.minibatch.sgd import Setting, fit_sgd
from probeline.heads.minibatch.training import TrainedHead, factors

ADAM = Setting(lr=0.01, weight_decay=5e-4)
TRAINING: dict[str, Any] = {"epochs": 15, "batch_size": 32}


def blobs(n: int = 300, classes: int = 3, dim: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    return (3 * np.eye(classes, dim)[y] + rng.standard_normal((n, dim))).astype(np.float32), y


def fit(setting: Setting, n: int = 300, **options: Any) -> TrainedHead:
    X, y = blobs(n)
    (head,) = fit_sgd(X, y, 3, [setting], **{**TRAINING, **options})
    return head


def torchs(
    X: np.ndarray, y: np.ndarray, classes: int, setting: Setting, *, epochs: int, batch_size: int
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Train one head with torch's layer, optimizer and loss; return its weights, its bias and each epoch's loss."""
    inputs, labels = torch.from_numpy(X[:, setting.columns or slice(None)]), torch.from_numpy(y)
    start = training.linear(inputs.shape[1], classes, training.stream(setting.seed, training.WEIGHTS)).to(inputs.dtype)
    layer = torch.nn.Linear(*start[:, :-1].T.shape, device="meta").to_empty(device="cpu").to(inputs.dtype)
    layer.load_state_dict({"weight": start[:, :-1], "bias": start[:, -1]})
    makers: dict[str, Any] = {
        "sgd": lambda **common: torch.optim.SGD(layer.parameters(), momentum=0.9, **common),
        "adam": lambda **common: torch.optim.Adam(layer.parameters(), **common),
        "adamw": lambda **common: torch.optim.AdamW(layer.parameters(), **common),
    }
    optimizer = makers[setting.optimizer](lr=setting.lr, weight_decay=setting.weight_decay)
    rows = torch.arange(len(y)) if setting.rows is None else torch.from_numpy(setting.rows)
    steps = epochs * math.ceil(len(rows) / batch_size)
    falling = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: factors(setting.schedule, steps)[min(step, steps - 1)]
    )
    order, dropout = training.stream(setting.seed, training.ORDER), training.stream(setting.seed, training.DROPOUT)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for some in torch.split(rows[torch.randperm(len(rows), generator=order)], batch_size):
            batch = inputs[some]
            if setting.dropout:
                batch = batch * (torch.rand(batch.shape, generator=dropout) >= setting.dropout) / (1 - setting.dropout)
            loss = functional.cross_entropy(layer(batch), labels[some], label_smoothing=setting.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            falling.step()
            total += float(loss.detach()) * len(some)
        losses.append(total / len(rows))
    return layer.weight.detach().numpy(), layer.bias.detach().numpy(), losses


GRID = [
    Setting(lr=0.01),
    Setting(lr=0.03, weight_decay=0.01, label_smoothing=0.1),
    Setting(lr=0.01, optimizer="adamw", weight_decay=0.1, schedule="one-cycle"),
    Setting(lr=0.05, optimizer="sgd", weight_decay=0.01, schedule="step"),
    Setting(lr=0.1, optimizer="sgd", label_smoothing=0.2, schedule="constant"),
    Setting(lr=0.01, dropout=0.3),
    Setting(lr=0.01, seed=7),
    Setting(lr=0.01, columns=slice(2, 7)),
    Setting(lr=0.02, rows=np.arange(5, 64, 2)),
]


def test_every_head_of_a_grid_is_what_torch_makes_of_it_alone() -> None:
    X, y = blobs(70)
    X = X.astype(np.float64)
    heads = fit_sgd(X, y, 3, GRID, epochs=3, batch_size=16)  # the last minibatch has 6 rows
    for setting, head in zip(GRID, heads, strict=True):
        weight, bias, losses = torchs(X, y, 3, setting, epochs=3, batch_size=16)
        # float64 all through but for dropout's 1 / (1 - p) and the return in float32: 1 part in 2^24, a few times.
        np.testing.assert_allclose(head.weight, weight, rtol=1e-6, atol=1e-7, err_msg=str(setting))
        np.testing.assert_allclose(head.bias, bias, rtol=1e-6, atol=1e-7, err_msg=str(setting))
        np.testing.assert_allclose([epoch["train_loss"] for epoch in head.history], losses, rtol=1e-6)


def test_a_head_does_not_depend_on_its_company() -> None:
    X, y = blobs(70)
    heads = fit_sgd(X, y, 3, GRID, epochs=3, batch_size=16)
    for setting, head in zip(GRID, heads, strict=True):
        (alone,) = fit_sgd(X, y, 3, [setting], epochs=3, batch_size=16)
        # 15 steps of at most 0.1 on weights of order one: a product of another width rounds otherwise, 6e-8 a sum of
        # order ten; Adam divides by gradients of order 0.01, which leaves 6e-5 of a step of 0.03.
        np.testing.assert_allclose(head.weight, alone.weight, atol=3e-5, err_msg=str(setting))


def test_more_heads_than_a_pass_holds() -> None:
    X, y = blobs(40, classes=200, dim=200)
    settings = [Setting(lr=0.001 * place) for place in range(1, 8)]  # five heads of 200 classes a pass
    heads = fit_sgd(X, y, 200, settings, epochs=1, batch_size=40)
    sizes = [np.abs(head.weight - heads[0].weight).max() for head in heads]
    # Adam's first step is the rate: each head is 0.001 further than the one before, up to roundings of weights of 0.1.
    np.testing.assert_allclose(sizes, 0.001 * np.arange(7), atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_it_learns(optimizer: Any, dropout: float) -> None:
    X, y = blobs()
    head = fit(replace(ADAM, optimizer=optimizer, dropout=dropout))
    # Bayes: centres 3 sqrt(2) apart, so a pair is confused with probability Phi(-2.12) = 1.7 %, and each class has two.
    assert (decision(head, X).argmax(1) == y).mean() > 0.93
    losses = [epoch["train_loss"] for epoch in head.history]
    assert losses[-1] < losses[0]
    assert head.weight.shape == (3, 8)
    assert head.weight.dtype == head.bias.dtype == np.float32


def test_one_seed_is_one_result_and_leaves_the_global_state_alone() -> None:
    setting = replace(ADAM, dropout=0.5)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = fit(setting)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    np.testing.assert_array_equal(first.weight, fit(setting).weight)
    assert not np.array_equal(first.weight, fit(replace(setting, seed=1)).weight)


def test_watched_rows_change_nothing() -> None:
    X, y = blobs()
    alone, watched = fit(ADAM), fit(ADAM, validation=(X[:50], y[:50]))
    np.testing.assert_array_equal(alone.weight, watched.weight)
    logits = decision(watched, X[:50])
    assert watched.history[-1]["val_top1"] == (logits.argmax(1) == y[:50]).mean().astype(np.float32)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(chances[np.arange(50), y[:50]]).mean()
    assert watched.history[-1]["val_loss"] == pytest.approx(expected, rel=1e-5)  # some dozen float32 operations
    assert "val_loss" not in alone.history[-1]


def test_watched_rows_are_those_of_the_heads_columns() -> None:
    X, y = blobs(40)
    held = X.copy()
    held[:, :2] = 1e6  # columns that the head does not see
    seen = replace(ADAM, columns=slice(2, None))
    first, second = fit(seen, 40, validation=(X, y)), fit(seen, 40, validation=(held, y))
    assert [epoch["val_loss"] for epoch in first.history] == [epoch["val_loss"] for epoch in second.history]


def test_more_held_out_rows_than_a_block() -> None:
    X, y = blobs(900)
    (head,) = fit_sgd(X[:100], y[:100], 3, [ADAM], **TRAINING, validation=(X, y))
    assert head.history[-1]["val_top1"] == pytest.approx((decision(head, X).argmax(1) == y).mean(), abs=1e-6)


def test_one_full_batch_step_of_sgd_by_hand() -> None:
    X, y = blobs(30)
    setting = Setting(lr=0.1, optimizer="sgd", weight_decay=0.3)
    start = fit(replace(setting, lr=1e-30), 30, epochs=1, batch_size=30)
    logits = X @ start.weight.T + start.bias
    chances = np.exp(logits - logits.max(1, keepdims=True))
    residual = chances / chances.sum(1, keepdims=True) - np.eye(3)[y]
    expected = start.weight - 0.1 * (residual.T @ X / 30 + 0.3 * start.weight)
    # A few dozen float32 operations on numbers of order one.
    np.testing.assert_allclose(fit(setting, 30, epochs=1, batch_size=30).weight, expected, atol=1e-5)


def test_a_head_that_diverges_is_marked_and_spoils_no_other() -> None:
    X, y = blobs()
    X = X * 1e3
    wild = Setting(lr=1e38, optimizer="sgd")
    tame = Setting(lr=1e-6, optimizer="sgd")
    one, two, three = fit_sgd(X, y, 3, [tame, wild, tame], **TRAINING)
    assert two.diverged == 1
    assert two.history == ()
    assert one.diverged is three.diverged is None
    assert len(one.history) == 15
    # Equal columns of one product may be rounded apart, by where they stand: 150 steps, each an ulp of 0.3 at most.
    np.testing.assert_allclose(one.weight, three.weight, atol=150 * 3e-8)


def test_the_last_step_is_guarded_too() -> None:
    X, y = blobs(32)  # one batch: its loss is finite, the weights after it are not
    (head,) = fit_sgd(X * 1e4, y, 3, [Setting(lr=1e38, optimizer="sgd")], epochs=1, batch_size=32)
    assert head.diverged == 1


def test_read_only_arrays_are_taken() -> None:
    X, y = blobs()
    rows = np.arange(100)
    for array in (X, y, rows):
        array.setflags(write=False)
    (head,) = fit_sgd(X, y, 3, [replace(ADAM, rows=rows)], epochs=2, batch_size=32, validation=(X, y))
    assert len(head.history) == 2


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch_size": 0}])
def test_impossible_trainings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no training with"):
        fit(ADAM, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.0}, "no training with lr 0"),
        ({"lr": math.nan}, "no training with lr nan"),
        ({"weight_decay": -1.0}, "weight decay -1"),
        ({"seed": -1}, "seed -1"),
        ({"dropout": 1.0}, "dropout 1"),
        ({"dropout": -0.1}, "dropout -0.1"),
        ({"label_smoothing": 1.0}, "label smoothing 1"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion', there are sgd, adam, adamw"),
        ({"schedule": "linear"}, "unknown schedule 'linear'"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ADAM, **change)


@pytest.mark.parametrize(
    "part",
    [
        {"rows": np.array([0, 300])},
        {"rows": np.array([-1])},
        {"rows": np.array([], dtype=np.int64)},
        {"rows": np.array([0.0])},
        {"columns": slice(8, None)},
        {"columns": slice(0, 8, 2)},
    ],
)
def test_parts_outside_the_features_are_refused(part: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"(rows|columns) of a head must be"):
        fit(replace(ADAM, **part))


@pytest.mark.parametrize(("columns", "expected"), [(1280, 1), (40_000, 3)])
def test_a_small_step_uses_one_thread_and_gives_the_others_back(
    columns: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    plain = sgd.stream
    monkeypatch.setattr(sgd, "stream", lambda *own: seen.append(torch.get_num_threads()) or plain(*own))
    X = np.zeros((195, columns), np.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        fit_sgd(X, np.arange(195) % 2, 2, [Setting(lr=1e-3)], epochs=1, batch_size=256)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {expected}, "4 operations for each row of a batch, column and logit: 2e6 and 6e7"
