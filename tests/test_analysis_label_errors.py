"""Doubted labels: the confident-learning rule by hand, planted errors, and what hard images alone would give."""

from __future__ import annotations

import math

import numpy as np

from probeline.analysis.label_errors import NONE, check_labels, confidence_thresholds, expected_flags, plant_errors
from probeline.types import DoubleArray, IntArray


def softened(labels: IntArray, classes: int, *, sure: float, seed: int = 0) -> DoubleArray:
    """Return chances that give a row's class about so much, and share out the rest at random."""
    rng = np.random.default_rng(seed)
    rest = rng.dirichlet(np.ones(classes), len(labels))
    own = np.clip(sure + 0.02 * rng.standard_normal(len(labels)), 0.01, 0.99)[:, None]
    return (1 - own) * rest + own * np.eye(classes)[labels]


def test_a_threshold_is_the_mean_chance_of_the_class_among_its_rows() -> None:
    chances = np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.3, 0.6, 0.1]])
    found = confidence_thresholds(chances, np.array([0, 0, 1]))
    np.testing.assert_allclose(found, [0.6, 0.6, math.inf])


def test_the_rule_by_hand() -> None:
    chances = np.array(
        [
            [0.9, 0.05, 0.05],  # is what it is called
            [0.1, 0.85, 0.05],  # surely another
            [0.4, 0.35, 0.25],  # nothing is sure
            [0.46, 0.02, 0.52],  # both sure, the likelier counts
        ]
    )
    labels = np.array([0, 0, 1, 0])
    near = np.array([[0, 0], [1, 0], [0, 0], [2, 2]])
    found = check_labels(chances, labels, np.array([0.45, 0.6, 0.5]), near)
    assert found.suggested.tolist() == [0, 1, NONE, 2]
    assert found.flagged.tolist() == [False, True, False, True]
    np.testing.assert_allclose(found.disagreement, [0, 0.5, 1, 1])
    np.testing.assert_allclose(found.score, [0, 0.9 * 0.5, 0.65, 0.54])


def test_planted_errors_are_all_found_and_ranked_first() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 4, 400)
    rows = rng.choice(400, 12, replace=False)
    chances = softened(truth, 4, sure=0.8)
    # Confident is who is surer than the mean of a class, which is near 0.8 + 0.2 / 4 here.
    chances[rows] = softened(truth[rows], 4, sure=0.95)
    labels = truth.copy()
    labels[rows] = (labels[rows] + 1) % 4
    near = np.repeat(truth[:, None], 5, axis=1)
    found = check_labels(chances, labels, confidence_thresholds(chances, labels), near)
    assert np.flatnonzero(found.flagged).tolist() == sorted(rows.tolist())
    np.testing.assert_array_equal(found.suggested[rows], truth[rows])
    assert set(np.argsort(-found.score)[:12].tolist()) == set(rows.tolist())
    # The label's chance is at most 0.15 and all neighbours disagree, and of the others none does.
    assert found.score[rows].min() > 0.85
    assert np.delete(found.score, rows).max() == 0


def test_where_classes_lie_apart_no_label_is_doubted() -> None:
    labels = np.random.default_rng(4).integers(0, 3, 300)
    chances = softened(labels, 3, sure=0.95)
    # A class with less than 0.2 in all but its own rows is below every threshold, which is near 0.95.
    assert not check_labels(chances, labels, confidence_thresholds(chances, labels), labels[:, None]).flagged.any()
    assert expected_flags(np.eye(3)[labels]) == 0


def test_what_hard_images_give_is_what_their_chances_say() -> None:
    n = 4000
    chances = np.tile([[0.7, 0.3], [0.3, 0.7]], (n // 2, 1))
    # A class's threshold is about 0.7 x 0.7 + 0.3 x 0.3 = 0.58: the likelier class is suggested, and 3 of 10 bear the
    # other. Five draws of n rows have a standard deviation of sqrt(0.21 n / 5), of which six are allowed.
    assert abs(expected_flags(chances) - 0.3 * n) < 6 * math.sqrt(0.21 * n / 5)
    assert expected_flags(chances, seed=1) == expected_flags(chances, seed=1)


def test_labels_are_planted_wrong_and_the_same_ones_each_time() -> None:
    labels = np.random.default_rng(5).integers(0, 3, 90)
    rows, wrong = plant_errors(labels, 3)
    assert len(rows) == 9
    assert len(set(rows.tolist())) == 9
    assert (wrong != labels[rows]).all()
    assert set(wrong.tolist()) <= {0, 1, 2}
    again = plant_errors(labels, 3)
    np.testing.assert_array_equal(again[0], rows)
    np.testing.assert_array_equal(again[1], wrong)
    assert len(plant_errors(np.zeros(50_000, np.int64), 2)[0]) == 1000
