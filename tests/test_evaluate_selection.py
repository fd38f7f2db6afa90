"""Choosing among candidates: by val alone, out of fold, with nothing fitted twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from probeline.commands import baselines, probe
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.heads.exact import PROBE_REFIT, RIDGE_L2
from probeline.evaluate.heads.method import Candidates, FitSettings, Fold, HeadMethod, Selection
from probeline.evaluate.score import refit
from probeline.evaluate.selection import select
from probeline.evaluate.task import Loss, SingleLabel, Task
from probeline.files.decode import encode
from probeline.heads.linear import decision
from probeline.heads.logistic import path as logistic
from probeline.heads.neighbours import nearest_centroid
from probeline.heads.ridge import fit_ridge
from probeline.heads.standardize import Scaler, apply, fit_scaler
from probeline.heads.temperature import fit_temperature
from probeline.identity import SCORE_VERSION, seal
from probeline.metrics import scores
from probeline.results.score import SCORES, Score
from probeline.session import Session
from probeline.types import FloatArray, IntArray
from small_runs import Listening, configuration, extracted

pytestmark = pytest.mark.usefixtures("one_thread")


def rounds(n: int, *, folds: int) -> list[Fold]:
    """Return rounds of `n` held-out rows each, of three classes."""
    rng = np.random.default_rng(n)
    X = rng.standard_normal((2 * n, 3)).astype(np.float32)
    y = np.arange(2 * n, dtype=np.int64) % 3
    scaler = Scaler(np.zeros(3, np.float32), np.ones(3, np.float32))
    return [Fold(X[:n], y[:n], X[n:] + fold, y[n:], scaler) for fold in range(folds)]


class FixedHeads(HeadMethod[IntArray]):
    """Heads that predict given classes, whatever the rows are."""

    name = "fixed"

    def __init__(self, *predictions: Sequence[int]) -> None:
        self.predictions = [np.array(one) for one in predictions]

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        return Candidates.unordered([{"number": number} for number in range(len(self.predictions))])

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[IntArray]:
        return [self.predictions[candidate["number"]] for candidate in candidates.values]

    def logits(self, heads: Sequence[IntArray], X: FloatArray) -> Iterator[FloatArray]:
        return (np.eye(3, dtype=np.float32)[head] for head in heads)


@pytest.mark.parametrize(("metric", "best"), [("top1", 0), ("macro", 1), ("macro-f1", 2)])
def test_the_metric_decides_which_candidate_is_best(metric: str, best: int) -> None:
    truth = [0] * 10 + [1] * 2 + [2]
    heads = (
        [0] * 10 + [1, 0, 0],  # 11 of 13 right
        [2] * 4 + [0] * 4 + [1] * 2 + [1] * 2 + [2],  # right on all of the rare ones
        [0] * 8 + [1, 2] + [1, 0] + [2],  # in between
    )
    expected = {
        "top1": [accuracy_score(truth, head) for head in heads],
        "macro": [balanced_accuracy_score(truth, head) for head in heads],
        "macro-f1": [f1_score(truth, head, average="macro", zero_division=0) for head in heads],
    }
    assert [int(np.argmax(values)) for values in expected.values()] == [0, 1, 2], "each metric has its own best"
    X, y = np.zeros((13, 3), np.float32), np.array(truth)
    folds = [Fold(X, y, X, y, Scaler(np.zeros(3, np.float32), np.ones(3, np.float32)))] * 2
    selection = select(folds, FixedHeads(*heads), FitSettings({}, 3), SingleLabel(3, metric))
    assert selection.index == best
    for name in dict.fromkeys(("top1", metric)):
        assert [point[name] for point in selection.path] == pytest.approx(expected[name], abs=1e-9)
    assert ("macro" in selection.path[0]) == (metric == "macro")


class NoisyHead(HeadMethod[tuple[Fold, float, float]]):
    """Heads that are right more often the smaller a candidate's noise is, and surer the larger its scale."""

    name = "noisy"

    def __init__(self, noises: Sequence[float], scales: Sequence[float], loss: Loss = scores.nll) -> None:
        self.noises, self.scales, self._loss = noises, scales, loss

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        values = [{"noise": noise, "scale": scale} for noise, scale in zip(self.noises, self.scales, strict=True)]
        return Candidates(tuple(values), tuple(self.noises))

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[tuple[Fold, float, float]]:
        return [(fold, candidate["noise"], candidate["scale"]) for candidate in candidates.values]

    def logits(self, heads: Sequence[tuple[Fold, float, float]], X: FloatArray) -> list[FloatArray]:
        return [
            scale * np.eye(3, dtype=np.float32)[fold.y_heldout] + noise * np.sin(10 * X, dtype=np.float32)
            for fold, noise, scale in heads
        ]

    def loss(self, task: Task) -> Loss:
        return self._loss

    def has_diverged(self, head: tuple[Fold, float, float]) -> bool:
        return head[1] > 100


