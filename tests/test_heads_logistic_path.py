"""The exact path agrees with scikit-learn, and its certificates are true."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import logsumexp, softmax
from sklearn.linear_model import LogisticRegression

from probeline.heads.linear import Head, decision
from probeline.heads.logistic import cross_entropy, path
from probeline.heads.logistic.path import certify, fit_path
from probeline.heads.logistic.reference import fit_reference
from probeline.heads.standardize import apply, fit_scaler

Array = npt.NDArray[Any]


pytestmark = pytest.mark.usefixtures("one_thread")


def task(n: int, columns: int, classes: int, apart: float, *, seed: int = 0, odd: bool = False) -> tuple[Array, Array]:
    """Return standardised rectified features, strongly correlated as a backbone's are, and labels."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), rng.integers(classes, size=n - classes)]).astype(np.int64)
    centres = apart * rng.standard_normal((classes, 8))
    mixed = (rng.standard_normal((n, 8)) + centres[y]) @ rng.standard_normal((8, columns))
    X = np.maximum(mixed + 0.3 * rng.standard_normal((n, columns)), 0).astype(np.float32)
    if odd:
        X[:, :3] = 7
        X[:, 4] = X[:, 5] = X[:, 3]
    return apply(fit_scaler(X), X), y


def objective(X: Array, y: Array, coefficients: Array, l2: float) -> float:
    """The objective in plain float64 numpy; coefficients are [K or 1, D + 1] with the bias last."""
    logits = X.astype(np.float64) @ coefficients[:, :-1].T + coefficients[:, -1]
    if len(coefficients) == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    loss = logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]
    return float(loss.mean() + l2 / 2 * (coefficients[:, :-1] ** 2).sum())


TASKS = {
    "two classes": (*task(300, 20, 2, 0.5), 2),
    "two classes, separable": (*task(300, 30, 2, 4), 2),
    "ten classes": (*task(500, 30, 10, 0.6), 10),
    "ten classes, separable": (*task(400, 40, 10, 5), 10),
    "constant and duplicated columns": (*task(300, 20, 3, 0.7, odd=True), 3),
    "two classes, constant and duplicated columns": (*task(300, 20, 2, 0.7, odd=True), 2),
    "more columns than rows": (*task(60, 150, 4, 0.5), 4),
    "two classes, more columns than rows": (*task(40, 300, 2, 0.5), 2),
    "more rows than a block": (*task(5000, 10, 3, 0.4), 3),
}


