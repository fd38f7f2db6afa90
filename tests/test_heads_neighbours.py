"""Votes of neighbours and distances to centroids, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from probeline.heads.neighbours import centroid_layer, knn, nearest, nearest_centroid, weighted_knn


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


@pytest.mark.parametrize("k", [1, 2, 5, 20, 90])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_weighted_votes_are_scikit_learns(k: int, temperature: float) -> None:
    X, y, held = sample()

    def weights(distances: np.ndarray) -> np.ndarray:
        return np.exp((1 - distances) / temperature)

    model = KNeighborsClassifier(k, weights=weights, metric="cosine").fit(X, y)
    logits = weighted_knn(X, y, held, [1, k, 30], classes=4, temperature=temperature)[k]
    assert logits.dtype == np.float32
    # Smoothing adds a thousandth of a vote of k to each class.
    np.testing.assert_allclose(np.exp(logits), model.predict_proba(held) + 1e-3 / k, atol=1e-5)
    chances = np.sort(softmax(logits, axis=1), axis=1)
    clear = chances[:, -1] - chances[:, -2] > 1e-4
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(logits.argmax(1)[clear], model.predict(held)[clear])


def test_weighted_votes_by_dinos_own_steps() -> None:
    """As its evaluation does: similarities of unit rows, the k largest, exp(similarity / 0.07), summed by class."""
    X, y, held = sample(3)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (X, held)]
    similarity = unit[1].astype(np.float64) @ unit[0].T
    for k in (10, 20):
        nearest_rows = np.argsort(-similarity, axis=1)[:, :k]
        weights = np.exp(np.take_along_axis(similarity, nearest_rows, axis=1) / 0.07)
        votes = np.stack([np.where(y[nearest_rows] == label, weights, 0).sum(1) for label in range(4)], axis=1)
        found = weighted_knn(X, y, held, [10, 20], classes=4)[k]
        np.testing.assert_array_equal(found.argmax(1), votes.argmax(1))
        plain = knn(X, y, held, [k], classes=4)[k]
        assert (plain.argmax(1) != votes.argmax(1)).any(), "weights matter"


def test_neighbours_that_are_equally_near_count_alike_and_nothing_overflows() -> None:
    X = np.tile(np.array([[1, 0]], np.float32), (6, 1))
    y = np.array([0, 1, 1, 2, 2, 2])
    held = np.array([[3, 0], [-1, 0]], np.float32)
    for temperature in (1e-4, 0.07, 1e6):
        logits = weighted_knn(X, y, held, [6], classes=3, temperature=temperature)[6]
        np.testing.assert_allclose(np.exp(logits), np.tile([[1, 2, 3]], (2, 1)) / 6 + 1e-3 / 6, rtol=1e-5)


@pytest.mark.parametrize("bad", [{"ks": []}, {"ks": [91]}, {"ks": [0]}, {"temperature": 0.0}, {"temperature": np.nan}])
def test_weighted_votes_that_cannot_be_are_refused(bad: dict[str, object]) -> None:
    X, y, held = sample()
    with pytest.raises(ValueError, match=r"k must lie in|a temperature is positive"):
        weighted_knn(X, y, held, **{"ks": [3], "classes": 4, **bad})  # type: ignore[arg-type]


def test_centroids_are_scikit_learns() -> None:
    X, y, held = sample()
    expected = NearestCentroid().fit(X, y).predict(held)
    np.testing.assert_array_equal(nearest_centroid(X, y, held, classes=4).argmax(1), expected)


@pytest.mark.parametrize("classes", [2, 4])
def test_centroids_are_a_linear_layer(classes: int) -> None:
    X, y, held = sample()
    y = y % classes
    weight, bias = centroid_layer(X, y, classes=classes)
    logits = nearest_centroid(X, y, held, classes=classes)
    # What all classes have in common is no part of the decision.
    difference = held @ weight.T + bias - logits
    np.testing.assert_allclose(difference, difference[:, :1] * np.ones((1, classes)), rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match="rows of 2 of 3 classes"):
        centroid_layer(X, y % 2, classes=3)


def test_a_class_without_rows_is_never_nearest() -> None:
    X, y, held = sample()
    logits = nearest_centroid(X, y, held, classes=6)
    assert logits.shape == (25, 6)
    assert np.isfinite(logits).all()
    assert logits.argmax(1).max() < 4


def test_of_rows_equally_near_the_first_comes_first() -> None:
    X = np.tile(np.array([[1, 0], [0, 1]], np.float32), (4, 1))
    y = np.array([3, 0, 2, 0, 1, 0, 0, 0])
    found = knn(X, y, np.array([[2, 0]], np.float32), [4, 1, 2], classes=4)
    assert list(found) == [4, 1, 2]
    # Rows 0, 2, 4, 6 lie in that direction: classes 3, 2, 1, 0, each with a vote, and row 0 has class 3.
    assert found[4].argmax() == 3
    assert found[4][0, 0] == found[4][0, 1] == found[4][0, 2]


@pytest.mark.parametrize("ks", [[], [0], [91], [1, 200]])
def test_a_k_without_so_many_rows_is_refused(ks: list[int]) -> None:
    X, y, held = sample()
    with pytest.raises(ValueError, match="k must lie in"):
        knn(X, y, held, ks, classes=4)


def test_held_out_rows_of_another_width_are_refused() -> None:
    X, y, held = sample()
    for fit in (lambda: knn(X, y, held[:, :5], [1], classes=4), lambda: nearest_centroid(X, y, held[:, :5], classes=4)):
        with pytest.raises(ValueError, match="5 columns where 6"):
            fit()


def test_the_nearest_rows_by_a_plain_loop() -> None:
    X, _, held = sample()
    places, cosines = nearest(X, held, 7)
    assert (places.dtype, cosines.dtype) == (np.int64, np.float32)
    for row, found, told in zip(held.astype(np.float64), places, cosines, strict=True):
        cosine = X @ row / (np.linalg.norm(X, axis=1) * np.linalg.norm(row))
        np.testing.assert_array_equal(found, np.argsort(-cosine)[:7])
        # Sums of six products of values of about 1, each rounded by 2**-24 or so.
        np.testing.assert_allclose(told, np.sort(cosine)[::-1][:7], atol=1e-6)


def test_of_equal_rows_the_first_is_nearest() -> None:
    X = np.tile(np.array([[1, 0], [0, 1]], np.float32), (4, 1))
    places, cosines = nearest(X, np.array([[3, 0]], np.float32), 8)
    assert places.tolist() == [[0, 2, 4, 6, 1, 3, 5, 7]]
    assert cosines.tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]]


def test_no_row_is_its_own_neighbour() -> None:
    X, _, held = sample()
    own = np.concatenate([np.arange(len(X)), np.full(len(held), -1)])
    places, _ = nearest(X, np.concatenate([X, held]), 5, own=own, memory=0.005)
    assert not (places == own[:, None]).any()
    np.testing.assert_array_equal(places[len(X) :], nearest(X, held, 5)[0])
    twice = np.concatenate([X, X[:3]])
    found, cosines = nearest(twice, twice, 1, own=np.arange(len(twice)), memory=0.005)
    assert found[:3, 0].tolist() == [len(X), len(X) + 1, len(X) + 2], "a copy is a neighbour"
    np.testing.assert_allclose(cosines[:3], 1, rtol=1e-6)


def test_a_row_of_zeros_is_near_nothing() -> None:
    X, _, held = sample()
    _, cosines = nearest(X, np.zeros_like(held[:1]), 3)
    assert cosines.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(("k", "own"), [(0, None), (91, None), (90, np.arange(90)), (3, np.arange(89))])
def test_more_neighbours_than_there_are_rows_are_refused(k: int, own: np.ndarray | None) -> None:
    X, _, _ = sample()
    with pytest.raises(ValueError, match=r"must (lie in|have 90 rows)"):
        nearest(X, X, k, own=own)
