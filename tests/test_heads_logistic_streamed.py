"""Rows that pass in blocks: the heads of the same rows in memory, and a clear word where the rows do not hold still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from probeline import open_features
from probeline.heads.logistic.path import fit_path
from probeline.heads.logistic.streamed import fit_path_streamed
from probeline.heads.standardize import apply, fit_scaler
from small_runs import extracted

L2S = [1e1, 1e-1, 1e-3, 1e-5]


def task(classes: int, *, count: int = 700, columns: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    y = rng.integers(classes, size=count)
    X = rng.standard_normal((count, columns)) + 0.7 * rng.standard_normal((classes, columns))[y]
    return (3 + 5 * X).astype(np.float32), y


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("size", [64, 700])
def test_it_fits_what_is_fitted_in_memory(classes: int, size: int) -> None:
    X, y = task(classes)
    passes = []

    def blocks() -> Iterator[np.ndarray]:
        passes.append(1)
        return (X[start : start + size] for start in range(0, len(X), size))

    heads, scaler = fit_path_streamed(blocks, y, classes, L2S)
    wanted = fit_scaler(X)
    np.testing.assert_allclose(scaler.mean, wanted.mean, rtol=1e-6)
    np.testing.assert_allclose(scaler.std, wanted.std, rtol=1e-6)
    assert len(passes) > 10
    for found, other in zip(heads, fit_path(apply(wanted, X), y, classes, L2S), strict=True):
        assert found.certificate.converged
        allowed = 1e-6 * other.certificate.objective + 1e-8  # of each, and their columns agree to 1e-6 as well
        assert abs(found.certificate.objective - other.certificate.objective) <= 4 * allowed


@pytest.mark.parametrize("fault", ["fewer rows", "other columns", "no number"])
def test_rows_that_do_not_fit_are_refused(fault: str) -> None:
    X, y = task(3)
    other = {"fewer rows": X[:-1], "other columns": X[:, :-1], "no number": np.full_like(X, np.nan)}[fault]
    with pytest.raises(ValueError, match=r"rows of features|columns|not finite"):
        fit_path_streamed(lambda: [X[:100], other[100:]], y, 3, [1e-2])


@pytest.mark.parametrize("labels", [np.zeros(700, np.float32), np.full(700, 3), np.zeros(0, np.int64)])
def test_labels_are_checked_before_any_pass(labels: np.ndarray) -> None:
    def blocks() -> Iterator[np.ndarray]:
        pytest.fail("the features were read")

    with pytest.raises(ValueError, match="labels"):
        fit_path_streamed(blocks, labels, 3, [1e-2])


def test_the_shards_of_a_cache_are_blocks_like_any_other(tmp_path: Path) -> None:
    inputs = extracted(tmp_path / "cache", limit=100)
    entry = inputs.entry(inputs.backbone("squeezenet1_1")[0], "all")
    features = open_features(entry.folder, keep_bytes=0)
    y = inputs.dataset.parts["all"].labels
    blocks = lambda: (features[start : start + 32] for start in range(0, len(features), 32))  # noqa: E731
    (streamed,), scaler = fit_path_streamed(blocks, y, 10, [1e-2])
    X = inputs.features(inputs.backbone("squeezenet1_1")[0], "all").features
    (whole,) = fit_path(apply(scaler, X), y, 10, [1e-2])
    allowed = 1e-6 * whole.certificate.objective + 1e-8
    assert abs(streamed.certificate.objective - whole.certificate.objective) <= 2 * allowed
