"""Many classes: the minimum of an independent solver, few products, and no more memory than is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from probeline.heads.linear import Certificate
from probeline.heads.logistic import memory, newton, path, point, preconditioner
from probeline.heads.logistic.centres import ClassCurvature
from probeline.heads.logistic.cross_entropy import Rows, evaluate, logits_of, resident_rows
from probeline.heads.logistic.memory import peak_bytes
from probeline.heads.logistic.path import fit_path
from probeline.heads.logistic.point import look, with_optimal_bias
from probeline.heads.logistic.preconditioner import Preconditioner
from probeline.heads.logistic.reference import fit_reference
from probeline.heads.logistic.streamed import fit_path_streamed
from probeline.heads.standardize import apply, fit_scaler
from variants import slow_after

Array = npt.NDArray[Any]

pytestmark = pytest.mark.usefixtures("one_thread")


def task(count: int, columns: int, classes: int, apart: float = 0.35) -> tuple[Array, Array]:
    """Return standardised rectified features, correlated as a backbone's are, and labels."""
    rng = np.random.default_rng(0)
    y = np.concatenate([np.arange(classes), rng.integers(classes, size=count - classes)])
    centres = apart * rng.standard_normal((classes, columns // 2))
    mixed = (rng.standard_normal((count, columns // 2)) + centres[y]) @ rng.standard_normal((columns // 2, columns))
    X = np.maximum(mixed / np.sqrt(columns // 2) + 0.3 * rng.standard_normal((count, columns)), 0).astype(np.float32)
    return apply(fit_scaler(X), X), y


@pytest.mark.parametrize(
    ("count", "columns", "classes"), slow_after(1, [(1500, 40, 40), (900, 20, 300), (300, 400, 100), (700, 60, 320)])
)
def test_the_minimum_is_scikit_learns(count: int, columns: int, classes: int) -> None:
    X, y = task(count, columns, classes)
    l2s = [1e-1, 1e-3, 1e-5]
    for head in fit_path(X, y, classes, l2s):
        judge = fit_reference(X.astype(np.float64), y, head.l2, tolerance=1e-8, max_iterations=20_000).certificate
        assert head.certificate.converged
        assert abs(head.certificate.objective - judge.objective) <= 1e-6 * judge.objective + 1e-8


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", ["plain", "constant columns", "separable", "more columns than rows", "rare classes"])
def test_odd_data_is_solved_as_well(kind: str, turned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # A few classes, solved as many: more than that take scikit-learn minutes here.
    for module in (memory, point, preconditioner):
        monkeypatch.setattr(module, "FEW", 2)
    if turned:
        monkeypatch.setattr(path, "MANY", 2)
    count, columns = (60, 150) if kind == "more columns than rows" else (400, 30)
    X, y = task(count, columns, 8, apart=4 if kind == "separable" else 0.6)
    if kind == "constant columns":
        X[:, :3] = 0
        X[:, 5] = X[:, 4]
    if kind == "rare classes":
        kept = np.flatnonzero((y < 2) | (np.arange(count) < 8))
        X, y = X[kept], y[kept]
    l2s = [1e2, 1e-1, 1e-3, 1e-6]
    for head in fit_path(X, y, 8, l2s, max_iterations=3000):
        judge = fit_reference(X.astype(np.float64), y, head.l2, tolerance=1e-10, max_iterations=20_000).certificate
        assert head.certificate.converged
        assert abs(head.certificate.objective - judge.objective) <= 1e-6 * judge.objective + 1e-8


def test_steps_in_float64_end_where_those_in_float32_do_and_as_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """They work on the rows themselves, and the curvature is still of rows in their eigenbasis."""
    monkeypatch.setattr(preconditioner, "_MOST_BYTES", 0)  # as if matrices exceeded it
    X, y = task(700, 60, 320)

    def certificate() -> Certificate:
        return fit_path(X, y, 320, [1e-4])[0].certificate

    first = certificate()
    monkeypatch.setattr(newton, "_SLACK", 1e12)  # which float32 fulfils at once
    second = certificate()
    assert first.converged
    assert second.converged
    assert abs(first.objective - second.objective) <= 2e-6 * (first.objective + 0.01)  # the tolerance of each
    # Measured: 46 in either, and 578 with the curvature of the rows themselves.
    assert second.iterations < 2 * first.iterations


def test_weights_of_many_magnitudes_are_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leading rows' matrices are then of rounding alone; what does not converge says so."""
    monkeypatch.setattr(preconditioner, "_MOST_BYTES", 0)  # as if matrices exceeded it
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(120, 12)).astype(np.float32), rng.integers(0, 40, 120)
    weights = (10.0 ** rng.uniform(-8, 8, 120)).astype(np.float32)
    weights[rng.random(120) < 0.3] = 0
    weak, weakest = fit_path(X, y, 40, [1e-6, 1e-13], weights=weights, max_iterations=60)
    assert weak.certificate.objective < 0.01 < np.log(40)
    assert not weakest.certificate.converged


def test_classes_may_have_no_leading_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """As 70,000 classes and 1,000 columns have, whose leading rows would take too much memory."""
    assert memory.leading_rows(2_000_000, 1000, 70_000) == 0
    X, y = task(700, 12, 40)
    expected = fit_path(X, y, 40, [1e-2, 1e-4])
    monkeypatch.setattr(memory, "_LEADING_BYTES", 1)
    for head, other in zip(fit_path(X, y, 40, [1e-2, 1e-4]), expected, strict=True):
        assert head.certificate.converged
        allowed = 1e-6 * other.certificate.objective + 1e-8  # of each
        assert abs(head.certificate.objective - other.certificate.objective) <= 2 * allowed


@pytest.mark.parametrize("shape", [(5,), (61,), (60, 1)])
def test_weights_of_other_rows_are_refused(shape: tuple[int, ...]) -> None:
    X, y = task(60, 8, 40)
    with pytest.raises(ValueError, match=r"weights must be \[60\]"):
        fit_path(X, y, 40, [1e-2], weights=np.ones(shape, np.float32))


@pytest.mark.parametrize("weighted", [False, True])
def test_logits_that_are_not_kept_give_the_same_heads(weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_LEAST_ROWS", 1)
    X, y = task(900, 20, 50)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(y)).astype(np.float32) if weighted else None
    l2s = [1.0, 1e-2, 1e-4]
    kept = fit_path(X, y, 50, l2s, weights=weights)
    limit = 100 * 6 * 4 * 50  # of the logits of 100 rows
    monkeypatch.setattr(path, "MEMORY", limit)
    for head, other in zip(fit_path(X, y, 50, l2s, weights=weights), kept, strict=True):
        assert head.certificate.converged
        allowed = 1e-6 * other.certificate.objective + 1e-8  # of each
        assert abs(head.certificate.objective - other.certificate.objective) <= 2 * allowed
    if not weighted:
        blocks = lambda: (X[start : start + 70] for start in range(0, len(X), 70))  # noqa: E731
        streamed, _ = fit_path_streamed(blocks, y, 50, l2s, memory=limit)
        for head, other in zip(streamed, kept, strict=True):
            allowed = 1e-6 * other.certificate.objective + 1e-8
            assert abs(head.certificate.objective - other.certificate.objective) <= 4 * allowed


def rows_of(X: Array, y: Array, classes: int) -> Rows:
    return resident_rows(torch.from_numpy(X), torch.from_numpy(y), classes)


def coefficients(rows: Rows, seed: int, heads: int = 2) -> Tensor:
    return 0.1 * torch.from_numpy(np.random.default_rng(seed).standard_normal((heads, rows.logits, rows.columns + 1)))


def test_a_point_in_blocks_is_the_same_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_LEAST_ROWS", 7)
    rows = rows_of(*task(200, 12, 40), 40)
    at, direction, length = coefficients(rows, 1), coefficients(rows, 2), torch.tensor([0.5, 2.0]).double()
    whole, blocks = look(rows, at, 1 << 30), look(rows, at, 1)
    assert whole.kept is not None
    assert blocks.kept is None
    close = {"rtol": 1e-5, "atol": 1e-6}  # float32 sums in another order
    for name in ("loss", "gradient", "steepness"):
        torch.testing.assert_close(getattr(blocks, name), getattr(whole, name), **close)
    torch.testing.assert_close(blocks.product(direction), whole.product(direction), **close)
    torch.testing.assert_close(blocks.probabilities(1), whole.probabilities(1), **close)
    for one, other in zip(blocks.ray(direction).slope(length), whole.ray(direction).slope(length), strict=True):
        torch.testing.assert_close(one, other, **close)
    ends = with_optimal_bias(rows, at, 1)[0], with_optimal_bias(rows, at, 1 << 30)[0]
    torch.testing.assert_close(*ends, **close)


def test_centres_and_leading_rows_are_the_curvature_of_each_class() -> None:
    rows = rows_of(*task(60, 8, 40), 40)
    (X,) = rows.blocks()
    probabilities = evaluate(rows, logits_of(rows, coefficients(rows, 1, heads=1))).probabilities[0]
    spread = (probabilities * (1 - probabilities)).double()
    values, basis = torch.linalg.eigh(torch.cov(X.double().T, correction=0))
    found = ClassCurvature(rows, [(slice(0, 60), X, probabilities)], values, basis.float())
    found.aim(1e-2)
    residual = coefficients(rows, 3, heads=1).float()
    solved = found.solve(residual)[0].double()
    # By hand: leading rows one by one, the rest around the class's own centre with one spectrum for all classes.
    top = spread.topk(memory.leading_rows(60, 8, 40) + 1, dim=1)
    capped = torch.minimum(spread, top.values[:, -1:])
    mass = capped.sum(dim=1)
    centre = (capped @ X.double() / mass[:, None]) @ basis
    turned = X.double() @ basis
    shared = ((capped.sum(dim=0) @ turned.square()) - (mass[:, None] * centre.square()).sum(dim=0)) / mass.sum()
    wide = torch.cat([X.double(), torch.ones(60, 1)], dim=1)
    for k in range(40):
        middle = torch.cat([basis @ centre[k], torch.ones(1)])
        hessian = mass[k] / 60 * torch.outer(middle, middle)
        hessian[:-1, :-1] += basis @ torch.diag(mass[k] / 60 * shared + 1e-2) @ basis.T
        hessian += (wide.T * (spread[k] - capped[k]) / 60) @ wide
        torch.testing.assert_close(hessian @ solved[k], residual[0, k].double(), rtol=0, atol=1e-3)


def test_many_classes_need_few_products(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = task(2000, 64, 200)
    monkeypatch.setattr(preconditioner, "_MOST_BYTES", 0)  # as if matrices exceeded it

    def products() -> int:
        counted = []
        count = Preconditioner.spend

        def spend(self: Preconditioner, number: int, *_: torch.Tensor) -> None:
            counted.append(number)
            count(self, number)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Preconditioner, "spend", spend)
            assert all(head.certificate.converged for head in fit_path(X, y, 200, [1e-4]))
        return len(counted)

    with_centres = products()
    monkeypatch.setattr(preconditioner, "_RENEWED", 1 << 60)  # never
    evenly = products()
    # Measured: 82, and 273 with even curvature alone.
    assert with_centres < evenly / 2
    assert with_centres < 100


def measured(rows: int, columns: int, classes: int) -> int:
    """Return the most memory that torch held during a fit, beyond what it held before."""
    X, y = task(rows, columns, classes)
    return most_held(lambda: fit_path(X, y, classes, [2e-4, 1e-4], max_iterations=12))


def most_held(work: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiled:
        work()
    assert profiled.profiler is not None
    events = profiled.profiler.kineto_results.events()
    held = most = 0
    for event in sorted((each for each in events if each.name() == "[memory]"), key=lambda each: each.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


@pytest.mark.parametrize(
    ("rows", "columns", "classes", "limit"),
    slow_after(
        2,
        [
            (120, 240, 40, 4 << 30),  # matrices, and fewer rows than columns
            (1_000, 30, 50, 4 << 30),  # matrices
            (20_000, 16, 300, 4 << 30),  # logits dominate
            (20_000, 16, 300, 8 << 20),  # blocks of them
            (3_000, 16, 600, 4 << 30),
            (2_000, 300, 300, 8 << 20),  # coefficients dominate
        ],
    ),
)
def test_a_fit_takes_no_more_memory_than_is_computed(
    rows: int, columns: int, classes: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if classes <= 100:  # matrices at once
        monkeypatch.setattr(Preconditioner, "_price", lambda self, _: setattr(self, "_cost", 1))
    computed = peak_bytes(rows, columns, classes, heads=2, memory=limit)
    monkeypatch.setattr(path, "MEMORY", limit)
    found = measured(rows, columns, classes)
    assert found <= computed
    assert computed <= 4 * found  # what is never held at the same time counts as if it were


def test_pairs_of_very_many_classes_count() -> None:
    """At sizes that no test can fit, matrices of pairs of classes take the most by far."""
    classes = 600
    rows = rows_of(*task(classes, 4, classes), classes)
    at = coefficients(rows, 1, heads=1)
    per_pair = most_held(lambda: with_optimal_bias(rows, at, 1)) / classes**2
    assert per_pair > 16
    many = 100_000
    assert per_pair * many**2 <= peak_bytes(many, 4, many, memory=1) <= 4 * per_pair * many**2


def test_imagenet_fits_on_one_device() -> None:
    features = 4 * 1_281_167 * 2048
    assert features + peak_bytes(1_281_167, 2048, 1000) < 20e9
    # With logits kept, which is a third faster:
    assert features + peak_bytes(1_281_167, 2048, 1000, memory=32 << 30) < 60e9


def test_a_small_fit_uses_one_thread_and_gives_the_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    solve = path.minimise

    def watch(*arguments: Any, **options: Any) -> Any:
        seen.append(torch.get_num_threads())
        return solve(*arguments, **options)

    monkeypatch.setattr(path, "minimise", watch)
    X, y = task(195, 1280, 2)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        fit_path(X, y, 2, [1e-2] * 45)
        with pytest.raises(ValueError, match="l2"):
            fit_path(X, y, 2, [-1.0])
        assert torch.get_num_threads() == 3
        walk = path.walk_path(X, y, 2, [1e-2, 1e-4])
        next(walk)
        assert torch.get_num_threads() == 3, "whoever uses a head between two windows has all threads"
        walk.close()
        assert set(seen) == {1}
        seen.clear()
        monkeypatch.setattr(path, "hessian_operations", lambda *_: 1e9)
        fit_path(X, y, 2, [1e-2])
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {3}
