"""Retrieval: scikit-learn's average precision, torchmetrics' hit rate, and every order of equals."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import average_precision_score
from sklearn.metrics.pairwise import cosine_similarity

from probeline.environment import declare_missing_operators
from probeline.metrics.features import retrieval
from probeline.metrics.features.retrieval import answerable, bootstrap_interval, retrieve

KS = (1, 3, 10)


def world(n: int = 120, q: int = 30, d: int = 6, classes: int = 4) -> tuple:
    rng = np.random.default_rng(0)
    y, labels = rng.integers(0, classes, n), rng.integers(0, classes, q)
    means = rng.normal(0, 1, (classes, d))
    X = (means[y] + rng.normal(size=(n, d))).astype(np.float32)
    Q = (means[labels] + rng.normal(size=(q, d))).astype(np.float32)
    return (X, y), (Q, labels)


def test_average_precision_is_that_of_scikit_learn() -> None:
    gallery, queries = world()
    _, precisions = retrieve(gallery, queries, KS)
    cosines = cosine_similarity(queries[0].astype(np.float64), gallery[0].astype(np.float64))
    expected = [average_precision_score(gallery[1] == y, own) for y, own in zip(queries[1], cosines, strict=True)]
    np.testing.assert_allclose(precisions, expected, atol=1e-9)


def test_recall_is_the_hit_rate_of_torchmetrics() -> None:
    declare_missing_operators()
    retrieved = pytest.importorskip("torchmetrics.functional.retrieval")
    gallery, queries = world()
    recalls, precisions = retrieve(gallery, queries, KS)
    cosines = cosine_similarity(queries[0], gallery[0])
    for own, y, recall, precision in zip(cosines, queries[1], recalls, precisions, strict=True):
        scores, target = torch.from_numpy(2 + own), torch.from_numpy(gallery[1] == y)  # it wants positive ones
        hits = [float(retrieved.retrieval_hit_rate(scores, target, top_k=k)) for k in KS]
        assert recall.tolist() == hits
        assert precision == pytest.approx(float(retrieved.retrieval_average_precision(scores, target)), abs=1e-5)


def test_recall_is_whether_a_right_one_is_among_the_first() -> None:
    gallery, queries = world()
    recalls, _ = retrieve(gallery, queries, KS)
    order = np.argsort(-cosine_similarity(queries[0].astype(np.float64), gallery[0].astype(np.float64)), axis=1)
    right = gallery[1][order] == queries[1][:, None]
    np.testing.assert_array_equal(recalls, np.stack([right[:, :k].any(axis=1) for k in KS], axis=1))
    assert 0 < recalls[:, 0].mean() < recalls[:, 1].mean() < 1


def test_equals_are_judged_in_all_their_orders() -> None:
    rng = np.random.default_rng(1)
    near, tied, far = rng.normal(size=(3, 4)).astype(np.float32)
    query = (3 * near + tied + 0.01 * far).astype(np.float32)
    X = np.stack([near, tied, tied, tied, 2 * tied, far])  # a multiple has the same cosine, but for rounding
    X[4] = tied
    y = np.array([0, 1, 0, 0, 1, 0])
    recalls, precisions = retrieve((X, y), (query[None], np.array([1])), (1, 2, 3, 4))
    hits = [[1 in order[:k] for k in range(1, 4)] for order in permutations(y[1:5].tolist())]
    assert recalls[0].tolist() == pytest.approx([0, *np.mean(hits, axis=0)])
    cosines = cosine_similarity(query[None], X)[0].astype(np.float64).round(6)
    assert precisions[0] == pytest.approx(average_precision_score(y == 1, cosines))


@pytest.mark.parametrize("order", [1, -1])
def test_equal_rows_are_no_better_than_chance_whatever_their_order(order: int) -> None:
    y = np.repeat(np.arange(2), 25)[::order].copy()
    X = np.full((50, 300), 0.1, np.float32)
    recalls, precisions = retrieve((X, y), (X[:3], np.zeros(3, np.int64)), (1, 26))
    np.testing.assert_allclose(recalls, [[0.5, 1.0]] * 3)
    np.testing.assert_allclose(precisions, 0.5)


def test_blocks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, queries = world()
    whole = retrieve(gallery, queries, KS)
    monkeypatch.setattr(retrieval, "_BYTES", 8 * 120 * 7)
    done: list[int] = []
    for a, b in zip(whole, retrieve(gallery, queries, KS, done.append), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert done == [7, 7, 7, 7, 2]


def test_a_query_of_a_class_without_an_image_cannot_be_answered() -> None:
    gallery, (Q, labels) = world()
    labels[4] = 9
    recalls, precisions = retrieve(gallery, (Q, labels), KS)
    assert np.isnan(precisions).tolist() == [number == 4 for number in range(30)]
    assert answerable(recalls).tolist() == [number != 4 for number in range(30)]


def test_zeros_have_the_cosine_0_with_all() -> None:
    (X, y), _ = world()
    recalls, precisions = retrieve((X, y), (np.zeros((1, 6), np.float32), np.zeros(1, np.int64)), (1,))
    share = (y == 0).mean()
    assert recalls[0, 0] == pytest.approx(share)
    assert precisions[0] == pytest.approx(share)


def test_what_cannot_be_searched_is_refused() -> None:
    (X, y), (Q, labels) = world()
    with pytest.raises(ValueError, match="no retrieval"):
        retrieve((X, y), (Q[:, :5], labels), KS)
    with pytest.raises(ValueError, match="no retrieval"):
        retrieve((X, y), (Q, labels), (121,))
    Q[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        retrieve((X, y), (Q, labels), KS)


def test_the_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).gamma(2, size=150)
    low, high = bootstrap_interval(values, draws=20_000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    # A quantile of 20,000 draws is known to about 2 % of the interval's width.
    width = expected.high - expected.low
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.05 * width)


def test_the_interval_is_the_same_each_time_and_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(40)
    whole = bootstrap_interval(values, draws=500)
    assert whole == bootstrap_interval(values, draws=500)
    assert whole != bootstrap_interval(values, draws=500, seed=1)
    monkeypatch.setattr(retrieval, "_BYTES", 64 * 40 * 30)
    assert bootstrap_interval(values, draws=500) == pytest.approx(whole)
