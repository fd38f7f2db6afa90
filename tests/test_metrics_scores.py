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


def f1_by_scikit_learn(labels: np.ndarray, guesses: np.ndarray, average: str) -> float:
    return float(reference.f1_score(labels, guesses, average=average, zero_division=0))


@pytest.mark.parametrize("classes", [1, 2, 3, 7, 40])
def test_f1_is_scikit_learns_on_random_classes_few_of_which_may_be_true_or_predicted(classes: int) -> None:
    rng = np.random.default_rng(classes)
    for _ in range(50):
        true, predicted = rng.integers(1, classes + 1, 2)
        labels, guesses = rng.integers(0, true, 30), rng.integers(classes - predicted, classes, 30)
        for ours, average in ((scores.macro_f1, "macro"), (scores.weighted_f1, "weighted")):
            expected = f1_by_scikit_learn(labels, guesses, average)
            assert ours(labels, guesses, classes) == pytest.approx(expected, abs=1e-12)


def test_f1_of_classes_without_images_or_predictions() -> None:
    # Of four classes: 0 is right twice of three and never predicted wrongly; 1 once right, once missed, once too much;
    # 2 has neither an image nor a prediction; 3 is right and once too much.
    np.testing.assert_allclose(scores.f1_per_class(LABELS, GUESSES, 4), [4 / 5, 2 / 4, np.nan, 2 / 3])
    assert scores.macro_f1(LABELS, GUESSES, 4) == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    assert scores.weighted_f1(LABELS, GUESSES, 4) == pytest.approx((3 * 4 / 5 + 2 / 2 + 2 / 3) / 6)
    # A class that is only predicted has an F1 of 0, and one image of it counts as much as many.
    only, other = np.zeros(5, np.int64), np.array([0, 0, 0, 0, 1])
    assert scores.macro_f1(only, other, 3) == pytest.approx((8 / 9 + 0) / 2)
    assert scores.macro_f1(only, only, 3) == scores.weighted_f1(only, only, 3) == 1
    assert scores.macro_f1(only, only + 1, 3) == scores.weighted_f1(only, only + 1, 3) == 0
    with pytest.raises(ValueError, match="outside"):
        scores.macro_f1(only, other, 1)


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
    with pytest.raises(ValueError, match="not a number"):
        scores.nll(LABELS, logits)


def test_top_k_by_hand() -> None:
    logits = np.array([[3, 2, 1, 0], [0, 1, 2, 3], [1, 1, 1, 1], [1, 1, 1, 1]], np.float32)
    labels = np.array([1, 0, 0, 2])
    # Ranks from 0: 1, 3, 0 (the first of equals) and 2.
    assert [scores.top_k(labels, logits, k) for k in (1, 2, 3, 4)] == [1 / 4, 2 / 4, 3 / 4, 1]
    for k in (0, 5):
        with pytest.raises(ValueError, match="k must lie"):
            scores.top_k(labels, logits, k)


def test_top_k_is_scikit_learns_and_top1_is_the_argmax() -> None:
    rng = np.random.default_rng(1)
    labels, logits = rng.integers(0, 12, 300), rng.standard_normal((300, 12)).astype(np.float32)
    for k in (2, 5):
        assert scores.top_k(labels, logits, k) == reference.top_k_accuracy_score(labels, logits, k=k)
    coarse = logits.round()
    assert scores.top_k(labels, coarse, 1) == scores.top1(labels, coarse.argmax(1))


def test_chances_are_a_softmax_that_heat_flattens() -> None:
    logits = np.array([[2.0, 0.0], [1e4, -1e4]], np.float32)
    np.testing.assert_allclose(scores.chances(logits)[0], [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))])
    np.testing.assert_array_equal(scores.chances(logits)[1], [1, 0])
    np.testing.assert_allclose(scores.chances(logits, 4.0)[0, 0], 1 / (1 + np.exp(-0.5)))
    with pytest.raises(ValueError, match="positive"):
        scores.chances(logits, 0.0)


