"""Clusters beside classes: perfect, unrelated, and none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import comb
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from probeline.metrics.features.clusters import cluster_agreement


def rays(classes: int = 4, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return rows along one axis per class, of any length, and their classes."""
    rng = np.random.default_rng(0)
    y = np.arange(n, dtype=np.int64) % classes
    X = np.eye(classes + 2)[y] * rng.uniform(0.1, 50, (n, 1)) + rng.normal(0, 0.002, (n, classes + 2))
    return X.astype(np.float32), y


def test_classes_along_rays_are_found_whatever_the_lengths_of_their_rows() -> None:
    X, y = rays(2)
    assert cluster_agreement(X, y, 0) == pytest.approx((1, 1))


def test_the_numbers_are_those_of_the_papers_formulas() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 4)).astype(np.float32), rng.integers(0, 3, 200)
    X[:, 0] += 2 * y
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    with threadpool_limits(1):
        clusters = KMeans(3, n_init=1, random_state=5).fit_predict(unit)
    table = np.array([[((y == label) & (clusters == cluster)).sum() for cluster in range(3)] for label in range(3)])
    shares = table / table.sum()
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    information = (shares * np.log(np.where(table, shares, 1) / np.outer(rows, columns))).sum()
    entropies = [-(own * np.log(own)).sum() for own in (rows, columns)]
    pairs, of_rows, of_columns = (comb(counts, 2).sum() for counts in (table, table.sum(axis=1), table.sum(axis=0)))
    expected = of_rows * of_columns / comb(200, 2)
    rand = (pairs - expected) / ((of_rows + of_columns) / 2 - expected)
    assert 0.1 < rand < 0.9
    assert cluster_agreement(X, y, 5) == pytest.approx((information / np.mean(entropies), rand), abs=1e-9)


def test_labels_that_have_nothing_to_do_with_the_features_do_not_agree() -> None:
    X, _ = rays(n=1000)
    shuffled = np.random.default_rng(3).integers(0, 4, 1000)
    found = cluster_agreement(X, shuffled, 0)
    assert found is not None
    # The index of two independent partitions into 4 of 1,000 has a standard deviation of about 3 / 1,000.
    assert abs(found.ari) < 0.015
    assert 0 < found.nmi < 0.03


def test_a_seed_gives_the_same_clusters_each_time() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 10)).astype(np.float32), rng.integers(0, 6, 300)
    found = [cluster_agreement(X, y, seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_one_class_and_too_few_different_rows_have_no_clusters() -> None:
    X = rays()[0]
    assert cluster_agreement(X, np.zeros(len(X), np.int64), 0) is None
    assert cluster_agreement(np.repeat(X[:3], 10, axis=0), np.arange(30) % 4, 0) is None
    assert cluster_agreement(np.repeat(X[:4], 10, axis=0), np.arange(40) % 4, 0) is not None
