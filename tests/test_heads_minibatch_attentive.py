"""Attentive heads: the formula said slowly, its gradient, and what queries see that a mean does not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from probeline.heads.linear import decision
from probeline.heads.logistic.path import fit_path
from probeline.heads.minibatch import attentive, tokens
from probeline.heads.minibatch.attentive import (
    AttentiveHead,
    AttentiveSettings,
    attend,
    attentive_decision,
    fit_attentive,
    pooled_dim,
)
from probeline.heads.minibatch.tokens import ArrayTokens, LabelledTokens, epoch_order, fit_token_scaler, size_of
from probeline.heads.minibatch.training import stream
from probeline.heads.standardize import apply, fit_scaler

KINDS: list[dict[str, Any]] = [
    {"queries": 4},
    {"queries": 2, "heads": 3, "dim": 12},
    {"queries": 1, "heads": 2, "keys": "projected", "dim": 6},
    {"queries": 3, "heads": 6, "keys": "projected", "dim": 18},
]


def draw(rows: int, count: int = 7, dim: int = 12, seed: int = 0) -> ArrayTokens:
    return ArrayTokens(np.random.default_rng(seed).normal(0.3, 2, (rows, count, dim)).astype(np.float16))


def parts(heads: int, keys: str, queries: int, dim: int, pooled: int, classes: int = 3) -> list[Tensor]:
    """Return float64 values in the order of `attend`."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(queries, dim), (pooled, dim), (dim if keys == "projected" else 0, dim), (pooled,), (pooled,)]
    shapes += [(classes, pooled), (classes,)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def slowly(x: Tensor, values: list[Tensor], heads: int) -> Tensor:
    """Return logits as the papers write them: keys and values of every token, a softmax for each query and head."""
    query, value, key, norm_weight, norm_bias, weight, bias = values
    width, group = query.shape[1] // heads, len(value) // (len(query) * heads)
    rows = []
    for image in x:
        keys = torch.stack([key @ token for token in image]) if len(key) else image
        projected = torch.stack([value @ token for token in image])
        pooled = []
        for number, own in enumerate(query):
            for head in range(heads):
                seen = slice(head * width, (head + 1) * width)
                scores = torch.stack([own[seen] @ one[seen] for one in keys]) / math.sqrt(width)
                shares = scores.exp() / scores.exp().sum()
                place = (number * heads + head) * group
                pooled.append(
                    sum(share * one[place : place + group] for share, one in zip(shares, projected, strict=True))
                )
        joined = torch.cat(pooled)
        variance = ((joined - joined.mean()) ** 2).mean()
        normed = (joined - joined.mean()) / torch.sqrt(variance + 1e-5) * norm_weight + norm_bias
        rows.append(weight @ normed + bias)
    return torch.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_are_those_of_the_formula(kind: dict[str, Any]) -> None:
    settings = AttentiveSettings(lr=1e-3, **kind)
    pooled = pooled_dim(settings, 12)
    values = parts(settings.heads, settings.keys, settings.queries, 12, pooled)
    x = torch.randn(5, 7, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    target = torch.tensor([0, 1, 2, 1, 0])
    found, expected = attend(x, values, settings.heads), slowly(x, values, settings.heads)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    used = [value for value in values if value.numel()]
    losses = (torch.nn.functional.cross_entropy(logits, target) for logits in (found, expected))
    own, theirs = (torch.autograd.grad(loss, used) for loss in losses)
    for ours, other in zip(own, theirs, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-10, atol=1e-12)
        assert float(other.abs().max()) > 1e-6
    assert torch.autograd.gradcheck(
        lambda *given: attend(x, [*given[:2], values[2], *given[2:]] if len(used) < 7 else list(given), settings.heads),
        used,
    )


def fit(rows: Any, y: Any, classes: int = 3, **options: Any) -> AttentiveHead:
    training = {"epochs": options.pop("epochs", 3), "batch_size": options.pop("batch_size", 8)}
    settings = AttentiveSettings(**{"lr": 3e-3, "queries": 4, **options})
    return fit_attentive(LabelledTokens(rows, y), classes, [settings], scaler=fit_token_scaler(rows), **training)[0]


def labels(rows: int, classes: int = 3) -> Any:
    return np.arange(rows, dtype=np.int64) % classes


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_tokens_does_not_count(kind: dict[str, Any]) -> None:
    rows = draw(24)
    head = fit(rows, labels(24), **kind)
    shuffled = np.random.default_rng(1).permuted(np.arange(7)[None].repeat(24, 0), axis=1)
    other = ArrayTokens(np.take_along_axis(rows.array, shuffled[:, :, None], 1))
    (logits,), (again,) = (attentive_decision([head], given) for given in (rows, other))
    np.testing.assert_allclose(again, logits, rtol=1e-4, atol=1e-5)
    assert np.abs(logits[1:] - logits[:-1]).max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_trained_logits_are_those_of_the_formula(kind: dict[str, Any]) -> None:
    rows = draw(16)
    head = fit(rows, labels(16), **kind)
    values = (head.query, head.value, head.key, head.norm_weight, head.norm_bias, head.weight, head.bias)
    flat = rows.array.reshape(-1, 12).astype(np.float64)
    x = (rows.array.astype(np.float64) - flat.mean(0)) / flat.std(0)
    expected = slowly(torch.from_numpy(x), [torch.from_numpy(value.astype(np.float64)) for value in values], head.heads)
    np.testing.assert_allclose(attentive_decision([head], rows)[0], expected.numpy(), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("weights", [None, np.linspace(0.1, 1.9, 10, dtype=np.float32)], ids=["even", "weighted"])
def test_steps_are_torchs_adamw_on_the_mean_of_the_minibatch(weights: Any) -> None:
    """Three epochs of one minibatch, from the first values, by torch alone."""
    rows, y = draw(10), labels(10)
    first = attentive._Pooling(AttentiveSettings(lr=1e-2, weight_decay=0.1, queries=4), 12, 3, "cpu").tensors
    values = [value.detach().clone().requires_grad_() for value in first]
    decaying = [values[1], values[5]]
    others = [values[0], values[3], values[4], values[6]]
    stepper = torch.optim.AdamW(
        [{"params": decaying, "weight_decay": 0.1}, {"params": others, "weight_decay": 0}], lr=1e-2
    )
    scaler = fit_token_scaler(rows)
    x = torch.from_numpy((rows.array.astype(np.float32) - scaler.mean) / scaler.std)
    for rate in 1e-2 * 0.5 * (1 + np.cos(np.pi * np.arange(3) / 3)):
        for group in stepper.param_groups:
            group["lr"] = rate
        stepper.zero_grad()
        losses = torch.nn.functional.cross_entropy(attend(x, values, 1), torch.from_numpy(y), reduction="none")
        (losses * torch.from_numpy(np.ones(10) if weights is None else weights)).mean().backward()  # type: ignore[no-untyped-call]
        stepper.step()
    head = fit(rows, y, lr=1e-2, weight_decay=0.1, epochs=3, batch_size=10, row_weights=weights)
    found = (head.query, head.value, head.key, head.norm_weight, head.norm_bias, head.weight, head.bias)
    for ours, theirs in zip(found, values, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=2e-5)


def test_the_scaler_is_that_of_all_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = draw(9)
    expected = fit_scaler(rows.array.reshape(-1, 12).astype(np.float32))
    monkeypatch.setattr(tokens, "_CHUNK_VALUES", 2 * 7 * 12)
    found = fit_token_scaler(rows)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-6)
    np.testing.assert_allclose(found.std, expected.std, rtol=1e-6)


class Watched(ArrayTokens):
    """Tokens that note how many rows are read at once."""

    largest = 0

    def read(self, rows: Any) -> Any:
        Watched.largest = max(Watched.largest, len(rows))
        return super().read(rows)


def test_chunks_change_a_head_by_rounding_alone_and_bound_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, y = draw(40), labels(40)
    whole = fit(rows, y, batch_size=16)
    monkeypatch.setattr(tokens, "_CHUNK_VALUES", 3 * 7 * 12 + 1)
    Watched.largest = 0
    chunked = fit(Watched(rows.array), y, batch_size=16)
    assert Watched.largest == 3
    np.testing.assert_allclose(chunked.weight, whole.weight, atol=2e-4)
    logits = [attentive_decision([head], rows)[0] for head in (whole, chunked)]
    np.testing.assert_allclose(logits[1], logits[0], atol=2e-3)


def test_a_seed_decides_everything_and_the_global_state_stays() -> None:
    rows, y = draw(30), labels(30)
    state = torch.get_rng_state()
    one, again, other = fit(rows, y), fit(rows, y), fit(rows, y, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(
        np.array_equal(getattr(one, name), getattr(again, name)) for name in ("query", "value", "weight", "bias")
    )
    assert not np.array_equal(one.weight, other.weight)


def test_candidates_side_by_side_are_what_each_is_alone() -> None:
    rows, y = draw(30), labels(30)
    settings = [
        AttentiveSettings(lr=1e-3, queries=4),
        AttentiveSettings(lr=1e-2, queries=2, heads=2, keys="projected"),
        AttentiveSettings(lr=1e30, queries=4),
    ]
    scaler = fit_token_scaler(rows)
    together = fit_attentive(LabelledTokens(rows, y), 3, settings, scaler=scaler, epochs=3, batch_size=8)
    assert [head.diverged is None for head in together] == [True, True, False]
    for own, head in zip(settings[:2], together[:2], strict=True):
        (alone,) = fit_attentive(LabelledTokens(rows, y), 3, [own], scaler=scaler, epochs=3, batch_size=8)
        assert np.array_equal(alone.query, head.query)
        assert np.array_equal(alone.weight, head.weight)


def test_the_history_is_of_train_and_validation() -> None:
    rows, y, val = draw(30), labels(30), draw(11, seed=5)
    scaler = fit_token_scaler(rows)
    (head,) = fit_attentive(
        LabelledTokens(rows, y),
        3,
        [AttentiveSettings(lr=1e-2, queries=4)],
        scaler=scaler,
        epochs=4,
        batch_size=8,
        validation=LabelledTokens(val, labels(11)),
    )
    assert [entry["epoch"] for entry in head.history] == [1, 2, 3, 4]
    assert head.history[-1]["train_loss"] < head.history[0]["train_loss"]
    logits = attentive_decision([head], val)[0]
    target = torch.from_numpy(labels(11))
    loss = float(torch.nn.functional.cross_entropy(torch.from_numpy(logits), target))
    assert head.history[-1]["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert head.history[-1]["val_top1"] == (logits.argmax(1) == labels(11)).mean()


@pytest.mark.parametrize("window_rows", [1000, 30, 7, 1])
def test_an_epoch_reads_every_row_once_piece_by_piece(window_rows: int) -> None:
    sizes = (10, 10, 3, 10, 10, 10)
    rows = ArrayTokens(draw(53).array, sizes)
    generator = stream(0, 1)
    order = epoch_order(rows, generator, window_rows * 2 * 7 * 12)
    assert sorted(order.tolist()) == list(range(53))
    piece_of = np.repeat(np.arange(6), sizes)[order]
    # How many other pieces begin before a piece has ended: those of its window.
    spans = [np.flatnonzero(piece_of == piece) for piece in range(6)]
    most = max(len(np.unique(piece_of[span[0] : span[-1] + 1])) for span in spans)
    assert most <= max(1, window_rows // 3)
    if window_rows <= 10:
        assert most == 1
    else:
        assert most > 2, "rows of several pieces are mixed"
    assert not np.array_equal(order, epoch_order(rows, generator, window_rows * 2 * 7 * 12)), "another epoch"


def test_rows_that_fit_into_a_window_are_shuffled_evenly() -> None:
    rows, generator = ArrayTokens(draw(6).array, (3, 3)), stream(0, 1)
    firsts = np.array([epoch_order(rows, generator)[0] for _ in range(3000)])
    counts = np.bincount(firsts, minlength=6)
    # Each of 6 cells is binomial(3000, 1/6): 500 with a deviation of 20.4; 5 deviations.
    assert np.abs(counts - 500).max() < 102
    assert size_of(rows) == 6 * 7 * 12 * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 5}, "5 heads do not divide the 12 channels"),
        ({"queries": 5, "dim": 12}, "5 queries with 1 heads do not divide 12 pooled"),
        ({"queries": 0}, "queries 0"),
        ({"keys": "values"}, "values"),
        ({"lr": -1.0}, "lr -1.0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit(draw(6), labels(6), **options)


@pytest.mark.parametrize("y", [labels(5), labels(6) - 1, labels(6).astype(np.int32), labels(6, 4)])
def test_labels_that_do_not_fit_are_refused(y: Any) -> None:
    with pytest.raises(ValueError, match="labels must be int64"):
        fit(draw(6), y)


def test_pooled_channels_are_as_many_as_the_queries_divide() -> None:
    found = [
        pooled_dim(AttentiveSettings(lr=1, queries=q, heads=h), 192) for q, h in ((8, 1), (5, 1), (1, 3), (300, 1))
    ]
    assert found == [192, 190, 192, 300]


def made(rows: int, seed: int) -> tuple[ArrayTokens, Any]:
    """Return 16 tokens of noise, of which one at a random place has a mark of the row's class.

    The mark is in channels 0 and 1: (a, a) or (a, -a) times a sign that is even chance, so that the class is whether
    both channels of the marked token have one sign. The mean of all tokens, and each channel's, is the same for both
    classes in distribution up to sign: a function linear in it is at chance, by symmetry.
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    x = rng.normal(0, 0.05, (rows, 16, 8))
    signs = rng.choice([-1, 1], rows)
    place = rng.integers(0, 16, rows)
    x[np.arange(rows), place, 0] += 2 * signs
    x[np.arange(rows), place, 1] += 2 * signs * (1 - 2 * y)
    return ArrayTokens(x.astype(np.float16)), y.astype(np.int64)


def test_queries_find_what_a_mean_cannot_tell() -> None:
    """A class that is at a random place, and that no linear map of the mean tells, by symmetry.

    (x, y) and (-x, y) have one distribution: a linear map w . mean + b that says class 1 for x says for -x what
    -w . mean + b says, so it is right with probability 1/2 if b = 0, and for any b the two errors sum to at least that
    of guessing. Over n test rows chance is 1/2 with a deviation of 1 / (2 sqrt(n)); 4 deviations are allowed.
    """
    n = 2000
    (rows, y), (test, y_test) = made(1000, 0), made(n, 1)
    bound = 0.5 + 4 * 0.5 / math.sqrt(n)
    X, X_test = (given.array.astype(np.float32).mean(1) for given in (rows, test))
    scaler = fit_scaler(X)
    (linear,) = fit_path(apply(scaler, X), y, 2, [1e-3])
    assert (decision(linear, apply(scaler, X_test)).argmax(1) == y_test).mean() < bound
    head = fit(rows, y, classes=2, queries=4, lr=1e-2, epochs=20, batch_size=64)
    found = (attentive_decision([head], test)[0].argmax(1) == y_test).mean()
    assert found > 0.95
