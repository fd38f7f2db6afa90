"""The nearest rows: those of scipy, in every block, equals in their order, whatever float32 makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from probeline.metrics.features import nearest
from probeline.metrics.features.nearest import nearest_rows, rank_rows


def world(n: int = 300, q: int = 20, d: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(1, 1, (n, d)).astype(np.float32), rng.normal(1, 1, (q, d)).astype(np.float32)


@pytest.mark.parametrize("parts", [1, 3])
def test_they_are_those_of_all_distances(parts: int) -> None:
    X, Q = world()
    found = nearest_rows(np.array_split(X, parts), Q, 7)
    distances = cdist(Q.astype(np.float64), X.astype(np.float64), "cosine")
    assert [own.rows.tolist() for own in found] == np.argsort(distances, axis=1)[:, :7].tolist()
    np.testing.assert_allclose([own.distances for own in found], np.sort(distances, axis=1)[:, :7], atol=1e-12)


def test_rows_that_float32_cannot_tell_apart_are_with_variants() -> None:
    # Cosines that differ by less than a step of float32 near 1, in an order that is not that of the rows.
    rng = np.random.default_rng(0)
    base = rng.normal(size=2000).astype(np.float32)
    X = np.stack([base + np.float32(1e-4) * rng.normal(size=2000).astype(np.float32) for _ in range(400)])
    wide = X.astype(np.float64)
    cosines = wide @ base.astype(np.float64) / np.linalg.norm(wide, axis=1) / np.linalg.norm(base.astype(np.float64))
    assert len(np.unique(cosines.astype(np.float32))) < 20
    (found,) = nearest_rows([X], base[None], 50)
    assert found.rows.tolist() == np.argsort(-cosines)[:50].tolist()


def test_equals_come_in_the_order_of_their_rows() -> None:
    X, Q = world(50, 1, 300)
    X[[40, 3, 17, 29]] = Q[0]
    (found,) = nearest_rows([X[:20], X[20:]], Q, 3)
    assert found.rows.tolist() == [3, 17, 29]
    assert len(set(found.distances.tolist())) == 1


def test_a_row_is_left_out_itself_and_its_copies_are_not() -> None:
    X, _ = world()
    X[200] = X[5]
    (found, other) = nearest_rows([X], X[[5, 6]], 2, [5, None])
    assert found.rows[0] == 200
    assert found.distances[0] == pytest.approx(0, abs=1e-15)
    assert other.rows[0] == 6


def test_fewer_rows_than_are_asked_for_are_all_given() -> None:
    X, Q = world(4, 1)
    assert sorted(nearest_rows([X], Q, 9)[0].rows.tolist()) == [0, 1, 2, 3]
    assert sorted(nearest_rows([X], X[:1], 9, [0])[0].rows.tolist()) == [1, 2, 3]
    assert len(nearest_rows([X[:1]], X[:1], 1, [0])[0].rows) == 0


def test_zeros_have_the_distance_1() -> None:
    X, Q = world()
    X[3] = 0
    distances = nearest_rows([X], Q[:1], 300)[0]
    assert distances.distances[distances.rows.tolist().index(3)] == 1
    (zeros,) = nearest_rows([X], np.zeros((1, 12), np.float32), 3)
    assert zeros.rows.tolist() == [0, 1, 2]
    assert zeros.distances.tolist() == [1, 1, 1]


def test_groups_of_queries_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Q = world()
    whole = nearest_rows([X], Q, 5)
    monkeypatch.setattr(nearest, "_BYTES", 4 * 300 * 3)
    monkeypatch.setattr(nearest, "BLOCK", 7)
    for a, b in zip(whole, nearest_rows([X[:100], X[100:]], Q, 5), strict=True):
        assert a.rows.tolist() == b.rows.tolist()
        assert a.distances.tolist() == b.distances.tolist()


def test_large_and_tiny_features_are_searched_too() -> None:
    X, Q = world()
    expected = [own.rows.tolist() for own in nearest_rows([X], Q, 5)]
    for scale in (1e25, 1e-25):
        scaled = nearest_rows([(X * np.float32(scale))], Q, 5)
        assert [own.rows.tolist() for own in scaled] == expected


def test_candidates_alone_are_ranked() -> None:
    X, Q = world()
    found = rank_rows([X[:150], X[150:]], Q[0], np.array([4, 160, 299]), 2)
    distances = cdist(Q[:1].astype(np.float64), X[[4, 160, 299]].astype(np.float64), "cosine")[0]
    assert found.rows.tolist() == np.array([4, 160, 299])[np.argsort(distances)[:2]].tolist()


def test_what_cannot_be_searched_is_refused() -> None:
    X, Q = world()
    with pytest.raises(ValueError, match="no 0 nearest rows"):
        nearest_rows([X], Q, 0)
    with pytest.raises(ValueError, match="columns"):
        nearest_rows([X], Q[:, :5].copy(), 1)
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        nearest_rows([X], Q, 1)