@pytest.fixture
def many_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Solve every problem of three classes or more in the ways that are for many classes."""
    monkeypatch.setattr(path, "MANY", 2)
    monkeypatch.setattr(cross_entropy, "_MANY", 2)


MANY = [name for name, (_, _, classes) in TASKS.items() if classes > 2]


@pytest.mark.usefixtures("many_classes")
@pytest.mark.parametrize("name", MANY)
def test_the_ways_for_many_classes_agree_with_scikit_learn(name: str) -> None:
    test_agrees_with_scikit_learn(name)
    test_certificate_is_that_of_the_stored_weights(name)


@pytest.mark.usefixtures("many_classes")
@pytest.mark.parametrize("weighted", [False, True])
def test_of_many_classes_those_without_rows_are_set_apart(weighted: bool) -> None:
    X, y, _ = TASKS["ten classes"]
    weights = np.random.default_rng(0).uniform(0.1, 3, len(y)).astype(np.float32) if weighted else None
    present = np.array([0, 2, 3, 5, 6, 7, 8, 10, 11, 12])  # of 14
    if weights is not None:
        weights[y == 9] = 0  # class 12 has rows that count nothing
        present = present[:9]
    numbers = np.array([0, 2, 3, 5, 6, 7, 8, 10, 11, 12])[y]
    l2s = [1e-6, 1e-3, 1e2]
    counted = np.ones(len(y), np.bool_) if weights is None else weights > 0
    among = None if weights is None else weights[counted]
    alone = fit_path(X[counted], y[counted], len(present), l2s, weights=among)
    absent = np.setdiff1d(np.arange(14), present)
    for head, own in zip(fit_path(X, numbers, 14, l2s, weights=weights), alone, strict=True):
        assert head.certificate.converged
        assert head.certificate.objective == pytest.approx(own.certificate.objective, rel=2e-6, abs=2e-8)
        assert not head.weight[absent].any()
        chances = softmax(decision(head, X).astype(np.float64), axis=1)
        assert chances[:, absent].max() < 1e-17


@pytest.mark.parametrize("name", TASKS)
def test_agrees_with_scikit_learn(name: str) -> None:
    X, y, classes = TASKS[name]
    l2s = [1e-6, 1e-3, 1e-1, 1e2]
    for l2, head in zip(l2s, fit_path(X, y, classes, l2s, tolerance=1e-6, max_iterations=500), strict=True):
        judge = fit_reference(X.astype(np.float64), y, l2, tolerance=1e-10, max_iterations=20_000).certificate
        ours = head.certificate
        assert ours.converged
        assert abs(ours.objective - judge.objective) <= 1e-6 * judge.objective + 1e-8
        # What is proven is kept, up to the float64 rounding of two objectives.
        assert ours.objective - judge.objective <= head.gap + 1e-13


@pytest.mark.parametrize("name", ["two classes", "ten classes, separable", "more columns than rows"])
def test_certificate_is_that_of_the_stored_weights(name: str) -> None:
    X, y, classes = TASKS[name]
    l2 = 1e-2
    (head,) = fit_path(X, y, classes, [l2], max_iterations=2)
    at = np.column_stack([head.weight, head.bias]).astype(np.float64)
    assert head.certificate.objective == pytest.approx(objective(X, y, at, l2), rel=1e-12)
    slopes = np.empty_like(at)
    for place in np.ndindex(at.shape):
        ahead, behind = at.copy(), at.copy()
        ahead[place] += 1e-5
        behind[place] -= 1e-5
        slopes[place] = (objective(X, y, ahead, l2) - objective(X, y, behind, l2)) / 2e-5
    # Central differences of a function of order 1 are right to 1e-16 / 1e-5 + (1e-5)^2, times the root of the count.
    assert head.certificate.gradient_norm == pytest.approx(float(np.linalg.norm(slopes)), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("name", ["two classes, separable", "ten classes"])
def test_gap_bounds_the_excess_of_an_unfinished_fit(name: str, steps: int) -> None:
    X, y, classes = TASKS[name]
    l2s = [1e-4, 1e-1, 1e2]
    best = fit_path(X, y, classes, l2s, tolerance=1e-6, max_iterations=3000)
    for rough, fine in zip(fit_path(X, y, classes, l2s, max_iterations=steps, tolerance=1e-9), best, strict=True):
        assert rough.certificate.iterations <= steps
        assert rough.certificate.objective - fine.certificate.objective <= rough.gap


def test_an_unconverged_fit_says_so() -> None:
    X, y, classes = TASKS["ten classes, separable"]
    (head,) = fit_path(X, y, classes, [1e-6], max_iterations=3)
    assert not head.certificate.converged
    assert head.certificate.iterations == 3
    assert np.isfinite(head.weight).all()


def test_a_tolerance_beyond_rounding_ends_and_is_not_met() -> None:
    X, y, classes = TASKS["two classes"]
    (head,) = fit_path(X, y, classes, [1e-3], tolerance=1e-30)
    assert not head.certificate.converged
    assert head.certificate.iterations < 1000
    assert head.gap < 1e-8


def test_heads_come_in_the_order_asked_for() -> None:
    X, y, classes = TASKS["ten classes"]
    l2s = [1.0, 1e-3, 10.0, 1e-3]
    heads = fit_path(X, y, classes, l2s)
    assert [head.l2 for head in heads] == l2s
    norms = [float((head.weight**2).sum()) for head in heads]
    assert norms[2] < norms[0] < norms[1] == norms[3]


def test_a_head_does_not_hang_on_its_path() -> None:
    X, y, classes = TASKS["ten classes"]
    (alone,) = fit_path(X, y, classes, [1e-3], tolerance=1e-6)
    among = fit_path(X, y, classes, [1e2, 3.0, 1e-3], tolerance=1e-6)[2]
    # Each is within gap of the same minimum, and l2 / 2 * ||W - W*||^2 <= gap by strong convexity.
    apart = np.linalg.norm(alone.weight - among.weight)
    assert apart <= np.sqrt(2 * alone.gap / 1e-3) + np.sqrt(2 * among.gap / 1e-3)


def test_two_classes_are_one_logit() -> None:
    X, y, _ = TASKS["two classes"]
    (head,) = fit_path(X, y, 2, [1e-2], tolerance=1e-6)
    assert head.weight.shape == (1, X.shape[1])
    assert head.bias.shape == (1,)
    assert head.weight.dtype == head.bias.dtype == np.float32
    logits = decision(head, X)
    assert logits.dtype == np.float32
    assert not logits[:, 0].any()
    np.testing.assert_array_equal(decision(head, X).argmax(1), (X @ head.weight[0] + head.bias[0] > 0).astype(np.int64))


def test_features_need_no_centring() -> None:
    X, y, classes = TASKS["ten classes"]
    shift = np.linspace(-3, 3, X.shape[1]).astype(np.float32)
    (plain,) = fit_path(X, y, classes, [1e-2], tolerance=1e-6)
    (shifted,) = fit_path(X + shift, y, classes, [1e-2], tolerance=1e-6)
    assert shifted.certificate.converged
    assert shifted.certificate.objective == pytest.approx(plain.certificate.objective, rel=2e-6)


def test_a_class_without_rows_changes_nothing_for_the_others() -> None:
    X, y, _ = TASKS["constant and duplicated columns"]
    (three,) = fit_path(X, y, 3, [1e-2])
    (four,) = fit_path(X, y, 4, [1e-2])
    assert four.certificate.converged
    assert four.certificate.objective == pytest.approx(three.certificate.objective, rel=3e-4)
    np.testing.assert_array_equal(decision(four, X).argmax(1), decision(three, X).argmax(1))
    # The fourth bias has its mean probability as its slope.
    assert softmax(decision(four, X), axis=1)[:, 3].mean() <= four.certificate.gradient_norm


def test_only_one_class_present() -> None:
    X, y, _ = TASKS["two classes"]
    for present in (0, 1):
        (head,) = fit_path(X, np.full_like(y, present), 2, [1e-2])
        assert set(decision(head, X).argmax(1)) == {present}


@pytest.mark.parametrize("l2", [1e-2, 10.0, 1e5])
@pytest.mark.parametrize("classes", [2, 10])
def test_one_class_alone_costs_nothing_at_any_l2(classes: int, l2: float) -> None:
    X = TASKS["two classes"][0]
    (head,) = fit_path(X, np.zeros(len(X), np.int64), classes, [l2])
    assert head.certificate.converged
    # The infimum is 0, so that 1e-8 nats are all that is allowed.
    assert head.certificate.objective <= 1e-8


def test_a_bias_far_from_0_is_found_at_a_strong_l2() -> None:
    X = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    y = np.array([0] * 99 + [1])
    weights = np.where(y == 1, 1e-6, 1).astype(np.float32)
    (head,) = fit_path(X, y, 2, [1e5], weights=weights)
    rare = 1e-6 / (99 + 1e-6)
    # So strong an l2 leaves the bias alone, whose least loss is the entropy of the classes' shares.
    least = -rare * math.log(rare) - (1 - rare) * math.log1p(-rare)
    assert head.certificate.converged
    assert head.certificate.objective <= least * (1 + 1e-6) + 1e-8


def test_values_as_an_array_and_next_to_each_other_are_taken() -> None:
    X, y, classes = TASKS["ten classes"]
    l2s = np.array([0.03, 0.1 * 0.1, 0.01, 1e-3, 1e-4])
    heads = fit_path(X, y, classes, l2s)
    for head, (alone,) in zip(heads, (fit_path(X, y, classes, [l2]) for l2 in l2s.tolist()), strict=True):
        assert head.certificate.converged
        assert head.certificate.objective == pytest.approx(alone.certificate.objective, rel=2e-6, abs=2e-8)


def test_features_beyond_float32_are_refused() -> None:
    X, y, classes = TASKS["two classes"]
    with pytest.raises(ValueError, match="squares overflow"):
        fit_path(np.full_like(X, 1e30), y, classes, [1e-2])


def test_read_only_and_strided_arrays_are_taken_and_left_as_they_are() -> None:
    X, y, classes = TASKS["ten classes"]
    frozen = X.copy()
    frozen.setflags(write=False)
    (head,) = fit_path(X, y, classes, [1e-2])
    for same in (frozen, np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2]):
        (again,) = fit_path(same, y, classes, [1e-2])
        np.testing.assert_array_equal(again.weight, head.weight)
    np.testing.assert_array_equal(X, frozen)


def test_mps_is_served_by_the_cpu() -> None:
    X, y, classes = TASKS["two classes"]
    (there,) = fit_path(X, y, classes, [1e-2], device="mps")
    (here,) = fit_path(X, y, classes, [1e-2])
    np.testing.assert_array_equal(there.weight, here.weight)


def test_cuda_finds_the_same_minimum() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    X, y, classes = TASKS["more columns than rows"]
    l2s = [1e-3, 1.0]
    here = fit_path(X, y, classes, l2s, tolerance=1e-6)
    for a, b in zip(here, fit_path(X, y, classes, l2s, tolerance=1e-6, device="cuda"), strict=True):
        assert b.certificate.converged
        assert b.certificate.objective == pytest.approx(a.certificate.objective, rel=2e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros((4, 3))}, "float32"),
        ({"X": np.zeros((0, 3), np.float32)}, "N, D"),
        ({"X": np.zeros(4, np.float32)}, "N, D"),
        ({"X": np.full((4, 3), np.nan, np.float32)}, "not finite"),
        ({"X": np.full((4, 3), np.inf, np.float32)}, "not finite"),
        ({"y": np.zeros(4, np.int32)}, "int64"),
        ({"y": np.zeros(3, np.int64)}, "int64"),
        ({"y": np.array([0, 1, 2, 0])}, "outside"),
        ({"y": np.array([0, 1, -1, 0])}, "outside"),
        ({"classes": 1}, "two classes"),
        ({"l2s": []}, "l2"),
        ({"l2s": [1.0, 0.0]}, "l2"),
        ({"l2s": [float("nan")]}, "l2"),
        ({"l2s": [float("inf")]}, "l2"),
    ],
)
def test_says_what_is_wrong_with_an_argument(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"X": np.zeros((4, 3), np.float32), "y": np.array([0, 1, 1, 0]), "classes": 2, "l2s": [1.0]}
    with pytest.raises(ValueError, match=message):
        fit_path(**{**good, **change})


def test_features_without_information_give_the_class_shares() -> None:
    y = np.array([0] * 1 + [1] * 2 + [2] * 5, dtype=np.int64)
    (head,) = fit_path(np.zeros((8, 4), np.float32), y, 3, [1e-3], tolerance=1e-9)
    shares = np.exp(head.bias) / np.exp(head.bias).sum()
    np.testing.assert_allclose(shares, [1 / 8, 2 / 8, 5 / 8], rtol=1e-5)
    assert not head.weight.any()


def test_the_reference_starts_and_stops_where_told() -> None:
    X, y, classes = TASKS["ten classes"]
    (start,) = fit_path(X, y, classes, [1e-2], tolerance=1e-6)
    cold = fit_reference(X, y, 1e-2)
    warm = fit_reference(X, y, 1e-2, start=start)
    assert isinstance(warm, Head)
    assert cold.certificate.converged
    assert warm.certificate.iterations < cold.certificate.iterations
    hasty = fit_reference(X, y, 1e-6, max_iterations=2)  # warnings are errors: scikit-learn's own must not come through
    assert not hasty.certificate.converged
    assert hasty.certificate.iterations == 2
    assert certify(X, y, hasty.weight, hasty.bias, 1e-6)[0] == hasty.certificate.objective


def test_the_reference_wants_every_class() -> None:
    X, _, _ = TASKS["two classes"]
    with pytest.raises(ValueError, match="must have a row"):
        fit_reference(X, np.arange(len(X), dtype=np.int64) % 2 * 2, 1e-2)
    with pytest.raises(ValueError, match="two classes"):
        fit_reference(X, np.zeros(len(X), np.int64), 1e-2)
    with pytest.raises(ValueError, match="positive"):
        fit_reference(X, np.arange(len(X), dtype=np.int64) % 2, 0.0)


def test_the_reference_passes_other_warnings_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression.fit

    def grumble(self: LogisticRegression, X: Array, y: Array, sample_weight: Array | None = None) -> LogisticRegression:
        warnings.warn("something else", UserWarning, stacklevel=1)
        return fit(self, X, y, sample_weight)

    monkeypatch.setattr(LogisticRegression, "fit", grumble)
    X, y, _ = TASKS["two classes"]
    with pytest.warns(UserWarning, match="something else"):
        fit_reference(X, y, 1e-2)


@pytest.mark.parametrize("l2", [1e-10, 1e-12])
def test_a_certificate_is_true_where_columns_differ_in_scale(l2: float) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 150)
    X = rng.standard_normal((150, 4))
    X[:, :3] += 1.5 * np.eye(3)[y]
    X[:, 3] += y
    X = ((X - X.mean(axis=0)) * [1e-4, 1, 1e-4, 1e-8]).astype(np.float32)
    (head,) = fit_path(X, y, 3, [l2])
    judge = LogisticRegression(C=1 / (l2 * len(y)), tol=1e-12, max_iter=1000, solver="newton-cholesky")
    judge.fit(X.astype(np.float64), y)
    least, _ = certify(X, y, judge.coef_, judge.intercept_, l2)
    assert head.certificate.converged
    assert head.certificate.objective <= least + 1e-6 * (least + 0.01)


def test_rows_that_are_certain_still_tell_the_way() -> None:
    # Few rows of many columns: at a weak l2 each is right by more than float32 can hold of a probability.
    rng = np.random.default_rng(0)
    y = np.arange(12) % 10
    X = (rng.standard_normal((12, 1280)) + 0.5 * rng.standard_normal((10, 1280))[y]).astype(np.float32)
    for head in fit_path(X, y, 10, [1e-2, 1e-4, 1e-6]):
        assert head.certificate.converged
        judge = fit_reference(X.astype(np.float64), y, head.l2, tolerance=1e-10, max_iterations=20_000).certificate
        assert abs(head.certificate.objective - judge.objective) <= 1e-6 * judge.objective + 1e-8


@pytest.mark.parametrize(("spacing", "degree"), [(0.25, 3), (0.3, 3), (0.5, 2), (1.0, 2)])
def test_a_start_lies_on_a_cubic_through_near_solutions_and_on_a_parabola_through_others(
    spacing: float, degree: int
) -> None:
    """A polynomial of the degree is continued exactly; one of a higher degree is not."""

    def solution(l2: float, of_degree: int) -> torch.Tensor:
        return torch.tensor([[math.log10(l2) ** of_degree, 1.0]], dtype=torch.float64)

    l2s = [10 ** (2 - spacing * i) for i in range(6)]
    ahead = l2s[-1] * 10 ** (-2 * spacing)
    nothing = torch.zeros(1, 2, dtype=torch.float64)
    for of_degree in (1, 2, 3, 4):
        start = path.extrapolate({l2: solution(l2, of_degree) for l2 in l2s}, ahead, nothing)
        is_exact = torch.allclose(start, solution(ahead, of_degree), rtol=1e-9, atol=1e-9)
        assert is_exact == (of_degree <= degree)


def test_a_start_goes_no_further_ahead_than_the_solutions_are_apart() -> None:
    known = {l2: torch.tensor([[math.log10(l2)]], dtype=torch.float64) for l2 in (1.0, 10**-0.25, 10**-0.5, 10**-0.75)}
    start = path.extrapolate(known, 1e-6, torch.zeros(1, 1, dtype=torch.float64))
    assert float(start) == pytest.approx(-1.5), "a span of 0.75 beyond the last one"
    assert path.extrapolate({}, 1e-6, torch.zeros(1, 1)).tolist() == [[0.0]]
