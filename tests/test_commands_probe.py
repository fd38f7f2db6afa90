"""The probe stage: what a learning rate that diverges does to the choice among the others."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from probeline.commands import baselines, probe
from probeline.data.sampling import splits
from probeline.errors import Diverged
from probeline.evaluate.heads import exact, path_watch
from probeline.heads.minibatch.mlp import MlpSettings, fit_mlp, mlp_decision
from probeline.heads.standardize import apply, fit_scaler
from probeline.results.score import SCORES, Score
from probeline.session import Session
from small_runs import Listening, configuration, extracted

pytestmark = pytest.mark.usefixtures("one_thread")

SHRINKING = ("optimizer=sgd", "weight_decay=10")
"""Each step of rate 100 multiplies all weights by 1 - 1000."""


def sgd_score(session: Session) -> Score:
    (score,) = (score for score in SCORES.load(session.reports)[0] if score.method == "probe-sgd")
    return score


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return extracted(tmp_path_factory.mktemp("probe") / "cache")


@pytest.fixture(autouse=True)
def one_l2(monkeypatch: pytest.MonkeyPatch) -> None:
    """One l2, as a whole path takes seconds."""
    monkeypatch.setattr(exact, "L2_GRID", (1.0,))


def test_a_rate_that_diverges_is_no_candidate(session: Session, tmp_path: Path) -> None:
    asked = ("lr=1e-4,1e-2,100", *SHRINKING)
    other = Session(configuration(session.settings.folders.cache, reports=tmp_path / "reports", sgd=asked))
    probe.run(other)
    score = sgd_score(other)
    assert score.certificate["diverged"] == ["lr 100"]
    assert [point["lr"] for point in score.path] == [1e-4, 1e-2]
    # A rate above was tried: only the lowest is the grid's end.
    assert score.certificate["edge"] is (score.chosen["lr"] == 1e-4)
    assert [epoch["epoch"] for epoch in score.history] == list(range(1, 31))


def test_no_rate_that_converges_is_one_line(session: Session, tmp_path: Path) -> None:
    asked = ("lr=10,100", *SHRINKING)
    other = Session(configuration(session.settings.folders.cache, reports=tmp_path / "reports", sgd=asked))
    with pytest.raises(Diverged, match=r"diverged: probe-sgd: digits.*, seed 0 \(got lr 10, lr 100\); "):
        probe.run(other)


def test_a_grid_of_several_axes_is_chosen_from(session: Session, tmp_path: Path) -> None:
    asked = ("lr=1e-3,1e-2", "optimizer=adamw,sgd", "dropout=0", "schedule=step", "epochs=3")
    other = Session(configuration(session.settings.folders.cache, reports=tmp_path / "reports", sgd=asked))
    probe.run(other)
    score = sgd_score(other)
    combinations = [(lr, optimizer) for lr in (1e-3, 1e-2) for optimizer in ("adamw", "sgd")]
    assert [(point["lr"], point["optimizer"]) for point in score.path] == combinations
    assert score.chosen.keys() == {"lr", "optimizer"}
    assert score.options["schedule"] == ["step"]
    assert score.certificate["edge"] is False, "of two rates each would be an end"
    assert len(score.history) == 3


def test_an_mlp_head_is_fitted_where_it_is_asked_for(session: Session, tmp_path: Path) -> None:
    def run(**options: Any) -> list[Score]:
        other = Session(
            configuration(
                session.settings.folders.cache, reports=tmp_path / "reports", sgd=("lr=1e-2", "epochs=1"), **options
            )
        )
        probe.run(other)
        return [score for score in SCORES.load(other.reports)[0] if score.method == "probe-mlp"]

    assert run() == []
    found = run(mlp=("width=16,32", "lr=1e-2", "dropout=0", "batch_size=8", "epochs=15"), seeds=2)
    assert [score.seed for score in found] == [0, 1]
    for score in found:
        width, columns = score.chosen["width"], 512
        assert score.trainable == width * columns + width + 10 * width + 10
        assert score.options["lr"] == [1e-2]
        assert score.history[-1]["train_top1"] > 0.9, "36 images can be learnt by heart"
        # The same head by hand, on the train rows alone.
        splits, part = session.splits, session.dataset.parts[session.splits.train.part]
        features = session.features(session.backbone("squeezenet1_1")[0], part.name).features
        scaler = fit_scaler(features[splits.train.rows])
        X, X_test = (apply(scaler, features[rows]) for rows in (splits.train.rows, splits.test.rows))
        facts = {"lr": 1e-2, "weight_decay": 1e-2, "dropout": 0.0, "label_smoothing": 0.0, "width": width}
        settings = MlpSettings(**facts, seed=score.seed)
        head = fit_mlp(X, part.labels[splits.train.rows], 10, settings, epochs=15, batch_size=8)
        assert score.predictions == tuple(mlp_decision(head, X_test).argmax(1))


def test_features_that_are_missing_are_extracted_first(tmp_path: Path) -> None:
    console = Listening()
    run = configuration(tmp_path / "cache", limit=30, console=console, sgd=("epochs=1", "lr=1e-3"))
    assert probe.run(Session(run))
    assert "probe: features of squeezenet1_1 are not extracted yet; extracting what is missing" in console.said
    console.said.clear()
    assert baselines.run(Session(run))
    assert not [line for line in console.said if "not extracted" in line]


def test_the_full_path_is_solved_if_it_is_asked_for(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = (1e-4, 1e-2, 1.0, 10.0, 100.0)
    monkeypatch.setattr(exact, "L2_GRID", grid)
    monkeypatch.setattr(splits, "ENOUGH_FOR_VAL", 30)
    monkeypatch.setattr(path_watch, "SIGNIFICANT", -math.inf)
    monkeypatch.setattr(path_watch, "RISES", 0)

    def run(*, full_path: bool) -> tuple[Score, list[str]]:
        console = Listening()
        options = {"reports": tmp_path / "reports", "full_path": full_path, "console": console}
        other = Session(configuration(session.settings.folders.cache, **options))
        probe.run(other)
        (score,) = (score for score in SCORES.load(other.reports)[0] if score.method == "probe")
        return score, console.said

    short, _ = run(full_path=False)
    assert 0 < short.left_out < len(grid), "some were solved, and the weakest were not"
    assert [point["l2"] for point in short.path] == list(grid[short.left_out :])
    full, said = run(full_path=True)
    assert any("recomputed, as probe-" in line and "has not every l2" in line for line in said)
    assert full.left_out == 0
    assert [point["l2"] for point in full.path] == list(grid)
    assert full.key == short.key, "the row of a report is the same"
    assert full.path[short.left_out :] == short.path
    again, said = run(full_path=False)
    assert any("already scored" in line for line in said)
    assert again.path == full.path
