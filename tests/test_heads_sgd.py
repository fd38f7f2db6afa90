"""The mini-batch head: textbook steps, one seed one result, nothing chosen on what it watches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from probeline.errors import Diverged
from probeline.heads.linear import decision, predict
from probeline.heads.sgd import fit_sgd

OPTIONS: dict[str, Any] = {
    "optimizer": "adam",
    "lr": 0.01,
    "weight_decay": 5e-4,
    "dropout": 0.0,
    "epochs": 15,
    "batch_size": 32,
    "seed": 0,
}


def blobs(n: int = 300, classes: int = 3, dim: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    return (3 * np.eye(classes, dim)[y] + rng.standard_normal((n, dim))).astype(np.float32), y


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_it_learns(optimizer: str, dropout: float) -> None:
    X, y = blobs()
    head = fit_sgd(X, y, 3, **{**OPTIONS, "optimizer": optimizer, "dropout": dropout})
    # Bayes: centres 3 sqrt(2) apart, so a pair is confused with probability Phi(-2.12) = 1.7 %, and each class has two.
    assert (predict(head, X) == y).mean() > 0.93
    losses = [epoch["train_loss"] for epoch in head.history]
    assert losses[-1] < losses[0]
    assert head.weight.shape == (3, 8)


def test_one_seed_is_one_result_and_leaves_the_global_state_alone() -> None:
    X, y = blobs()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = fit_sgd(X, y, 3, **{**OPTIONS, "dropout": 0.5})
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = fit_sgd(X, y, 3, **{**OPTIONS, "dropout": 0.5})
    np.testing.assert_array_equal(first.weight, again.weight)
    other = fit_sgd(X, y, 3, **{**OPTIONS, "dropout": 0.5, "seed": 1})
    assert not np.array_equal(first.weight, other.weight)


def test_watched_rows_change_nothing() -> None:
    X, y = blobs()
    alone = fit_sgd(X, y, 3, **OPTIONS)
    watched = fit_sgd(X, y, 3, **OPTIONS, X_val=X[:50], y_val=y[:50])
    np.testing.assert_array_equal(alone.weight, watched.weight)
    assert watched.history[-1]["val_top1"] == (decision(watched, X[:50]).argmax(1) == y[:50]).mean().astype(np.float32)
    assert "val_loss" not in alone.history[-1]


def test_one_full_batch_step_of_sgd_by_hand() -> None:
    X, y = blobs(30)
    options = {**OPTIONS, "optimizer": "sgd", "lr": 0.1, "weight_decay": 0.3, "epochs": 1, "batch_size": 30}
    start = fit_sgd(X, y, 3, **{**options, "lr": 1e-30})
    logits = X @ start.weight.T + start.bias
    chances = np.exp(logits - logits.max(1, keepdims=True))
    residual = chances / chances.sum(1, keepdims=True) - np.eye(3)[y]
    expected = start.weight - 0.1 * (residual.T @ X / 30 + 0.3 * start.weight)
    # A few dozen float32 operations on numbers of order one.
    np.testing.assert_allclose(fit_sgd(X, y, 3, **options).weight, expected, atol=1e-5)


def test_a_loss_that_is_not_finite_is_one_line() -> None:
    X, y = blobs()
    with pytest.raises(Diverged, match=r"diverged: epoch \d+; use a learning rate below"):
        fit_sgd(X * 1e30, y, 3, **{**OPTIONS, "optimizer": "sgd", "lr": 1e30})


def test_the_last_step_is_guarded_too() -> None:
    X, y = blobs(32)
    with pytest.raises(Diverged, match="epoch 1"):  # one batch: its loss is finite, the weights after it are not
        fit_sgd(X * 1e4, y, 3, **{**OPTIONS, "optimizer": "sgd", "lr": 1e38, "epochs": 1})


def test_the_rate_falls_along_half_a_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = blobs(50)
    rates: list[float] = []
    step = torch.optim.SGD.step

    def watch(self: torch.optim.SGD, closure: None = None) -> None:
        rates.extend(group["lr"] for group in self.param_groups)
        step(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", watch)
    fit_sgd(X, y, 3, **{**OPTIONS, "optimizer": "sgd", "lr": 0.2, "epochs": 5, "batch_size": 32})
    expected = 0.1 * (1 + np.cos(np.pi * np.arange(10) / 10))  # two batches an epoch, the second of 18
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_read_only_arrays_are_taken() -> None:
    X, y = blobs()
    X.setflags(write=False)
    y.setflags(write=False)
    assert len(fit_sgd(X, y, 3, **{**OPTIONS, "epochs": 2}, X_val=X, y_val=y).history) == 2


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch_size": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_impossible_numbers_are_refused(change: dict[str, Any]) -> None:
    X, y = blobs()
    with pytest.raises(ValueError, match="no training with"):
        fit_sgd(X, y, 3, **{**OPTIONS, **change})