def select_noisy(method: NoisyHead, folds: list[Fold]) -> Selection[tuple[Fold, float, float]]:
    return select(folds, method, FitSettings({}, classes=3), SingleLabel(3))


@pytest.mark.parametrize("folds", [1, 3])
def test_the_chosen_candidates_held_out_logits_are_kept(folds: int) -> None:
    given = rounds(40, folds=folds)
    method = NoisyHead([2.0, 0.9, 0.3, 0.8, 5.0], [1.0] * 5)
    found = select_noisy(method, given)
    heads = [(fold, found.selected["noise"], 1.0) for fold in given]
    expected = np.concatenate([method.logits([head], head[0].X_heldout)[0] for head in heads])
    np.testing.assert_array_equal(found.val_logits, expected)
    np.testing.assert_array_equal(found.y_val, np.concatenate([fold.y_heldout for fold in given]))
    assert found.head == heads[0]
    best = max(found.path, key=lambda point: (point["top1"], -point["nll"]))
    assert found.path[found.index] == best
    assert best["top1"] == scores.top1(found.y_val, expected.argmax(1))
    assert best["nll"] == pytest.approx(scores.nll(found.y_val, expected))
    assert found.selected["noise"] == best["noise"]


def test_the_loss_that_breaks_ties_can_be_another() -> None:
    # Both are always right; the first is surer, and so further from 1 in squares.
    by_nll, by_square = (
        select_noisy(NoisyHead([0.0, 0.0], [5.0, 1.0], loss), rounds(12, folds=1))
        for loss in (scores.nll, scores.squared)
    )
    assert (by_nll.index, by_square.index) == (0, 1)
    assert by_square.path[1]["squared"] == 0
    assert "nll" not in by_square.path[1]


@pytest.mark.parametrize("folds", [1, 3])
def test_a_candidate_that_diverges_is_left_out(folds: int) -> None:
    with_diverged = select_noisy(NoisyHead([900.0, 0.3, 200.0, 0.8], [1.0] * 4), rounds(40, folds=folds))
    without = select_noisy(NoisyHead([0.3, 0.8], [1.0] * 2), rounds(40, folds=folds))
    assert [candidate["noise"] for candidate in with_diverged.diverged] == [900.0, 200.0]
    assert with_diverged.path == without.path
    assert with_diverged.index == without.index
    np.testing.assert_array_equal(with_diverged.val_logits, without.val_logits)


LITTLE: dict[str, Any] = {"sgd": ("lr=1e-3,1e-2", "epochs=2")}


def fit_all(session: Session) -> dict[str, Score]:
    probe.run(session)
    baselines.run(session)
    found, ignored = SCORES.load(session.reports)
    assert not ignored
    return {score.method: score for score in found}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, dict[str, Score]]:
    """A finished run of all heads on a few digits, chosen by folds."""
    session = extracted(tmp_path_factory.mktemp("fitted") / "cache", **LITTLE)
    assert session.splits.folds
    return session, fit_all(session)


