"""How well a score tells two kinds of images apart: scikit-learn's area and rates, and how often intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from sklearn.metrics import roc_auc_score, roc_curve

from probeline.metrics.separation import separation


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 10_000), st.booleans())
def test_area_and_rate_are_scikit_learns(n: int, m: int, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    usual, others = rng.normal(size=n), rng.normal(1, 1, size=m)
    if ties:
        usual, others = usual.round(), others.round()
    found = separation(usual, others, draws=20)
    kinds, scores = np.repeat([0, 1], [n, m]), np.concatenate([usual, others])
    assert found.auroc == pytest.approx(roc_auc_score(kinds, scores))
    # Usual images are the positives of the rate, and a low score is what makes an image usual.
    passed_others, passed_usual, _ = roc_curve(1 - kinds, -scores, drop_intermediate=False)
    assert found.fpr95 == pytest.approx(passed_others[np.argmax(passed_usual >= 0.95 - 1e-12)])
    assert found.auroc_interval[0] <= found.auroc_interval[1]


def test_kinds_that_do_not_overlap_are_with_variants() -> None:
    found = separation(np.arange(50.0), np.arange(50.0) + 100)
    assert (found.auroc, found.auroc_interval, found.fpr95, found.fpr95_interval) == (1, (1, 1), 0, (0, 0))
    assert separation(np.arange(50.0) + 100, np.arange(50.0)).auroc == 0


def test_the_intervals_cover_the_truth() -> None:
    rng, tables = np.random.default_rng(0), 120
    truth = norm.cdf(1 / np.sqrt(2))
    covered = 0
    for _ in range(tables):
        low, high = separation(rng.normal(size=80), rng.normal(1, 1, size=60), draws=300).auroc_interval
        covered += low <= truth <= high
    # Percentile intervals of this size cover about 93 %; fewer than this have a probability of one in a thousand.
    assert covered >= binom.ppf(0.001, tables, 0.93)


@pytest.mark.parametrize("usual", [np.zeros(0), np.array([np.nan]), np.zeros((2, 2))])
def test_what_is_no_score_is_refused(usual: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        separation(usual, np.ones(3))
