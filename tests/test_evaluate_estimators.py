"""scikit-learn classifiers as heads: chosen on validation, scored like all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.linear_model import LinearRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import probeline
from probeline.cli import program
from probeline.errors import BadOption
from probeline.evaluate.heads.estimators import FittedEstimator, _logits, estimator_of, requested_estimator
from probeline.evaluate.heads.registry import head_method
from probeline.names import estimator_method
from probeline.options.groups.fitting import HeadOptions
from probeline.results.methods import method_info, order

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)
Y = np.arange(90) % 3
X = (RNG.normal(size=(90, 6)) + 1.5 * (Y[:, None] == np.arange(6))).astype(np.float32)


def test_a_classifier_is_chosen_on_validation() -> None:
    result = probeline.probe(X, Y, method=SVC(), params={"C": [1e-3, 1.0], "kernel": ["rbf", "linear"]})
    score = result.scores[0]
    assert len(score.path) == 4
    assert score.chosen in [{"C": c, "kernel": kernel} for c in (1e-3, 1.0) for kernel in ("rbf", "linear")]
    assert score.val_top1 == max(point["top1"] for point in score.path)
    assert score.options["estimator"] == "sklearn.svm._classes:SVC"
    assert result.method == "estimator-svc"


class Contrary(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts another class than its scores favour."""

    def fit(self, X: Any, y: Any) -> Contrary:
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X: Any) -> Any:
        return np.tile([2.0, 1.0, 0.0], (len(X), 1))

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[2])


def test_predictions_are_those_of_predict_and_unknown_classes_are_last() -> None:
    model = Contrary().fit(X, np.array([0, 2, 3]))
    logits = _logits(FittedEstimator(model, classes=5, converged=True), X[:4])
    assert logits.argmax(axis=1).tolist() == [3] * 4
    assert (logits[:, [1, 4]] < logits[:, [0, 2, 3]].min()).all()
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("model", [RidgeClassifier(), SVC(), SVC(decision_function_shape="ovo")], ids=str)
def test_two_classes_and_three_have_a_column_each(model: Any) -> None:
    for classes in (2, 3):
        known = classes > Y
        fitted = FittedEstimator(model.fit(X[known], Y[known]), classes, converged=True)
        logits = _logits(fitted, X)
        assert logits.shape == (90, classes)
        assert (logits.argmax(axis=1) == fitted.model.predict(X)).all()


def test_options_make_the_key() -> None:
    options = HeadOptions()
    plain, other = estimator_of(SVC(), {"C": [1]}), estimator_of(SVC(gamma=0.1), {"C": [1]})
    assert plain.options(options) != other.options(options)
    assert estimator_of(make_pipeline(SVC()), {}).name == "estimator-pipeline"
    assert requested_estimator(options) is None


def test_names_are_of_the_class() -> None:
    assert estimator_method("sklearn.ensemble:RandomForestClassifier") == "estimator-random-forest-classifier"
    assert method_info("estimator-svc").title == "svc (scikit-learn)"
    assert order("estimator-svc") > order("scratch")
    with pytest.raises(BadOption, match="cannot be exported"):
        head_method("estimator-svc")


@pytest.mark.parametrize(
    ("path", "params", "message"),
    [
        ("sklearn.svm", (), "bad --estimator"),
        ("no_such_module:SVC", (), "no such estimator"),
        ("sklearn.svm:Nonsense", (), "no such estimator"),
        ("sklearn.pipeline:Pipeline", (), "cannot be created"),
        ("collections:Counter", (), "fit, predict, get_params"),
        ("sklearn.svm:SVC", ("nonsense=1",), "no parameter nonsense"),
        ("sklearn.svm:SVC", ("C",), "bad --estimator-params"),
        ("sklearn.svm:SVC", ("C=1", "C=2"), "C twice"),
    ],
)
def test_what_is_no_classifier_is_refused(path: str, params: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        requested_estimator(HeadOptions(estimator=path, estimator_params=params))


@pytest.mark.parametrize("model", [LinearRegression(), KMeans(2)], ids=str)
def test_what_has_no_classes_is_refused_when_it_is_fitted(model: Any) -> None:
    with pytest.raises(BadOption, match="a classifier, which has classes_"):
        probeline.probe(X, Y, method=model)


@pytest.mark.parametrize("classes", [3, 4])
def test_scores_of_pairs_of_classes_are_not_taken_for_scores_of_classes(classes: int) -> None:
    y = np.arange(90) % classes
    model = make_pipeline(StandardScaler(), SVC(decision_function_shape="ovo")).fit(X, y)
    logits = _logits(FittedEstimator(model, classes, converged=True), X)
    assert (logits.argmax(axis=1) == model.predict(X)).all()
    assert np.unique(logits).tolist() == [-1.0, 0.0]


def test_a_single_value_is_chosen_by_nothing() -> None:
    summary = probeline.probe(X, Y, method=SVC(), params={"C": [2]}).summary()
    assert "rows, C 2\n" in summary


def test_a_parameter_that_does_not_fit_is_said_in_one_line() -> None:
    with pytest.raises(BadOption, match="cannot be fitted"):
        probeline.probe(X, Y, method=SVC(), params={"C": [-1.0]})


def test_the_command_fits_and_compare_knows_its_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--dataset", "digits", "--limit", "60", "--backbone", "squeezenet1_1", "--weights", "none"]
    common += ["--image-size", "32", "--cache", str(tmp_path / "cache"), "--reports", str(tmp_path / "reports")]
    estimator = ["--estimator", "sklearn.tree:DecisionTreeClassifier", "--estimator-params", "max_depth=2,None"]
    quick = ["--sgd", "epochs=1", "lr=1e-3"]
    assert program.main(["probe", *common, *quick, *estimator]) == 0
    assert "estimator-decision-tree-classifier: digits-limit60" in capsys.readouterr().out
    assert program.main(["compare", *common, *quick, *estimator]) == 0
    shown = capsys.readouterr().out
    assert "decision-tree-classifier" in shown
    assert not any("decision-tree" in line for line in shown.splitlines() if line.startswith("Not run"))
    page = next((tmp_path / "reports").rglob("index.html")).read_text(encoding="utf-8")
    assert "--estimator sklearn.tree:DecisionTreeClassifier --estimator-params max_depth=2,None" in page