METHODS = {"probe", "probe-refit", "probe-sgd", "logistic", "ridge", "knn", "centroid"} | {
    "knn-weighted",
    "centroid-shrunken",
}


def test_scores_tell_how_sure_their_methods_are(fitted: tuple[Session, dict[str, Score]]) -> None:
    _, found = fitted
    assert found.keys() == METHODS
    for score in found.values():
        assert 0 <= score.brier <= 2
        assert 0 <= score.ece <= 1
        assert score.nll >= 0
        assert score.top5 is not None
        assert score.top1 <= score.top5 <= 1
        is_alone = score.method in ("centroid", "probe-refit")
        assert (score.optimism is None) == is_alone
        assert score.optimism is None or 0 <= score.optimism <= 1 - score.top1
        assert (score.path == ()) == is_alone
    assert {name: score.chosen_by == "" for name, score in found.items() if name == "centroid"} == {"centroid": True}


def test_the_choice_takes_nothing_from_the_labels_of_test(
    fitted: tuple[Session, dict[str, Score]], tmp_path: Path
) -> None:
    session, before = fitted
    other = Session(configuration(session.settings.folders.cache, **LITTLE, reports=tmp_path / "reports"))
    test = other.splits.test
    labels = other.dataset.parts[test.part].labels
    assert test.part == other.splits.train.part, "digits are one part, so that only the test rows may change"
    labels[test.rows] = np.random.default_rng(0).permutation(labels[test.rows])
    after = fit_all(other)
    assert after.keys() == before.keys()
    for method, score in after.items():
        assert score.labels != before[method].labels
        assert score.key != before[method].key
        for name in ("chosen", "val_top1", "temperature", "predictions", "certificate"):
            assert getattr(score, name) == getattr(before[method], name), (method, name)
        assert untested(score) == untested(before[method]), method


def untested(score: Score) -> list[dict[str, Any]]:
    """Return a score's path without what test says of it."""
    return [{name: value for name, value in point.items() if "test" not in name} for point in score.path]


def test_optimism_is_what_the_best_candidate_on_test_is_above_the_chosen_one(
    fitted: tuple[Session, dict[str, Score]], tmp_path: Path
) -> None:
    session = Session(configuration(fitted[0].settings.folders.cache, **LITTLE, reports=tmp_path / "reports"))
    baselines.run(session)
    found = {one.method: one for one in SCORES.load(session.reports)[0]}["ridge"]
    # Ridge again by hand, on the train rows alone.
    splits, part = session.splits, session.dataset.parts[session.splits.train.part]
    features = session.features(session.backbone("squeezenet1_1")[0], part.name).features
    scaler = fit_scaler(features[splits.train.rows])
    X, X_test = apply(scaler, features[splits.train.rows]), apply(scaler, features[splits.test.rows])
    y, y_test = part.labels[splits.train.rows], part.labels[splits.test.rows]
    every = [decision(head, X_test) for head in fit_ridge(X, y, 10, RIDGE_L2)]
    right = [scores.top1(y_test, logits.argmax(1)) for logits in every]
    chosen = RIDGE_L2.index(found.chosen["l2"])
    assert found.top1 == right[chosen]
    assert found.optimism == max(right) - right[chosen]
    assert [point["test_top1"] for point in found.path] == right
    assert [point["test_nll"] for point in found.path] == pytest.approx([scores.nll(y_test, one) for one in every])
    assert found.path[chosen]["test_nll"] == found.raw_nll
    assert found.nll == pytest.approx(scores.nll(y_test, every[chosen] / np.float64(found.temperature)))
    assert found.raw_ece == pytest.approx(scores.ece(y_test, scores.chances(every[chosen])))


