"""The head with a hidden layer: it bends where a line cannot, by torch's own steps, one seed one result."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from probeline.heads.minibatch import training
from probeline.heads.minibatch.mlp import MlpHead, MlpSettings, fit_mlp, mlp_decision

OPTIONS: dict[str, Any] = {
    "lr": 0.02,
    "weight_decay": 0.01,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "epochs": 20,
    "batch_size": 50,
    "seed": 0,
    "width": 16,
}


def quadrants(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return points whose class is whether their signs agree: no line parts them better than by chance."""
    X = np.random.default_rng(0).standard_normal((n, 2)).astype(np.float32)
    return X, (X[:, 0] * X[:, 1] > 0).astype(np.int64)


def fit(n: int = 200, **options: Any) -> MlpHead:
    changed = {**OPTIONS, **options}
    training = {name: changed.pop(name) for name in ("epochs", "batch_size", "validation") if name in changed}
    return fit_mlp(*quadrants(n), 2, MlpSettings(**changed), **training)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_it_parts_what_no_line_does(activation: Any, dropout: float) -> None:
    X, y = quadrants()
    head = fit(activation=activation, dropout=dropout)
    # Four hidden units suffice for all; a line gets three quadrants of four at the very best.
    assert (mlp_decision(head, X).argmax(1) == y).mean() > 0.85
    assert head.history[-1]["train_loss"] < head.history[0]["train_loss"]
    assert head.diverged is None


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_steps_are_torchs(activation: Any) -> None:
    X, y = quadrants(120)
    head = fit(120, epochs=2, label_smoothing=0.1, activation=activation)
    start = training.stream(0, training.WEIGHTS)
    first, second = training.linear(2, 16, start), training.linear(16, 2, start)
    bend = {"gelu": nn.GELU(), "relu": nn.ReLU()}[activation]
    net = nn.Sequential(*(nn.Linear(*shape, device="meta").to_empty(device="cpu") for shape in ((2, 16), (16, 2))))
    net.insert(1, bend)
    net.load_state_dict(
        {"0.weight": first[:, :2], "0.bias": first[:, 2], "2.weight": second[:, :16], "2.bias": second[:, 16]}
    )
    weights, biases = [net[0].weight, net[2].weight], [net[0].bias, net[2].bias]
    optimizer = torch.optim.AdamW(
        [{"params": weights}, {"params": biases, "weight_decay": 0}], lr=0.02, weight_decay=0.01
    )
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    order = training.stream(0, training.ORDER)
    for _ in range(2):
        for rows in torch.split(torch.randperm(120, generator=order), 50):
            loss = functional.cross_entropy(
                net(torch.from_numpy(X)[rows]), torch.from_numpy(y)[rows], label_smoothing=0.1
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            falling.step()
    expected = net(torch.from_numpy(X)).detach().numpy()
    # Six steps by the same kernels; only the rates are told in another way, to 1e-12.
    np.testing.assert_allclose(mlp_decision(head, X), expected, atol=1e-5)


def test_one_seed_is_one_result_and_leaves_the_global_state_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = (fit(dropout=0.2, epochs=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(first.hidden_weight, again.hidden_weight)
    np.testing.assert_array_equal(first.weight, again.weight)
    assert not np.array_equal(first.weight, other.weight)


def test_watched_rows_change_nothing() -> None:
    X, y = quadrants()
    alone, watched = fit(epochs=2), fit(epochs=2, validation=(X[:50], y[:50]))
    np.testing.assert_array_equal(alone.weight, watched.weight)
    top1 = (mlp_decision(watched, X[:50]).argmax(1) == y[:50]).mean()
    assert watched.history[-1]["val_top1"] == pytest.approx(top1, abs=1e-6)
    assert "val_loss" not in alone.history[-1]


def test_a_head_that_diverges_is_marked() -> None:
    head = fit(lr=1e30)
    assert head.diverged == 1
    assert head.history == ()


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"width": 0},
        {"seed": -1},
        {"lr": math.nan},
        {"weight_decay": -1.0},
        {"dropout": 1.0},
        {"label_smoothing": -0.1},
        {"activation": "tanh"},
    ],
)
def test_impossible_numbers_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no training with|unknown activation 'tanh', there are gelu, relu"):
        fit(**change)


def test_other_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="3 columns where 2 are expected"):
        mlp_decision(fit(epochs=1), np.zeros((1, 3), dtype=np.float32))
