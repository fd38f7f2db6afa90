"""Heads of several labels that share their passes over the rows: against scikit-learn, and each label alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from probeline.heads.logistic import label_preconditioner, labels, path
from probeline.heads.logistic.labels import fit_label_path
from probeline.heads.logistic.path import certify, fit_path
from probeline.heads.logistic.reference import fit_label_reference, fit_reference
from probeline.types import FloatArray
from variants import slow_after

L2S = [1e-3, 10.0, 1e-1, 1e-5]


def task(
    count: int, columns: int, number: int, *, unknown: float = 0.0, seed: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Return correlated features and labels from half to few of the rows, some of them unknown."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(count, columns)) @ rng.normal(size=(columns, columns)) / columns**0.5).astype(np.float32)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    logits = X @ rng.normal(size=(columns, number)) / columns**0.5 + 0.7 * rng.normal(size=(count, number))
    Y = (logits > np.quantile(logits, np.linspace(0.5, 0.97, number), axis=0).diagonal()).astype(np.float32)
    Y[rng.random(Y.shape) < unknown] = np.nan
    return X, Y


@pytest.mark.parametrize("unknown", [0.0, 0.3])
@pytest.mark.parametrize(("count", "columns", "number"), slow_after(1, [(700, 40, 6), (90, 200, 3), (2500, 12, 40)]))
def test_each_label_has_scikit_learns_minimum(count: int, columns: int, number: int, unknown: float) -> None:
    X, Y = task(count, columns, number, unknown=unknown)
    for l2, head in zip(L2S, fit_label_path(X, Y, L2S), strict=True):
        assert head.l2 == l2
        assert head.certificate.converged
        objectives, squares = 0.0, 0.0
        for label in range(number):
            known = ~np.isnan(Y[:, label])
            y = Y[known, label].astype(np.int64)
            own, norm = certify(X[known], y, head.weight[label : label + 1], head.bias[label : label + 1], l2)
            judge = fit_reference(X[known].astype(np.float64), y, l2, tolerance=1e-9, max_iterations=20_000)
            assert own - judge.certificate.objective <= 1e-6 * (judge.certificate.objective + 0.01) + 1e-8
            objectives, squares = objectives + own, squares + norm**2
        # what the record says is what the weights give
        assert head.certificate.objective == pytest.approx(objectives, rel=1e-9)
        assert head.certificate.gradient_norm == pytest.approx(squares**0.5, rel=1e-3, abs=1e-9)


def test_labels_do_not_depend_on_each_other() -> None:
    X, Y = task(600, 30, 5, unknown=0.2)
    for head in fit_label_path(X, Y, [1e-1, 1e-3], tolerance=1e-9):
        for label in range(5):
            known = ~np.isnan(Y[:, label])
            (alone,) = fit_path(X[known], Y[known, label].astype(np.int64), 2, [head.l2], tolerance=1e-9)
            np.testing.assert_allclose(head.weight[label], alone.weight[0], atol=2e-4)
            assert head.bias[label] == pytest.approx(alone.bias[0], abs=2e-4)


def test_labels_with_one_value_or_none_are_certain() -> None:
    X, Y = task(300, 10, 4)
    Y[:, 0], Y[:, 1], Y[:, 2] = 1, 0, np.nan
    Y[:5, 0] = np.nan
    (head,), (reference,) = fit_label_path(X, Y, [1e-2]), [fit_label_reference(X, Y, 1e-2)]
    assert head.bias[:3].tolist() == reference.bias[:3].tolist() == [40, -40, -40]
    assert not head.weight[:3].any()
    assert head.weight[3].any()
    (alone,) = fit_label_path(X, Y[:, 3:], [1e-2])
    assert head.certificate.objective == alone.certificate.objective
    (nothing,) = fit_label_path(X, Y[:, :3], [1e-2])
    assert nothing.bias.tolist() == [40, -40, -40]
    assert nothing.certificate.converged


def test_matrices_of_labels_save_products_and_lead_to_the_same_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = task(1500, 60, 3, seed=2)
    Y[:, 2] = X[:, 0] > np.quantile(X[:, 0], 0.99)  # few, and separable
    monkeypatch.setattr(label_preconditioner, "_SAVED", 1e9)
    (even,) = fit_label_path(X, Y, [1e-6])
    monkeypatch.setattr(label_preconditioner, "_SAVED", 0)
    (own,) = fit_label_path(X, Y, [1e-6])
    assert own.certificate.iterations < even.certificate.iterations / 2
    for head in (even, own):
        assert head.certificate.converged
    allowed = 2e-6 * (even.certificate.objective + 0.03) + 1e-8
    assert abs(own.certificate.objective - even.certificate.objective) <= allowed
    monkeypatch.setattr(label_preconditioner, "MATRICES", 0)  # as if there were no memory for them
    (without,) = fit_label_path(X, Y, [1e-6])
    assert without.certificate.iterations == even.certificate.iterations


def test_a_fit_that_is_cut_short_says_so() -> None:
    X, Y = task(500, 30, 3)
    (head,) = fit_label_path(X, Y, [1e-5], max_iterations=2)
    assert not head.certificate.converged
    assert head.certificate.iterations <= 3


def test_values_far_apart_are_reached_in_strides(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = task(500, 30, 3)
    far = fit_label_path(X, Y, [1e-6])
    dense = fit_label_path(X, Y, [10.0**-power for power in range(7)])
    assert far[0].certificate.objective == pytest.approx(dense[-1].certificate.objective, rel=3e-6)
    monkeypatch.setattr(path, "_BATCH", 1)  # one value at once
    narrow = fit_label_path(X, Y, [1e2, 1.0, 1e-1, 1e-6])
    assert narrow[-1].certificate.objective == pytest.approx(far[0].certificate.objective, rel=3e-6)


def test_small_fits_take_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    solve = labels._solve_path

    def watched(*arguments: object) -> object:
        seen.append(torch.get_num_threads())
        return solve(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(labels, "_solve_path", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit_label_path(*task(100, 10, 2), [1e-1])
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_other_arrays_are_refused() -> None:
    X, Y = task(50, 5, 2)
    with pytest.raises(ValueError, match="must be 0, 1, or NaN"):
        fit_label_path(X, Y + 1, [1.0])
    with pytest.raises(ValueError, match=r"floating point \[50, L\]"):
        fit_label_path(X, Y[:40], [1.0])
    with pytest.raises(ValueError, match="positive"):
        fit_label_path(X, Y, [0.0])
    with pytest.raises(ValueError, match="must be float32"):
        fit_label_path(X.astype(np.float64), Y, [1.0])  # type: ignore[arg-type]
