"""Predictors of transfer: as scikit-learn has them, and known where a formula says."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import BayesianRidge
from sklearn.metrics import calinski_harabasz_score

from probeline.metrics.features.spectrum import scatter_of
from probeline.metrics.features.transfer import between_share, h_score, ledoit_wolf, log_me, shuffled_share


def labelled(n: int = 300, d: int = 8, classes: int = 3, apart: float = 0.6, seed: int = 0) -> tuple:
    """Return normal features whose class means are `apart`, off the origin, and their labels."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n, dtype=np.int64) % classes)
    means = rng.normal(0, apart, (classes, d)) + rng.normal(0, 2, d)
    return (rng.normal(size=(n, d)) + means[y]).astype(np.float32), y


SIZES = [(300, 8), (60, 60), (40, 200)]


@pytest.mark.parametrize(("n", "d"), SIZES)
def test_the_share_between_classes_is_that_of_calinski_and_harabasz(n: int, d: int) -> None:
    X, y = labelled(n, d)
    share = between_share(scatter_of(X, y))
    assert share is not None
    assert 0 < share < 1
    index = share / (1 - share) * (n - 3) / (3 - 1)
    assert index == pytest.approx(calinski_harabasz_score(X.astype(np.float64), y), rel=1e-6)


def test_shuffled_labels_have_the_stated_share_on_average() -> None:
    X = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    y = np.array([0, 0, 0, 1, 1, 2, 2], np.int64)
    shares = [between_share(scatter_of(X, np.array(labels))) for labels in set(permutations(y.tolist()))]
    assert np.mean(shares) == pytest.approx(shuffled_share(scatter_of(X, y)), rel=1e-6)
    assert shuffled_share(scatter_of(X, y)) == pytest.approx(2 / 6)


@pytest.mark.parametrize(("n", "d"), [*SIZES, (30, 1)])
def test_the_shrinkage_is_that_of_scikit_learn(n: int, d: int) -> None:
    X, y = labelled(n, d)
    assert ledoit_wolf(scatter_of(X, y)) == pytest.approx(LedoitWolf().fit(X.astype(np.float64)).shrinkage_, rel=1e-6)


@pytest.mark.parametrize(("n", "d"), SIZES)
def test_the_h_score_is_the_trace_with_the_covariance_of_scikit_learn(n: int, d: int) -> None:
    X, y = labelled(n, d)
    wide = X.astype(np.float64)
    model = LedoitWolf().fit(wide)
    means = np.stack([wide[y == label].mean(axis=0) for label in range(3)])[y]
    between = (1 - model.shrinkage_) * np.cov(means.T, bias=True)
    found = h_score(scatter_of(X, y))
    assert found is not None
    assert found[0] == pytest.approx(np.trace(np.linalg.pinv(model.covariance_) @ between), rel=1e-5)
    assert found[1] == pytest.approx(model.shrinkage_, rel=1e-6)
    assert 0 < found[0] < 2


def test_features_that_are_the_classes_have_nearly_the_greatest_h_score() -> None:
    y = np.arange(4000, dtype=np.int64) % 4
    noise = np.random.default_rng(0).normal(0, 1e-3, (4000, 4))
    found = h_score(scatter_of((np.eye(4)[y] + noise).astype(np.float32), y))
    assert found is not None
    assert found[0] == pytest.approx(3, abs=0.02)


@pytest.mark.parametrize(("n", "d", "apart"), [(300, 8, 0.6), (300, 8, 0.0), (60, 60, 0.6), (40, 200, 2.0)])
def test_log_me_is_the_evidence_of_bayesian_ridge_regression(n: int, d: int, apart: float) -> None:
    X, y = labelled(n, d, apart=apart)
    priors = dict.fromkeys(("alpha_1", "alpha_2", "lambda_1", "lambda_2"), 0.0)
    evidence = []
    for label in range(3):
        model = BayesianRidge(fit_intercept=False, compute_score=True, tol=1e-10, max_iter=20_000, **priors)
        model.fit(X.astype(np.float64), (y == label).astype(np.float64))
        evidence.append(model.scores_[-1] / n)
    assert log_me(scatter_of(X, y)) == pytest.approx(np.mean(evidence), abs=1e-4)


def test_no_variances_of_a_grid_have_more_evidence() -> None:
    X, y = labelled(120, 5, classes=2)
    wide = X.astype(np.float64)
    kernel, best = wide @ wide.T, [-np.inf, -np.inf]
    for of_weights in np.geomspace(1e-4, 1, 40):
        for of_noise in np.geomspace(1e-2, 1, 40):
            covariance = of_noise * np.eye(120) + of_weights * kernel
            log_determinant = np.linalg.slogdet(covariance)[1]
            for label in (0, 1):
                target = (y == label).astype(np.float64)
                fit = target @ np.linalg.solve(covariance, target)
                log = -0.5 * (120 * np.log(2 * np.pi) + log_determinant + fit) / 120
                best[label] = max(best[label], log)
    found = log_me(scatter_of(X, y))
    assert found is not None
    assert np.mean(best) <= found < np.mean(best) + 0.01


def test_a_rotation_and_a_scale_change_nothing() -> None:
    X, y = labelled()
    turned = 50 * X.astype(np.float64) @ ortho_group.rvs(8, random_state=0)
    for measure in (between_share, log_me, lambda scatter: h_score(scatter)[0]):
        assert measure(scatter_of(turned, y)) == pytest.approx(measure(scatter_of(X, y)), rel=1e-5)


def test_classes_that_are_further_apart_score_higher() -> None:
    scatters = [scatter_of(*labelled(apart=apart)) for apart in (0.0, 0.3, 1.0, 3.0)]
    for measure in (between_share, log_me, lambda scatter: h_score(scatter)[0]):
        values = [measure(scatter) for scatter in scatters]
        assert values == sorted(values)
        assert len(set(values)) == 4


def test_a_label_without_rows_changes_nothing() -> None:
    X, y = labelled()
    shifted = np.where(y == 2, 5, y)
    for measure in (between_share, log_me, shuffled_share, h_score):
        assert measure(scatter_of(X, shifted)) == pytest.approx(measure(scatter_of(X, y)))


def test_a_class_of_one_row_is_a_class() -> None:
    X, y = labelled(60, 5)
    y[0] = 3
    scatter = scatter_of(X, y)
    assert scatter.counts[3] == 1
    assert all(np.isfinite(value) for value in (between_share(scatter), log_me(scatter), *h_score(scatter)))


def test_features_that_are_the_classes_have_evidence_without_a_bound() -> None:
    y = np.arange(60, dtype=np.int64) % 3
    assert log_me(scatter_of(np.eye(3, dtype=np.float32)[y], y)) is None


def test_fewer_rows_than_columns_fit_exactly_and_have_evidence_all_the_same() -> None:
    X, y = labelled(40, 200)
    value = log_me(scatter_of(X, y))
    assert value is not None
    assert np.isfinite(value)


def test_equal_rows_tell_no_classes_apart() -> None:
    y = np.arange(12, dtype=np.int64) % 3
    scatter = scatter_of(np.ones((12, 4), np.float32), y)
    assert (between_share(scatter), shuffled_share(scatter), h_score(scatter)) == (None, None, None)
    assert log_me(scatter_of(np.zeros((12, 4), np.float32), y)) is None
