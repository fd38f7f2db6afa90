"""Class weights from the command line to the report: what is fitted, what a row is called, and what is refused."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight

import probeline
from probeline.analysis.probe_features import ProbeFeatures
from probeline.cli import program
from probeline.cli.parser import parse
from probeline.cli.steps import settings_of
from probeline.errors import BadOption
from probeline.evaluate.exact_probe import select_exact_probe
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.heads import exact
from probeline.evaluate.score import refit
from probeline.finetuning.fitted_probe import FittedProbe, Teacher
from probeline.options.class_weights import class_weight_options, class_weight_words
from probeline.options.settings import Settings
from probeline.report.model.rows import blocks
from probeline.results.curve import CURVES
from probeline.results.score import SCORES, Score
from probeline.session import Session
from small_runs import extracted

pytestmark = pytest.mark.usefixtures("one_thread")

L2 = (1e-2, 1.0, 10.0)
CLASSES = ("fine", "rare", "so-so")


@pytest.fixture(scope="module", autouse=True)
def three_l2() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("L2_GRID", "REFERENCE_L2", "RIDGE_L2"):
            patch.setattr(exact, name, L2)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with embeddings of three classes that overlap, one of them rare."""
    folder = tmp_path_factory.mktemp("weights")
    rng = np.random.default_rng(4)  # with which top-1 and macro select different l2
    y = np.repeat(CLASSES, (150, 20, 60))
    centres = dict(zip(CLASSES, 0.4 * rng.standard_normal((3, 6)), strict=True))
    X = rng.standard_normal((len(y), 6)) + np.stack([centres[name] for name in y])
    np.savez(folder / "few.npz", X=X.astype(np.float32), y=y)
    return folder


def run(place: Path, verb: str, *options: str) -> int:
    words = ["--cache", str(place / "cache"), "--reports", str(place / "reports"), *options]
    return program.main([verb, "--dataset", f"features:{place / 'few.npz'}", *words])


@pytest.fixture(scope="module")
def scored(place: Path) -> dict[tuple[str, str], Score]:
    """The scores by method and weights of three runs."""
    for options in ((), ("--class-weights", "balanced"), ("--class-weights", "rare=4", "fine=0.5", "so-so=1")):
        assert run(place, "probe", "--sgd", "epochs=3", "lr=1e-2", *options) == 0
        assert run(place, "baselines", *options) == 0
    scores = SCORES.load(place / "reports" / "features--few")[0]
    return {(score.method, str(score.options.get("class_weights", ""))): score for score in scores}


WEIGHTS: dict[str, Any] = {"": None, "balanced": "balanced", "{'fine': 0.5, 'rare': 4.0}": {0: 0.5, 1: 4.0, 2: 1.0}}


