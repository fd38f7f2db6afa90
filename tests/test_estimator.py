"""LinearProbe is a scikit-learn classifier, and solves scikit-learn's objective."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.estimator_checks import parametrize_with_checks

import probeline
from probeline import LinearProbe
from probeline.heads.logistic.path import MAX_ITERATIONS, TOLERANCE

Array = npt.NDArray[Any]


pytestmark = pytest.mark.usefixtures("one_thread")


@parametrize_with_checks([LinearProbe()])
def test_scikit_learns_own_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def iris() -> tuple[Array, Array]:
    X, y = load_iris(return_X_y=True)
    return X, y


def wine() -> tuple[Array, Array]:
    X, y = load_wine(return_X_y=True)
    return scale(X), y


def digits() -> tuple[Array, Array]:
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def breast_cancer() -> tuple[Array, Array]:
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


def two_irises() -> tuple[Array, Array]:
    X, y = iris()
    return X[50:], np.array(["versicolor", "virginica"])[y[50:] - 1]


def objective(model: Any, X: Array, y: Array, weights: Array) -> float:
    """LogisticRegression's, by the mean, in float64."""
    logits = X.astype(np.float64) @ model.coef_.T.astype(np.float64) + model.intercept_
    if logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    taken = logits[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    total = weights.sum()
    lost = float(weights @ (logsumexp(logits, axis=1) - taken)) / total
    return lost + float(np.square(model.coef_.astype(np.float64)).sum()) / (2 * model.C * total)


def check_agreement(ours: Any, X: Array, y: Array, weights: Array, *, given: Array | None = None) -> None:
    """Hold a fit against LogisticRegression's on centred columns, where its own rounding is least."""
    centre = X.mean(axis=0)
    theirs = LogisticRegression(C=ours.C, class_weight=ours.class_weight, tol=1e-10, max_iter=10_000)
    theirs.fit(X - centre, y, sample_weight=given)
    least = objective(theirs, X - centre, y, weights)
    assert objective(ours, X, y, weights) <= least + 1e-6 * least + 1e-8
    top = np.sort(theirs.predict_proba(X - centre), axis=1)
    clear = top[:, -1] - top[:, -2] > 1e-3
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(ours.predict(X)[clear], theirs.predict(X - centre)[clear])


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("task", [iris, wine, digits, breast_cancer, two_irises])
def test_it_finds_scikit_learns_minimum(task: Callable[[], tuple[Array, Array]], C: float) -> None:
    X, y = task()
    ours = LinearProbe(C=C).fit(X, y)
    check_agreement(ours, X, y, np.ones(len(y)))
    logits = 1 if len(ours.classes_) == 2 else len(ours.classes_)
    assert ours.coef_.shape == (logits, X.shape[1])
    assert ours.intercept_.shape == (logits,)
    assert ours.n_iter_.shape == (1,)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 0.2, 2: 5.0}])
@pytest.mark.parametrize("task", [wine, breast_cancer])
def test_weights_of_rows_and_classes_multiply(
    task: Callable[[], tuple[Array, Array]], class_weight: Any, given: bool
) -> None:
    X, y = task()
    if isinstance(class_weight, dict):
        class_weight = {label: class_weight[label] for label in np.unique(y)}
    rows = np.random.default_rng(0).integers(0, 4, len(y)) / 2 if given else np.ones(len(y))
    ours = LinearProbe(class_weight=class_weight).fit(X, y, sample_weight=rows if given else None)
    sums = np.bincount(y, rows)
    if class_weight == "balanced":
        of_class = sums.sum() / (len(sums) * sums)
    else:
        of_class = np.array([1.0] * len(sums) if class_weight is None else list(class_weight.values()))
    check_agreement(ours, X, y, rows * of_class[y], given=rows if given else None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_means_cost_nothing(dtype: Any) -> None:
    X, y = iris()
    far = (X + 1e4).astype(dtype)
    check_agreement(LinearProbe().fit(far, y), far.astype(np.float64), y, np.ones(len(y)))


@pytest.mark.parametrize("factor", [1e-5, 1e-2, 1e5, 1e20])
def test_a_factor_of_all_columns_is_one_of_c(factor: float) -> None:
    X, y = iris()
    plain, scaled = LinearProbe().fit(X, y), LinearProbe(C=factor**-2).fit(X * factor, y)
    # Strong convexity: what each may be above the minimum, 2e-6 of 0.2 nats, bounds the coefficients' distance.
    l2 = 1 / len(y)
    bound = 2 * np.sqrt(2 * 1e-6 * 0.21 / l2)
    assert np.linalg.norm(scaled.coef_ * factor - plain.coef_) <= bound


def test_columns_of_very_different_scale() -> None:
    X, y = load_breast_cancer(return_X_y=True)  # standard deviations from 0.003 to 569
    ours = LinearProbe(C=100.0).fit(X, y)
    theirs = LogisticRegression(C=100.0, tol=1e-10, max_iter=1000, solver="newton-cholesky").fit(X - X.mean(0), y)
    even = np.ones(len(y))
    least = objective(theirs, X - X.mean(0), y, even)
    assert objective(ours, X, y, even) <= least + 1e-6 * least + 1e-8


def test_a_weight_is_a_number_of_rows_to_the_last_bit() -> None:
    X, y = wine()
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, len(y))
    repeated = rng.permutation(np.repeat(np.arange(len(y)), counts))
    weighted, plain = LinearProbe().fit(X, y, sample_weight=counts), LinearProbe().fit(X[repeated], y[repeated])
    np.testing.assert_array_equal(weighted.coef_, plain.coef_)
    np.testing.assert_array_equal(weighted.intercept_, plain.intercept_)


