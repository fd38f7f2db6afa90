"""Scores against scikit-learn's and against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from probeline.metrics import scores

LABELS = np.array([0, 0, 0, 1, 1, 3])
GUESSES = np.array([0, 0, 1, 1, 3, 3])


def test_by_hand() -> None:
    assert scores.top1(LABELS, GUESSES) == 4 / 6
    np.testing.assert_array_equal(scores.per_class(LABELS, GUESSES, 4), [2 / 3, 1 / 2, np.nan, 1])
    assert scores.macro(LABELS, GUESSES, 4) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert scores.confusion(LABELS, GUESSES, 4).tolist() == [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_equal_to_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 5, 200), rng.standard_normal((200, 5)).astype(np.float32)
    guesses = logits.argmax(1)
    assert scores.top1(labels, guesses) == reference.accuracy_score(labels, guesses)
    assert scores.macro(labels, guesses, 5) == pytest.approx(reference.balanced_accuracy_score(labels, guesses))
    np.testing.assert_array_equal(scores.confusion(labels, guesses, 5), reference.confusion_matrix(labels, guesses))
    chances = np.exp(logits.astype(np.float64))
    chances /= chances.sum(1, keepdims=True)
    assert scores.nll(labels, logits) == pytest.approx(reference.log_loss(labels, chances), rel=1e-12)


def test_huge_logits_have_a_finite_loss() -> None:
    logits = np.array([[1e4, 0.0], [0.0, 1e4]], np.float32)
    assert scores.nll(np.array([0, 1]), logits) == 0
    assert scores.nll(np.array([1, 0]), logits) == 1e4


@pytest.mark.parametrize("guesses", [np.array([0, 1]), np.array([[0]] * 6)])
def test_other_shapes_are_refused(guesses: np.ndarray) -> None:
    with pytest.raises(ValueError, match="int64"):
        scores.top1(LABELS, guesses)


def test_nothing_has_no_score() -> None:
    nothing = np.zeros(0, np.int64)
    with pytest.raises(ValueError, match="n > 0"):
        scores.top1(nothing, nothing)
    with pytest.raises(ValueError, match="n > 0"):
        scores.nll(nothing, np.zeros((0, 3), np.float32))


@pytest.mark.parametrize("bad", [np.array([0, 0, 0, 1, 1, 4]), np.array([0, 0, 0, 1, 1, -1])])
def test_a_class_that_there_is_not_is_refused(bad: np.ndarray) -> None:
    for score in (scores.per_class, scores.macro, scores.confusion):
        with pytest.raises(ValueError, match="outside"):
            score(bad, GUESSES, 4)
        with pytest.raises(ValueError, match="outside"):
            score(GUESSES, bad, 4)
    with pytest.raises(ValueError, match="outside"):
        scores.nll(bad, np.zeros((6, 4)))


def test_logits_that_are_no_numbers_are_refused() -> None:
    logits = np.zeros((6, 4))
    logits[2, 1] = np.nan
    with pytest.raises(ValueError, match="no number"):
        scores.nll(LABELS, logits)
