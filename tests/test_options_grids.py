"""Grids of hyper-parameters: what words ask for, in place of the defaults."""

from __future__ import annotations

import re

import pytest

from probeline.errors import BadOption
from probeline.options.grids import MLP, SGD, grid


def test_defaults_are_the_courses_recipe() -> None:
    requested = grid("sgd", SGD, ())
    assert requested.candidates() == [{"lr": lr} for lr in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)]
    assert requested.fixed() == {
        "weight_decay": 5e-4,
        "dropout": 0.0,
        "label_smoothing": 0.0,
        "optimizer": "adam",
        "schedule": "cosine",
        "epochs": 30,
        "batch_size": 256,
    }


def test_words_replace_axes_and_combine() -> None:
    requested = grid("mlp", MLP, ("lr=1e-3", "width=8,16,32", "activation=relu,gelu", "epochs=5"))
    assert requested.candidates() == [
        {"width": width, "activation": activation} for width in (8, 16, 32) for activation in ("gelu", "relu")
    ]
    assert (requested.fixed()["lr"], requested.fixed()["epochs"]) == (1e-3, 5)


def test_a_value_twice_is_one_and_their_order_is_nothing() -> None:
    assert grid("sgd", SGD, ("lr=1e-3,0.001",)).candidates() == [{}]
    assert grid("sgd", SGD, ("lr=1e-2,1e-4",)) == grid("sgd", SGD, ("lr=1e-4,1e-2",))


def test_an_end_of_a_numeric_axis_is_an_edge_unless_nothing_lies_beyond() -> None:
    requested = grid("sgd", SGD, ("lr=1e-2,1e-4,1e-3", "dropout=0,0.5", "schedule=cosine,step,constant"))
    plain = {"dropout": 0.0, "schedule": "step"}
    assert [requested.edge({"lr": lr, **plain}) for lr in (1e-4, 1e-3, 1e-2)] == [True, False, True]
    assert not requested.edge({"lr": 1e-3, "dropout": 0.5, "schedule": "step"}), "of two values each would be an end"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("rate=1", "bad --sgd (expected NAME=VALUE[,VALUE...] of lr, weight_decay, dropout,"),
        ("lr", "bad --sgd lr (expected numbers from 1e-12 to 100.0, got nothing)"),
        ("lr=1e-3,fast", "bad --sgd lr (expected numbers from 1e-12 to 100.0, got 1e-3,fast)"),
        ("lr=nan", "bad --sgd lr (expected numbers from 1e-12 to 100.0, got nan)"),
        ("lr=0", "bad --sgd lr (expected numbers from 1e-12 to 100.0, got 0)"),
        ("dropout=1", "bad --sgd dropout (expected numbers from 0.0 to 0.999, got 1)"),
        ("epochs=1.5", "bad --sgd epochs (expected whole numbers from 1 to 2147483647, a single one, got 1.5)"),
        ("epochs=1,2", "bad --sgd epochs (expected whole numbers from 1 to 2147483647, a single one, got 1,2)"),
        ("optimizer=lion", "bad --sgd optimizer (expected one of adam, adamw, sgd, got lion)"),
    ],
)
def test_an_invalid_value_is_reported_by_name(word: str, message: str) -> None:
    with pytest.raises(BadOption, match=re.escape(message)):
        grid("sgd", SGD, (word,))


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(BadOption, match="got lr twice"):
        grid("sgd", SGD, ("lr=1", "lr=2"))