def test_equal_rows_of_two_classes_stay_apart() -> None:
    X = np.repeat(iris()[0][:20], 2, axis=0)
    chances = LinearProbe().fit(X, np.arange(40) % 2).predict_proba(X)
    np.testing.assert_allclose(chances, 0.5, atol=1e-3)


@pytest.mark.parametrize("y", [np.arange(6) % 2, np.arange(6) % 3])
def test_a_class_without_weight_is_known_and_improbable(y: Array) -> None:
    X = np.random.default_rng(0).standard_normal((6, 4))
    by_class = LinearProbe(class_weight={label: float(label > 0) for label in np.unique(y)}).fit(X, y)
    by_row = LinearProbe(class_weight="balanced").fit(X, y, sample_weight=(y > 0).astype(float))
    for probe in (by_class, by_row):
        chances = probe.predict_proba(X)
        assert chances.shape == (6, y.max() + 1)
        assert (chances[:, 0] < 1e-4).all()


@pytest.mark.parametrize(
    "columns", [lambda X: X[:, :1], lambda X: np.full((len(X), 2), 0.1), lambda X: np.c_[X, np.full(len(X), 7.3)]]
)
def test_few_and_constant_columns(columns: Callable[[Array], Array]) -> None:
    X, y = iris()
    X = columns(X)
    ours = LinearProbe().fit(X, y)
    theirs = LogisticRegression(tol=1e-10, max_iter=10_000).fit(X, y)
    even = np.ones(len(y))
    assert objective(ours, X, y, even) <= (1 + 1e-6) * objective(theirs, X, y, even) + 1e-8


def test_fewer_rows_than_columns_and_a_row_a_class() -> None:
    X = np.random.default_rng(0).standard_normal((5, 8))
    assert LinearProbe(C=100.0).fit(X, np.arange(5)).score(X, np.arange(5)) == 1


@pytest.mark.parametrize("task", [wine, breast_cancer])
def test_logarithms_stay_finite(task: Callable[[], tuple[Array, Array]]) -> None:
    X, y = task()
    probe = LinearProbe().fit(X, y)
    near, far = probe.predict_log_proba(X), probe.predict_log_proba(1e4 * X)
    np.testing.assert_allclose(np.exp(near), probe.predict_proba(X), rtol=1e-10)
    assert np.isfinite(far).all()


def test_strings_and_pipelines_and_searches() -> None:
    X, y = load_wine(return_X_y=True)
    names = np.array(["barolo", "grignolino", "barbera"])[y]
    search = GridSearchCV(make_pipeline(StandardScaler(), LinearProbe()), {"linearprobe__C": [1e-4, 1.0]}, cv=3)
    search.fit(X, names)
    assert search.best_params_ == {"linearprobe__C": 1.0}
    assert search.score(X, names) > 0.99
    assert list(search.classes_) == ["barbera", "barolo", "grignolino"]


def test_clones_and_parameters() -> None:
    probe = clone(LinearProbe(C=3.0, class_weight="balanced").set_params(tol=1e-4))
    assert probe.get_params() == {"C": 3.0, "class_weight": "balanced", "tol": 1e-4, "max_iter": MAX_ITERATIONS}
    assert inspect.signature(LinearProbe).parameters["tol"].default == TOLERANCE


def test_a_fit_that_does_not_converge_says_so() -> None:
    X, y = digits()
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        probe = LinearProbe(C=100.0, max_iter=2).fit(X, y)
    assert probe.n_iter_[0] == 2


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"C": 0}, "C must"),
        ({"C": np.inf}, "C must"),
        ({"C": "1"}, "C must"),
        ({"tol": -1e-3}, "tol must"),
        ({"max_iter": 0}, "max_iter must"),
        ({"max_iter": 1.5}, "max_iter must"),
        ({"class_weight": "even"}, "class_weight must"),
        ({"class_weight": {0: 1.0, 1: -1.0, 2: 1.0}}, "negative"),
    ],
)
def test_parameters_are_checked_when_fitting(parameters: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        LinearProbe(**parameters).fit(*iris())


def test_weights_are_checked() -> None:
    X, y = iris()
    for weights in (np.full(len(y), -1.0), np.zeros(len(y)), np.ones((len(y), 2)), np.ones(3)):
        with pytest.raises(ValueError, match=r"weight|samples"):
            LinearProbe().fit(X, y, sample_weight=weights)


def test_a_stored_probe_predicts_without_torch(tmp_path: Path) -> None:
    X, y = iris()
    probe = LinearProbe().fit(X, y)
    (tmp_path / "probe").write_bytes(pickle.dumps((probe, X, probe.predict(X))))
    program = (
        "import pickle, sys\nfrom pathlib import Path\n"
        "probe, X, y = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "assert (probe.predict(X) == y).all()\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "probe"], check=True)


def test_the_package_alone_imports_no_scikit_learn() -> None:
    assert "LinearProbe" in dir(probeline)
    program = (
        "import sys, probeline\nassert not {'torch', 'sklearn', 'numpy'} & set(sys.modules)\n"
        "from probeline import LinearProbe\nassert LinearProbe.__module__ == 'probeline.estimator'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