def split(place: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the standardised train rows with their labels, and the test rows."""
    settings = Settings.of(dataset=f"features:{place / 'few.npz'}", cache=place / "cache", reports=place / "reports")
    splits = Session(settings).splits
    X, y = (np.load(place / "few.npz")[name] for name in ("X", "y"))
    scaler = StandardScaler().fit(X[splits.train.rows])
    labels = np.searchsorted(CLASSES, y[splits.train.rows])
    return scaler.transform(X[splits.train.rows]), labels, scaler.transform(X[splits.test.rows])


@pytest.mark.parametrize("name", WEIGHTS)
def test_heads_are_scikit_learns_with_these_class_weights(
    name: str, place: Path, scored: dict[tuple[str, str], Score]
) -> None:
    X, y, X_test = split(place)
    weights = WEIGHTS[name]
    total = compute_sample_weight(weights, y).sum()
    for method in ("probe", "logistic"):
        score = scored[method, name]
        model = LogisticRegression(C=1 / (score.chosen["l2"] * total), class_weight=weights, tol=1e-8, max_iter=10_000)
        assert score.predictions == tuple(model.fit(X, y).predict(X_test).tolist())
    ridge = RidgeClassifier(alpha=scored["ridge", name].chosen["l2"] * total, class_weight=weights)
    assert scored["ridge", name].predictions == tuple(ridge.fit(X, y).predict(X_test).tolist())


def test_weights_change_predictions_and_keys(scored: dict[tuple[str, str], Score]) -> None:
    methods = ("probe", "probe-refit", "probe-sgd", "logistic", "ridge")
    unweighted = {(method, "") for method in ("knn", "knn-weighted", "centroid", "centroid-shrunken")}
    assert set(scored) == {(method, name) for method in methods for name in WEIGHTS} | unweighted
    for method in methods:
        rows = [scored[method, name] for name in WEIGHTS]
        assert len({row.key for row in rows}) == 3
        assert len({row.predictions for row in rows}) > 1, method
        rare = [row.predictions.count(1) for row in rows]
        assert max(rare[1:]) > rare[0], "the rare class is predicted more often"


def test_the_same_weights_in_other_words_are_the_same_row(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, "baselines", "--class-weights", "fine=.5", "rare=4e0") == 0
    assert capsys.readouterr().out.count("already scored, skipped") == 6
    assert run(place, "baselines", "--class-weights", "fine=3", "rare=3", "so-so=3") == 0
    assert capsys.readouterr().out.count("already scored, skipped") == 6, "equal weights are none"


def test_what_has_no_use_for_them_is_said_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, "baselines", "--class-weights", "balanced") == 0
    shown = capsys.readouterr()
    without = "k-NN, k-NN (weighted), nearest centroid and shrunken centroid"
    line = f"baselines: class weights do not concern {without}: fitted as without them"
    assert (shown.out + shown.err).count(line) == 1
    assert run(place, "baselines") == 0
    shown = capsys.readouterr()
    assert "class weights" not in shown.out + shown.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("raer=2",),
            "unknown class in --class-weights 'raer' (expected one of: fine, rare, so-so); did you mean rare?",
        ),
        (("rare=0",), "bad --class-weights (expected balanced alone, or CLASS=WEIGHT with a number above 0"),
        (("rare=-1",), "got rare=-1)"),
        (("rare=nan",), "got rare=nan)"),
        (("rare=inf",), "got rare=inf)"),
        (("rare",), "got rare)"),
        (("=3",), "got =3)"),
        (("rare=1", "rare=2"), "got rare twice)"),
        (("balanced", "rare=2"), "got balanced)"),
    ],
)
@pytest.mark.parametrize("verb", ["probe", "compare"])
def test_other_words_are_refused(
    verb: str, words: tuple[str, ...], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, verb, "--class-weights", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_names_with_signs_and_options_that_request_them_again() -> None:
    names = ("a=b", "c d", "balanced", "e")
    given = class_weight_options(("a=b=2", "c d=0.1", "balanced=3"), names)
    assert given == {"class_weights": {"a=b": 2.0, "c d": 0.1, "balanced": 3.0}}
    words = class_weight_words(given)
    assert words == ("a=b=2", "c d=0.1", "balanced=3")
    assert class_weight_options(words, names) == given
    assert class_weight_words({"class_weights": "balanced"}) == ("balanced",)
    assert class_weight_words({}) == ()


@pytest.mark.slow
def test_rows_are_named_by_their_weights_and_print_them(
    place: Path, scored: dict[tuple[str, str], Score], capsys: pytest.CaptureFixture[str]
) -> None:
    titles = {(row.method, row.title) for block in blocks(list(scored.values())) for row in block.rows}
    for title in ("", ", balanced classes", ", class weights fine x 0.5, rare x 4"):
        assert ("ridge", f"ridge regression{title}") in titles
    assert ("knn", "k-NN") in titles
    rows = [row.short for block in blocks(list(scored.values())) for row in block.rows if row.method == "ridge"]
    assert rows[0] == "ridge regression", "the row without weights comes first"
    assert run(place, "compare", "--class-weights", "balanced", "--sgd", "epochs=3", "lr=1e-2") == 0
    assert "Not run" not in capsys.readouterr().out
    text = (place / "reports" / "features--few" / "report.md").read_text(encoding="utf-8")
    assert "class weights balanced" in text, "among the conditions"
    assert "Probabilities of rows with class weights are those of a world with other class frequencies" in text
    assert "--metric macro selects by the mean accuracy of the classes" in text
    page = (place / "reports" / "features--few" / "index.html").read_text(encoding="utf-8")
    assert "--class-weights fine=0.5 rare=4" in page, "the command of each row"
    # Without the option the other rows are the requested ones.
    assert run(place, "compare", "--class-weights", "rare=9", "--sgd", "epochs=3", "lr=1e-2") == 0
    assert "Not run: ridge regression of few" in capsys.readouterr().out


def test_a_printed_command_makes_the_row_again(scored: dict[tuple[str, str], Score], place: Path) -> None:
    from probeline.report.records.row_commands import commands

    settings = Settings.of(dataset=f"features:{place / 'few.npz'}", cache=place / "cache", reports=place / "reports")
    shown = commands(settings, blocks(list(scored.values())))
    for (method, _), score in scored.items():
        again, _ = settings_of(parse(shlex.split(shown[score.key])[1:]))
        found = class_weight_options(again.fitting.class_weights, score.class_names)
        assert found == {name: score.options[name] for name in ("class_weights",) if name in score.options}, method


@pytest.mark.parametrize("method", ["probe", "probe-refit", "probe-sgd", "logistic", "ridge"])
def test_a_head_is_fitted_again_with_its_weights(
    method: str, place: Path, scored: dict[tuple[str, str], Score]
) -> None:
    settings = Settings.of(dataset=f"features:{place / 'few.npz'}", cache=place / "cache", reports=place / "reports")
    session = Session(settings)
    session = session.under(session.with_embeddings(settings))
    features = CachedFeatures(session, *session.every_tap(session.settings.nets.backbones[0]))
    X = np.load(place / "few.npz")["X"][session.splits.test.rows]
    for name in WEIGHTS:
        score = scored[method, name]
        tensors = refit(features, score).tensors
        logits = ((X - tensors["mean"]) / tensors["std"]) @ tensors["weight"].T + tensors["bias"]
        assert score.predictions == tuple(logits.argmax(1).tolist())


def test_a_classifier_gets_sample_weights_or_is_refused(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    options = ("--sgd", "epochs=3", "lr=1e-2", "--class-weights", "balanced", "--estimator")
    assert run(place, "probe", *options, "sklearn.svm:SVC") == 0
    score = next(s for s in SCORES.load(place / "reports" / "features--few")[0] if s.method == "estimator-svc")
    X, y, X_test = split(place)
    expected = SVC(class_weight="balanced").fit(X, y)
    assert score.predictions == tuple(expected.predict(X_test).tolist())
    assert score.predictions != tuple(SVC().fit(X, y).predict(X_test).tolist())
    capsys.readouterr()
    assert run(place, "probe", *options, "sklearn.neighbors:KNeighborsClassifier") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("probeline: the estimator has no use for --class-weights: sklearn.neighbors:KNeighbors")


def test_python_takes_them_as_scikit_learn_does(place: Path, scored: dict[tuple[str, str], Score]) -> None:
    X, y = (np.load(place / "few.npz")[name] for name in ("X", "y"))
    for weights, name in (("balanced", "balanced"), ({"rare": 4, "fine": 0.5}, "{'fine': 0.5, 'rare': 4.0}")):
        found = probeline.probe(X, y, method="ridge", class_weights=weights)
        assert found.scores[0].options["class_weights"] == scored["ridge", name].options["class_weights"]
        assert found.scores[0].predictions == scored["ridge", name].predictions
    with pytest.raises(BadOption, match="class weights do not concern this method"):
        probeline.probe(X, y, method="knn", class_weights="balanced")


# The probe where others begin with it


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return extracted(tmp_path_factory.mktemp("weighted") / "cache")


@pytest.mark.slow
def test_training_begins_with_a_probe_that_is_weighted_and_selected_as_asked(digits: Session) -> None:
    def opened(**options: Any) -> Session:
        return digits.under(digits.settings.changed(**options), keep_features=True)

    net = digits.backbone("squeezenet1_1")[0]
    plain, weighted = opened(), opened(class_weights=("3=50",), metric="macro")
    first, second = (FittedProbe(session, net) for session in (plain, weighted))
    assert first.fitted == {}
    assert second.fitted == {"select_by": "macro", "class_weights": {"3": 50.0}}
    assert np.abs(first.layer[0] - second.layer[0]).max() > 1e-4
    rows = digits.splits.train
    X = digits.features(net, rows.part).features[rows.rows]
    assert second.predict_logits(X).argmax(1).tolist().count(3) >= first.predict_logits(X).argmax(1).tolist().count(3)
    teachers = [Teacher(session, net) for session in (plain, weighted)]
    assert teachers[0].identity.keys() < teachers[1].identity.keys()
    assert np.abs(teachers[0].train_logits - teachers[1].train_logits).max() > 1e-3


def test_a_gallery_finds_the_weighted_probe_again(digits: Session) -> None:
    from probeline.commands import probe

    session = digits.under(
        digits.settings.changed(class_weights=("3=50",), metric="macro", sgd=("epochs=1", "lr=1e-3"))
    )
    probe.run(session)
    score = next(score for score in SCORES.load(session.reports)[0] if score.method == "probe")
    assert score.options["select_by"] == "macro"
    _, facts = ProbeFeatures(digits, score).refit
    assert facts.held
    assert facts.same == score.n_test


def test_a_curve_is_weighted_and_selected_as_asked(place: Path) -> None:
    common = ("--fractions", "50", "100", "--shots", "0", "--draws", "1")
    assert run(place, "curve", *common) == 0
    assert run(place, "curve", *common, "--class-weights", "balanced", "--metric", "macro") == 0
    plain, weighted = sorted(CURVES.load(place / "reports" / "features--few")[0], key=lambda c: len(c.options))
    assert (plain.options, weighted.options) == ({}, {"select_by": "macro", "class_weights": "balanced"})
    whole = weighted.points[-1]
    X, y, X_test = split(place)
    total = compute_sample_weight("balanced", y).sum()
    model = LogisticRegression(C=1 / ((whole.l2 or 0) * total), class_weight="balanced", tol=1e-8, max_iter=10_000)
    truth = np.load(place / "few.npz")["y"]
    settings = Settings.of(dataset=f"features:{place / 'few.npz'}", cache=place / "cache", reports=place / "reports")
    labels = np.searchsorted(CLASSES, truth[Session(settings).splits.test.rows])
    assert whole.test_top1 == pytest.approx((model.fit(X, y).predict(X_test) == labels).mean())


def test_curves_and_the_probe_of_trainings_are_selected_by_the_metric(place: Path) -> None:
    common = ("--fractions", "100", "--shots", "0", "--draws", "1")
    folder = place / "by metric"
    for metric in ("top1", "macro"):
        words = ("--cache", str(place / "cache"), "--reports", str(folder), "--metric", metric)
        assert program.main(["curve", "--dataset", f"features:{place / 'few.npz'}", *words, *common]) == 0
    found = {c.options.get("select_by"): c.points[0].l2 for c in CURVES.load(folder / "features--few")[0]}
    # By scikit-learn on the same val rows: top-1 of 0.649, 0.676 and 0.649, macro of 0.519, 0.370 and 0.333.
    assert found == {None: 1.0, "macro": 1e-2}
    settings = Settings.of(dataset=f"features:{place / 'few.npz'}", cache=place / "cache", reports=place / "reports")
    session = Session(settings)
    session = session.under(session.with_embeddings(settings))
    features = CachedFeatures(session, *session.every_tap(session.settings.nets.backbones[0]))
    chosen = [select_exact_probe(features, fitted=own)[0] for own in ({}, {"select_by": "macro"})]
    for selection, metric in zip(chosen, ("top1", "macro"), strict=True):
        assert selection.path[selection.index][metric] == max(point[metric] for point in selection.path)
    assert [selection.selected["l2"] for selection in chosen] == [1.0, 1e-2]