def test_the_temperature_is_fitted_on_logits_out_of_fold(fitted: tuple[Session, dict[str, Score]]) -> None:
    session, found = fitted
    splits, part = session.splits, session.dataset.parts[session.splits.train.part]
    features = session.features(session.backbone("squeezenet1_1")[0], part.name).features
    every = np.sort(np.concatenate(splits.folds))
    logits, labels = [], []
    for fold in splits.folds:
        others = np.setdiff1d(every, fold)
        scaler = fit_scaler(features[others])
        X, X_held = apply(scaler, features[others]), apply(scaler, features[fold])
        logits.append(nearest_centroid(X, part.labels[others], X_held, classes=10))
        labels.append(part.labels[fold])
    expected = fit_temperature(np.concatenate(labels), np.concatenate(logits))
    assert found["centroid"].temperature == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("part", ["split", "folds"])
def test_nothing_is_fitted_twice(
    part: str, fitted: tuple[Session, dict[str, Score]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(configuration(fitted[0].settings.folders.cache, **LITTLE, reports=tmp_path / "reports"))
    if part == "split":
        session.__dict__["splits"] = replace(session.splits, folds=())
    calls: list[int] = []
    plain = logistic.walk_path
    monkeypatch.setattr(logistic, "walk_path", lambda X, *rest, **on: calls.append(len(X)) or plain(X, *rest, **on))
    probe.run(session)
    splits = session.splits
    rows = len(splits.train) + len(splits.val)
    by_round = [rows - len(fold) for fold in splits.folds] if splits.folds else [len(splits.train)]
    assert calls == [*by_round, rows], "each round once, and the refit"


def test_a_refit_fits_the_selected_candidate_alone(
    fitted: tuple[Session, dict[str, Score]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(configuration(fitted[0].settings.folders.cache, **LITTLE, reports=tmp_path / "reports"))
    calls: list[list[float]] = []
    plain = logistic.walk_path
    monkeypatch.setattr(
        logistic, "walk_path", lambda X, y, k, l2s, **on: calls.append(list(l2s)) or plain(X, y, k, l2s, **on)
    )
    probe.run(session)
    score = {score.method: score for score in SCORES.load(session.reports)[0]}["probe-refit"]
    assert calls[-1] == [score.chosen["l2"]]
    assert (score.path, score.optimism) == ((), None)
    features = CachedFeatures(session, *session.every_tap("squeezenet1_1"))
    fold = features.load_refit_fold()
    settings = features.fit_settings(score.options, score.seed)
    among_all = PROBE_REFIT.refit(fold, settings, score.chosen)
    # Both are within 1e-6 of the objective (plus 0.01 nats) above its minimum.
    assert score.certificate["objective"] == pytest.approx(among_all.certificate.objective, rel=1e-6, abs=1e-8)
    calls.clear()
    refit(features, score)
    assert calls == [[score.chosen["l2"]]], "so does an export"
    calls.clear()
    refit(features, replace(score, path=({"l2": 1.0, "top1": 0.5, "test_top1": 0.5},)))
    assert [len(l2s) for l2s in calls] == [len(score.options["l2"])], "one of an earlier program was fitted with all"


def test_a_score_of_an_earlier_version_is_left_out_with_its_reason_and_made_anew(
    fitted: tuple[Session, dict[str, Score]], tmp_path: Path
) -> None:
    console = Listening()
    session = Session(
        configuration(fitted[0].settings.folders.cache, **LITTLE, reports=tmp_path / "reports", console=console)
    )
    score = fitted[1]["centroid"]
    path = SCORES.save(session.reports, score)
    fields = ("top5", "nll", "brier", "ece", "temperature", "raw_nll", "raw_ece", "optimism")
    earlier = {name: value for name, value in encode(score).items() if name not in fields}
    path.write_bytes(seal({"version": 1, "score": earlier}))
    found, (ignored,) = SCORES.load(session.reports)
    assert found == []
    assert ignored.reason == f"has score version 1; this program reads {SCORE_VERSION}: run its stage again"
    baselines.run(session)
    (line,) = [line for line in console.said if path.name in line]
    assert line == f"centroid: digits-limit60 x squeezenet1_1: recomputed, as {path.name} {ignored.reason}"
    assert score.predictions in [one.predictions for one in SCORES.load(session.reports)[0]]
