"""Planes, against a plain decomposition in float64, and t-SNE's own promises."""

from __future__ import annotations

import numpy as np
import pytest

from probeline.analysis.embedding_map import project_pca, project_tsne

pytestmark = pytest.mark.usefixtures("one_thread")


def sample(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Return rows whose directions have unequal variances, so that the first two stand out."""
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.standard_normal((d, d)))[0]
    scales = np.concatenate([[9.0, 4.0], np.linspace(1, 0.1, d - 2)])
    return (rng.standard_normal((n, d)) * scales @ turned + 3).astype(np.float32)


@pytest.mark.parametrize(
    ("n", "d"),
    [(200, 12), (12, 40), (620, 510), (510, 620)],
    ids=["rows", "columns", "rows by Lanczos", "columns by Lanczos"],
)
def test_the_plane_is_that_of_the_singular_vectors(n: int, d: int) -> None:
    X, shown = sample(n, d), sample(30, d, seed=1)
    found, explained = project_pca(X, shown)
    wide = X.astype(np.float64)
    _, singular, axes = np.linalg.svd(wide - wide.mean(0), full_matrices=False)
    for axis in axes:
        axis *= np.sign(axis[np.abs(axis).argmax()])
    expected = (shown - wide.mean(0)) @ axes[:2].T
    # The gap to the next singular value bounds how far rounding turns an axis: about 1e-7 * 9 / 3 of values near 30.
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(explained, (singular**2 / (singular**2).sum())[:2], atol=1e-5)
    assert found.dtype == np.float32


def test_rows_that_are_all_the_same_lie_at_one_point() -> None:
    points, explained = project_pca(np.full((5, 4), 2, np.float32), np.full((3, 4), 2, np.float32))
    assert (points == 0).all()
    assert explained == (0.0, 0.0)


@pytest.mark.parametrize("shape", [(1, 4), (4, 1)])
def test_what_has_no_plane_is_refused(shape: tuple[int, int]) -> None:
    X = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match="a plane needs two rows and two columns"):
        project_pca(X, X)


def test_tsne_keeps_far_groups_apart_and_is_the_same_twice() -> None:
    rng = np.random.default_rng(0)
    centres = 40 * np.eye(3, 8)
    groups = np.repeat(np.arange(3), 12)
    X = (centres[groups] + rng.standard_normal((36, 8))).astype(np.float32)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - what must stay as it is
    points, divergence = project_tsne(X, 5.0, 0)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    again, _ = project_tsne(X, 5.0, 0)
    np.testing.assert_array_equal(points, again)
    assert points.shape == (36, 2)
    assert 0 <= divergence < 1
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (groups[distances.argmin(1)] == groups).all()
