"""Shrunken class means against scikit-learn's, and where that has no answer."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from probeline.heads import shrinkage
from probeline.heads.neighbours import distance_logits
from probeline.heads.shrinkage import fit_class_means


def sample(columns: int = 30, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of four classes of which a few columns tell something, with labels, and other rows."""
    rng = np.random.default_rng(seed)
    y = rng.choice(4, 90, p=[0.5, 0.3, 0.15, 0.05])
    centres = np.where(rng.random((4, columns)) < 0.2, 2 * rng.standard_normal((4, columns)), 0)
    X = (rng.standard_normal((90, columns)) * rng.uniform(0.2, 2, columns) + centres[y]).astype(np.float32)
    return X, y, (rng.standard_normal((40, columns)) + centres[rng.integers(0, 4, 40)]).astype(np.float32)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.7, 1.0])
def test_they_are_scikit_learns(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shrinkage, "_BLOCK", 37)
    X, y, held = sample()
    means = fit_class_means(X, y, classes=4)
    model = NearestCentroid(shrink_threshold=means.threshold(share) or None).fit(X.astype(np.float64), y)
    np.testing.assert_allclose(means.shrunken(share), model.centroids_, atol=1e-6)
    logits = distance_logits(means.present, means.shrunken(share), held, classes=4)
    if share < 1:
        np.testing.assert_array_equal(logits.argmax(1), model.predict(held))


def test_the_threshold_is_a_share_of_the_largest_deviation() -> None:
    X, y, _ = sample()
    means = fit_class_means(X, y, classes=4)
    model = NearestCentroid().fit(X.astype(np.float64), y)
    assert means.threshold(1.0) == pytest.approx(np.abs(model.deviations_).max())
    kept = [(means.shrunken(share) != means.centre).any(axis=0).sum() for share in (0.0, 0.2, 0.5, 0.99, 1.0)]
    assert kept[0] == 30
    assert kept == sorted(kept, reverse=True), "the more is shrunken, the fewer columns count"
    assert 1 <= kept[3] <= 2
    assert kept[4] == 0
    np.testing.assert_array_equal(means.shrunken(1.0), np.tile(means.centre, (4, 1)))


def test_columns_without_variance_within_classes_are_never_shrunken() -> None:
    X, y, _ = sample(3)
    X = np.zeros_like(X)
    X[:, 0] = y  # tells each class exactly
    means = fit_class_means(X, y, classes=4)
    assert np.isfinite(means.deviations).all()
    np.testing.assert_array_equal(means.shrunken(0.8), means.means)


def test_one_row_per_class_has_means_and_no_spread() -> None:
    X, _, held = sample()
    means = fit_class_means(X[:4], np.arange(4), classes=4)
    np.testing.assert_array_equal(means.shrunken(0.5), X[:4])
    assert np.isfinite(distance_logits(means.present, means.shrunken(0.5), held, classes=4)).all()


def test_a_class_without_rows_is_never_nearest() -> None:
    X, y, held = sample()
    means = fit_class_means(X, y, classes=6)
    assert means.present.tolist() == [0, 1, 2, 3]
    logits = distance_logits(means.present, means.shrunken(0.3), held, classes=6)
    assert logits.shape == (40, 6)
    assert logits.argmax(1).max() < 4
    assert np.isfinite(logits).all()
