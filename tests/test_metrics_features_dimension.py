"""The intrinsic dimension: scikit-dimension's, the paper's formula, and that of manifolds of a known one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from probeline.metrics.features.dimension import DISCARDED, FEWEST, two_nearest, two_nn


def torus(n: int, d: int, columns: int, seed: int) -> np.ndarray:
    """Return uniform rows on a flat torus of dimension d, which has no edge, turned into `columns` columns."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi, (n, d))
    basis = np.linalg.qr(rng.normal(size=(columns, 2 * d)))[0]
    return (np.hstack([np.cos(angles), np.sin(angles)]) @ basis.T).astype(np.float32)


@pytest.mark.parametrize(("n", "d"), [(200, 3), (30, 80)])
def test_the_two_nearest_are_those_of_all_distances(n: int, d: int) -> None:
    X = np.random.default_rng(0).normal(100, 1, (n, d)).astype(np.float32)
    all_distances = cdist(X.astype(np.float64), X.astype(np.float64))
    np.testing.assert_allclose(two_nearest(X), np.sort(all_distances, axis=1)[:, 1:3], rtol=1e-6)


def test_near_copies_far_from_the_origin_keep_their_small_distance() -> None:
    X = np.random.default_rng(0).normal(0, 1, (50, 6)).astype(np.float32)
    X[1] = X[0]
    X[1, 0] = np.nextafter(X[0, 0], np.float32(9))
    nearest = two_nearest(X)[0, 0]
    assert nearest == pytest.approx(float(X[1, 0]) - float(X[0, 0]), rel=1e-6)


def test_the_dimension_is_that_of_scikit_dimension() -> None:
    pytest.importorskip("skdim")
    from skdim.id import TwoNN

    for X in (torus(800, 2, 10, 0), np.random.default_rng(1).normal(size=(500, 40)).astype(np.float32)):
        expected = TwoNN(discard_fraction=DISCARDED).fit(X.astype(np.float64)).dimension_
        assert two_nn(two_nearest(X)) == pytest.approx(expected, rel=1e-6)


def test_the_dimension_is_the_slope_of_the_paper() -> None:
    X = torus(300, 3, 9, 1).astype(np.float64)
    ratios = []
    for row in X:
        r1, r2 = sorted(np.linalg.norm(X - row, axis=1))[1:3]
        ratios.append(r2 / r1)
    ratios.sort()
    kept = ratios[: int(0.9 * len(ratios))]
    x = np.log(kept)
    y = np.array([-np.log(1 - i / len(ratios)) for i in range(1, len(kept) + 1)])
    slope = np.linalg.lstsq(x[:, None], y, rcond=None)[0][0]
    assert two_nn(two_nearest(X)) == pytest.approx(slope, rel=1e-8)


def slope_of_exponentials(n: int, draws: int = 200) -> float:
    """Return the standard deviation of the slope over n independent ratios whose logs have the rate 1."""
    rng = np.random.default_rng(0)
    distances = np.ones((n, 2))
    slopes = []
    for _ in range(draws):
        distances[:, 1] = np.exp(rng.exponential(size=n))
        slopes.append(two_nn(distances))
    assert np.mean(slopes) == pytest.approx(1, abs=0.02)
    return float(np.std(slopes))


@pytest.mark.parametrize(("d", "columns"), [(1, 30), (2, 30), (4, 40)])
def test_a_manifold_has_its_dimension(d: int, columns: int) -> None:
    n = 4000
    # Ratios are exponential with the rate d; mutual neighbours share theirs, so that half of the rows count at least.
    bound = 5 * d * slope_of_exponentials(n) * np.sqrt(2)
    assert bound < 0.2 * d
    assert two_nn(two_nearest(torus(n, d, columns, 2))) == pytest.approx(d, abs=bound)


def test_a_scale_changes_nothing() -> None:
    X = torus(300, 2, 8, 3)
    assert two_nn(two_nearest(X)) == pytest.approx(two_nn(two_nearest(1000 * X)), rel=1e-5)


def test_equal_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="equal rows"):
        two_nn(two_nearest(np.repeat(torus(40, 2, 5, 0), 2, axis=0)))


def test_few_rows_and_a_lattice_have_none() -> None:
    assert two_nn(two_nearest(torus(FEWEST - 1, 2, 5, 0))) is None
    assert two_nn(two_nearest(torus(FEWEST, 2, 5, 0))) is not None
    lattice = np.stack(np.meshgrid(*[np.arange(12.0)] * 2), axis=-1).reshape(-1, 2).astype(np.float32)
    assert two_nn(two_nearest(lattice)) is None
    with pytest.raises(ValueError, match="three rows"):
        two_nearest(torus(2, 2, 5, 0))
