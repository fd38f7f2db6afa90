"""Area under the ROC curve against scikit-learn's, on random and degenerate classes and with ties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as reference

from probeline.metrics import auroc as module
from probeline.metrics.auroc import auroc


def by_class(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean over tested classes of scikit-learn's area of each against the rest.

    Probabilities that differ by rounding alone, as sums in another order do, are made equal for it.
    """
    chances = softmax(logits.astype(np.float64), axis=1).round(12)
    return float(np.mean([reference.roc_auc_score(labels == k, chances[:, k]) for k in np.unique(labels)]))


@pytest.mark.parametrize("seed", range(10))
def test_two_classes_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random(200) < rng.choice([0.02, 0.5, 0.9])).astype(np.int64)
    labels[:2] = 0, 1
    logits = (rng.normal(size=(200, 2)) + labels[:, None] * [0, rng.choice([0, 1, 5])]).astype(np.float32)
    expected = reference.roc_auc_score(labels, softmax(logits.astype(np.float64), axis=1)[:, 1])
    assert auroc(labels, logits) == pytest.approx(expected, abs=1e-6)
    # It does not matter which of the classes is positive.
    assert auroc(1 - labels, logits[:, ::-1]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("classes", [3, 5, 30])
def test_more_classes_are_scikit_learns_one_against_the_rest(classes: int) -> None:
    rng = np.random.default_rng(classes)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 300)])
    logits = (2 * rng.normal(size=(len(labels), classes)) + np.eye(classes)[labels]).astype(np.float32)
    chances = softmax(logits.astype(np.float64), axis=1)
    expected = reference.roc_auc_score(labels, chances, multi_class="ovr", average="macro")
    assert auroc(labels, logits) == pytest.approx(expected, abs=1e-6)
    assert by_class(labels, logits) == pytest.approx(expected, abs=1e-12)


def test_classes_without_images_are_left_out() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.choice([1, 4, 5], 100), rng.normal(size=(100, 8)).astype(np.float32)
    assert auroc(labels, logits) == pytest.approx(by_class(labels, logits), abs=1e-6)
    labels = rng.choice([1, 4], 100)
    assert auroc(labels, logits) == pytest.approx(by_class(labels, logits), abs=1e-6)


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_one_class_alone_has_none(classes: int) -> None:
    assert auroc(np.zeros(9, np.int64), np.random.default_rng(0).normal(size=(9, classes))) is None


def test_ties_count_half() -> None:
    rng = np.random.default_rng(1)
    for classes in (2, 4):
        labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 200)])
        logits = rng.integers(0, 3, (len(labels), classes)).astype(np.float32)
        assert auroc(labels, logits) == pytest.approx(by_class(labels, logits), abs=1e-6)
        assert auroc(labels, np.zeros_like(logits)) == 0.5


def test_equal_probabilities_are_ties_whatever_the_other_classes_are() -> None:
    # Both have the same probability of class 0, but the sums over the others are added in another order.
    shares = [0.4, 0.1, 0.2, 0.3]
    logits = np.log(np.array([shares, [0.4, 0.3, 0.1, 0.2], [0.4, 0.2, 0.3, 0.1]], np.float32))
    assert module._area(np.array([True, False, False]), module._log_odds(logits)[:, 0]) == 0.5


def test_probabilities_that_would_round_to_one_are_in_order() -> None:
    # Margins of 50 and 1000: both probabilities are 1 in float64, in which scikit-learn would call them equal.
    for margin in (50.0, 1000.0, 1e5):
        logits = np.array([[0, margin], [0, 2 * margin]], np.float32)
        assert auroc(np.array([0, 1]), logits) == 1
        assert auroc(np.array([1, 0]), logits) == 0
        assert auroc(np.array([1, 0]), -logits) == 1


def test_all_right_and_all_wrong() -> None:
    labels = np.array([0, 1, 2, 2])
    assert auroc(labels, np.eye(3)[labels]) == 1
    assert auroc(labels, -np.eye(3)[labels]) == 0


def test_many_rows_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    labels, logits = rng.integers(0, 4, 100), rng.normal(size=(100, 4)).astype(np.float32)
    whole = auroc(labels, logits)
    monkeypatch.setattr(module, "_ROWS", 7)
    assert auroc(labels, logits) == whole


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        auroc(np.array([0, 1]), np.array([[0.0, np.nan], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="outside"):
        auroc(np.array([0, 2]), np.zeros((2, 2)))
