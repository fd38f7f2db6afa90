"""The rows of neighbours and class means against scikit-learn on the same rows: what is selected, on which features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from probeline.commands import baselines
from probeline.evaluate.heads import exact
from probeline.evaluate.heads.method import FitSettings, make_fold
from probeline.evaluate.heads.neighbours import (
    CENTROID_SHRUNKEN,
    DINO_NEIGHBOURS,
    KNN_WEIGHTED,
    SHRINKAGE,
)
from probeline.evaluate.selection import select
from probeline.evaluate.task import SingleLabel
from probeline.heads.standardize import apply, fit_scaler, unscaled
from probeline.results.score import SCORES, Score
from probeline.session import Session
from probeline.types import FloatArray, IntArray
from small_runs import extracted

pytestmark = pytest.mark.usefixtures("one_thread")


def rows(n: int, *, seed: int = 0, classes: int = 3) -> tuple[FloatArray, IntArray]:
    """Return overlapping features that are far from 0 and of different scales, and labels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n, dtype=np.int64) % classes
    centres = np.random.default_rng(99).standard_normal((classes, 8))
    X = (rng.standard_normal((n, 8)) + 0.7 * centres[y]) * np.arange(1, 9) + 5
    return X.astype(np.float32), y


@pytest.mark.parametrize(
    ("n", "expected"), [(5, [5]), (10, [10]), (60, [10, 20]), (199, [10, 20, 100]), (300, [10, 20, 100, 200])]
)
def test_the_numbers_of_neighbours_are_dinos_within_the_rows(n: int, expected: list[int]) -> None:
    settings = FitSettings({"k": list(DINO_NEIGHBOURS)}, 3)
    candidates = KNN_WEIGHTED.candidates(settings, n)
    assert [candidate["k"] for candidate in candidates.values] == expected


def test_weighted_votes_are_of_features_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = rows(150)
    X_val, y_val = rows(90, seed=1)
    fold = make_fold(X, y, X_val, y_val)
    settings = FitSettings({"k": [1, 10, 20, 100], "temperature": 0.07}, 3)
    selection = select([fold], KNN_WEIGHTED, settings, SingleLabel(3))
    models = {
        k: KNeighborsClassifier(k, weights=lambda d: np.exp((1 - d) / 0.07), metric="cosine").fit(X, y)
        for k in settings.options["k"]
    }
    tops = {k: (model.predict(X_val) == y_val).mean() for k, model in models.items()}
    assert [point["top1"] for point in selection.path] == pytest.approx(list(tops.values()))
    assert tops[selection.selected["k"]] == max(tops.values())
    assert len(set(tops.values())) > 1
    # Of standardised features the votes are others: cosines are relative to the mean.
    scaled = KNeighborsClassifier(20, weights=lambda d: np.exp((1 - d) / 0.07), metric="cosine").fit(fold.X, y)
    assert (scaled.predict(fold.X_heldout) != models[20].predict(X_val)).any()


def test_the_scale_is_taken_back_but_for_rounding() -> None:
    X, _ = rows(50)
    X[:, 3] = 7  # constant: its scale is 1
    scaler = fit_scaler(X)
    np.testing.assert_allclose(unscaled(scaler, apply(scaler, X)), X, rtol=1e-6, atol=1e-5)


def test_the_share_of_shrinkage_is_selected_and_its_threshold_is_scikit_learns() -> None:
    X, y = rows(150, seed=2)
    X = np.hstack([X, np.random.default_rng(3).standard_normal((150, 40)).astype(np.float32)])
    X_val, y_val = rows(300, seed=4)
    X_val = np.hstack([X_val, np.random.default_rng(5).standard_normal((300, 40)).astype(np.float32)])
    fold = make_fold(X, y, X_val, y_val)
    settings = FitSettings({"shrink": list(SHRINKAGE)}, 3)
    selection = select([fold], CENTROID_SHRUNKEN, settings, SingleLabel(3))
    assert 0 < selection.selected["shrink"] < SHRINKAGE[-1], "columns of noise are dropped, and not all others"
    certificate = CENTROID_SHRUNKEN.certificate(selection.head, selection, settings)
    model = NearestCentroid(shrink_threshold=certificate.threshold).fit(fold.X.astype(np.float64), y)
    np.testing.assert_array_equal(selection.val_logits.argmax(1), model.predict(fold.X_heldout))
    assert (model.predict(fold.X_heldout) == y_val).mean() == max(point["top1"] for point in selection.path)
    assert not certificate.edge
    # As a linear map, which is what is exported, it decides the same.
    tensors = CENTROID_SHRUNKEN.export(selection.head, fold, settings).tensors
    layer = ((X_val - tensors["mean"]) / tensors["std"]) @ tensors["weight"].T + tensors["bias"]
    np.testing.assert_allclose(
        log_softmax(layer, axis=1), log_softmax(selection.val_logits.astype(np.float64), axis=1), atol=2e-3
    )


def test_no_more_rows_than_classes_have_no_spread() -> None:
    settings = FitSettings({"shrink": list(SHRINKAGE)}, 3)
    assert CENTROID_SHRUNKEN.candidates(settings, 3).strengths == (0.0,)
    assert CENTROID_SHRUNKEN.candidates(settings, 4).strengths == SHRINKAGE


def test_both_are_rows_and_the_plain_ones_are_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REFERENCE_L2", "RIDGE_L2"):
        monkeypatch.setattr(exact, name, (1.0,))
    session: Session = extracted(tmp_path / "cache")
    baselines.run(session)
    found: dict[str, Score] = {score.method: score for score in SCORES.load(session.reports)[0]}
    for name, option in (("knn-weighted", "k"), ("centroid-shrunken", "shrink")):
        score = found[name]
        assert score.chosen.keys() == {option}
        assert score.optimism is not None
        assert (score.trainable, score.converged, score.chosen_by) == (0, True, found["knn"].chosen_by)
    assert found["knn-weighted"].options["k"] == [10, 20, 100, 200]
    assert [point["k"] for point in found["knn-weighted"].path] == [10, 20], "within the rows of a fold"
    assert found["centroid-shrunken"].path[0]["test_top1"] == found["centroid"].top1, (
        "nothing shrunken is the plain one"
    )
    assert found["centroid"].options.keys() == {"version", "weights"}
    assert found["knn"].options["k"] == [1, 3, 5, 10, 20, 50]
