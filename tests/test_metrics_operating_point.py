"""The cheapest threshold against every threshold there is, and costs against scikit-learn's confusion matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_curve

from probeline.metrics.operating_point import Costs, choose_threshold, cost_per_image
from variants import slow_after


def mean_cost(labels: np.ndarray, predictions: np.ndarray, costs: Costs) -> float:
    (_, false_seconds), (false_firsts, _) = confusion_matrix(labels, predictions, labels=[0, 1])
    return float(costs[0] * false_seconds + costs[1] * false_firsts) / len(labels)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray, Costs]:
    """Return labels, log-odds with ties that are better than chance, and costs."""
    random = np.random.default_rng(seed)
    labels = (random.random(60) < random.choice([0.1, 0.5, 0.8])).astype(np.int64)
    odds = (random.normal(size=60) + random.choice([0.0, 1.0, 4.0]) * (labels - 0.5)).round(random.integers(0, 3))
    return labels, odds.astype(np.float32), (float(random.choice([0.1, 1, 7])), float(random.choice([1, 3, 50])))


@pytest.mark.parametrize("seed", slow_after(20, range(60)))
def test_no_threshold_of_the_roc_curve_costs_less(seed: int) -> None:
    labels, odds, costs = draw(seed)
    threshold = choose_threshold(labels, odds, costs)
    found = mean_cost(labels, (odds >= threshold).astype(np.int64), costs)
    if len(np.unique(labels)) == 2:
        _, _, thresholds = roc_curve(labels, odds, drop_intermediate=False)
    else:
        thresholds = np.array([-np.inf, np.inf])
    every = [mean_cost(labels, (odds >= one).astype(np.int64), costs) for one in [*thresholds, -np.inf]]
    assert found == pytest.approx(min(every), rel=1e-12, abs=0)
    assert cost_per_image(labels, (odds >= threshold).astype(np.int64), costs).mean() == pytest.approx(found, rel=1e-12)


@pytest.mark.parametrize("seed", range(60))
def test_the_other_class_may_as_well_be_the_second(seed: int) -> None:
    labels, odds, costs = draw(seed)
    threshold = choose_threshold(labels, odds, costs)
    other = choose_threshold(1 - labels, -odds, (costs[1], costs[0]))
    found, turned = (odds >= threshold).astype(np.int64), (-odds < other).astype(np.int64)
    assert mean_cost(labels, found, costs) == pytest.approx(mean_cost(labels, turned, costs), rel=1e-12, abs=1e-15)


def test_a_gap_holds_the_threshold_of_true_probabilities_or_its_middle() -> None:
    labels = np.array([0, 0, 1, 1])
    wide = np.array([-4.0, -3.0, 3.0, 4.0])
    assert choose_threshold(labels, wide, (1.0, 1.0)) == 0
    assert choose_threshold(labels, wide, (1.0, 10.0)) == pytest.approx(math.log(0.1))
    assert choose_threshold(labels, wide, (1.0, 1000.0)) == 0  # log(1 / 1000) is below the gap
    assert choose_threshold(labels, wide + 5, (1.0, 1.0)) == 5


def test_of_gaps_that_cost_the_same_the_one_of_true_probabilities_is_taken() -> None:
    labels = np.array([0, 1, 0, 1])
    odds = np.array([-3.0, -2.0, 1.0, 2.0])
    # An error at least: below -2 one first class is called second, above 1 one second class is called first.
    assert choose_threshold(labels, odds, (1.0, 1.0)) == 1.5
    assert choose_threshold(labels, odds - 1, (1.0, 1.0)) == 0.5
    assert choose_threshold(labels, odds + 3, (1.0, 1.0)) == 0.5


def test_one_class_alone_is_called_so_far_beyond_the_images() -> None:
    odds = np.array([-1.0, 0.5, 2.0])
    assert choose_threshold(np.zeros(3, np.int64), odds, (1.0, 1.0)) > 2
    assert choose_threshold(np.ones(3, np.int64), odds, (1.0, 1.0)) < -1
    # At true odds of a thousand to one an image at -1 would not be called the second class.
    assert choose_threshold(np.zeros(3, np.int64), odds, (1000.0, 1.0)) == pytest.approx(math.log(1000))


@pytest.mark.parametrize(
    ("labels", "odds", "costs"),
    [
        ([0, 2], [0.0, 1.0], (1.0, 1.0)),
        ([0, 1], [0.0], (1.0, 1.0)),
        ([0, 1], [0.0, math.nan], (1.0, 1.0)),
        ([0, 1], [0.0, math.inf], (1.0, 1.0)),
        ([0, 1], [0.0, 1.0], (0.0, 1.0)),
        ([0, 1], [0.0, 1.0], (1.0, math.inf)),
    ],
)
def test_what_has_no_cheapest_threshold_is_refused(labels: list[int], odds: list[float], costs: Costs) -> None:
    with pytest.raises(ValueError, match=r"costs must|log-odds must|classes lie"):
        choose_threshold(np.array(labels), np.array(odds), costs)
