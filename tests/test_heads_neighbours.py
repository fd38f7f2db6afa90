"""Votes of neighbours and distances to centroids, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from probeline.heads.neighbours import knn, nearest_centroid


def sample(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((90, 6)).astype(np.float32),
        rng.integers(0, 4, 90),
        rng.standard_normal((25, 6)).astype(np.float32),
    )


@pytest.mark.parametrize("k", [1, 2, 5, 20])
def test_votes_by_a_plain_loop(k: int) -> None:
    X, y, held = sample()
    found = knn(X, y, held, [1, k, 30], classes=4)[k].argmax(1)
    for row, guess in zip(held.astype(np.float64), found, strict=True):
        cosine = X @ row / (np.linalg.norm(X, axis=1) * np.linalg.norm(row))
        nearest = y[np.argsort(-cosine)[:k]]
        votes = np.bincount(nearest, minlength=4)
        tied = np.flatnonzero(votes == votes.max())
        assert guess in tied
        if nearest[0] in tied:
            assert guess == nearest[0]


def test_the_softmax_of_the_logits_is_the_share_of_votes() -> None:
    X, y, held = sample()
    logits = knn(X, y, held, [10], classes=4)[10].astype(np.float64)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    # Smoothing moves each of ten votes by at most six thousandths of a vote.
    assert np.abs(chances * 10 - np.round(chances * 10)).max() < 0.01


def test_centroids_are_scikit_learns() -> None:
    X, y, held = sample()
    expected = NearestCentroid().fit(X, y).predict(held)
    np.testing.assert_array_equal(nearest_centroid(X, y, held, classes=4).argmax(1), expected)


def test_a_class_without_rows_is_never_nearest() -> None:
    X, y, held = sample()
    logits = nearest_centroid(X, y, held, classes=6)
    assert logits.shape == (25, 6)
    assert np.isfinite(logits).all()
    assert logits.argmax(1).max() < 4