def test_brier_by_hand_and_by_scikit_learn() -> None:
    # 0.3^2 + 0.2^2 + 0.1^2 = 0.14, and 1 + 0.36 + 0.16 = 1.52.
    chances = np.array([[0.7, 0.2, 0.1], [0.6, 0.4, 0.0]])
    assert scores.brier(np.array([0, 2]), chances) == pytest.approx((0.14 + 1.52) / 2)
    rng = np.random.default_rng(2)
    labels, chance = rng.integers(0, 2, 100), rng.random(100)
    two = scores.brier(labels, np.stack([1 - chance, chance], axis=1))
    assert two == pytest.approx(2 * reference.brier_score_loss(labels, chance))
    assert scores.brier(np.array([0]), np.array([[0.0, 1.0]])) == 2


def test_calibration_error_by_hand() -> None:
    sure = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55, 1.0])
    right = np.array([1, 1, 1, 0, 1, 0, 1])
    chances = np.stack([sure, 1 - sure], axis=1)
    # Of ten bins: 4 images right 3 times at 0.95, with the one at 1.0 in the same bin; 2 images right once at 0.55.
    expected = (abs(4 - (4 * 0.95 + 1)) + abs(1 - 1.1)) / 7
    assert scores.ece(1 - right, chances, bins=10) == pytest.approx(expected)
    assert scores.ece(np.array([0, 1]), np.array([[0.5, 0.5], [0.5, 0.5]])) == 0
    assert scores.ece(np.array([1, 1]), np.array([[1.0, 0.0], [1.0, 0.0]])) == 1
    with pytest.raises(ValueError, match="a bin"):
        scores.ece(np.array([0]), np.array([[1.0, 0.0]]), bins=0)


def test_bins_of_a_reliability_diagram_by_hand() -> None:
    sure = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55, 1.0])
    right = np.array([1, 1, 1, 0, 1, 0, 1])
    found = scores.reliability(1 - right, np.stack([sure, 1 - sure], axis=1), bins=10)
    assert [n for n, _, _ in found] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 5]
    assert found[5] == pytest.approx((2, 0.55, 0.5))
    assert found[9] == pytest.approx((5, 0.96, 0.8))
    assert found[0] == (0, 0.0, 0.0)


def test_the_calibration_error_is_that_of_the_bins() -> None:
    rng = np.random.default_rng(4)
    chances, labels = rng.dirichlet([1, 1, 1, 1], 500), rng.integers(0, 4, 500)
    found = scores.reliability(labels, chances)
    assert sum(n for n, _, _ in found) == 500
    assert sum(n * abs(right - sure) for n, sure, right in found) / 500 == pytest.approx(scores.ece(labels, chances))


def test_calibrated_chances_have_a_small_calibration_error() -> None:
    rng = np.random.default_rng(3)
    chances = rng.dirichlet([1, 1, 1], 20_000)
    labels = (rng.random(20_000)[:, None] > chances.cumsum(1)).sum(1).astype(np.int64).clip(max=2)
    # Each of 15 bins errs by less than its standard deviation on average, 0.5 / sqrt(n) per image: by Cauchy and
    # Schwarz the sum is below 0.5 sqrt(15 / n) = 0.0137.
    assert scores.ece(labels, chances) < 0.0137
    sharper = chances**2 / (chances**2).sum(1, keepdims=True)
    assert scores.ece(labels, sharper) > 0.05


@pytest.mark.parametrize("rows", [[[0.5, 0.6]], [[1.2, -0.2]], [[np.nan, 1.0]]])
def test_what_are_no_chances_is_refused(rows: list[list[float]]) -> None:
    for score in (scores.brier, scores.ece):
        with pytest.raises(ValueError, match=r"not probabilities|not a number"):
            score(np.array([0]), np.array(rows))


def test_squared_distance_by_hand() -> None:
    assert scores.squared(np.array([1]), np.array([[0.5, 3.0]], np.float32)) == 0.25 + 4
