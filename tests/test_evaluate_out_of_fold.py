"""What a probe says of each image by a fit that did not see it: of train, val and test, whoever chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from probeline.data.sampling.splits import deal_train_folds
from probeline.evaluate import exact_probe
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.score import score_heads
from probeline.heads.linear import decision
from probeline.heads.logistic.path import fit_path
from probeline.heads.standardize import apply, fit_scaler
from probeline.results.score import SCORES
from probeline.session import Session
from probeline.types import FloatArray, IntArray
from small_runs import configuration, extracted

pytestmark = pytest.mark.usefixtures("one_thread")

NET = "squeezenet1_1"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("out") / "cache"
    extracted(place)
    return place


def task_of(cache: Path, reports: Path) -> CachedFeatures:
    session = Session(configuration(cache, reports=reports, sgd=("lr=1e-3", "epochs=1")))
    return CachedFeatures(session, session.backbone(NET)[0])


def alone(session: Session, seen: IntArray, told: IntArray, l2: float) -> FloatArray:
    """Return the logits of some rows of the one part by a fit on others, from scratch."""
    X = session.features(session.backbone(NET)[0], "all").features
    y = session.dataset.parts["all"].labels
    scaler = fit_scaler(X[seen])
    (head,) = fit_path(apply(scaler, X[seen]), y[seen], len(session.dataset.class_names), [l2])
    return decision(head, apply(scaler, X[told]))


@pytest.mark.parametrize("by", ["folds", "val"])
def test_each_image_is_told_by_a_fit_on_others(by: str, cache: Path, tmp_path: Path) -> None:
    task = task_of(cache, tmp_path)
    if by == "val":  # as if there were many rows
        task.session.__dict__["splits"] = replace(task.session.splits, folds=())
    splits = task.session.splits
    train, val, test = (split.rows for split in (splits.train, splits.val, splits.test))
    found = exact_probe.predict_out_of_fold(task)
    folds = deal_train_folds(task.session.dataset, splits)
    folds = splits.folds or folds
    assert found.folds == len(folds) == 5
    assert found.unseen.all()
    assert found.converged
    every = np.concatenate([train, val, test])
    assert found.logits.shape == (len(every), 10)

    def said(rows: IntArray) -> FloatArray:
        return found.logits[[every.tolist().index(row) for row in rows.tolist()]]

    among = np.sort(np.concatenate(folds))
    assert set(among.tolist()) == set((np.concatenate([train, val]) if by == "folds" else train).tolist())
    for fold in folds:
        # Both fits are within 1e-6 of the minimum, so that logits are within its root.
        others = np.setdiff1d(among, fold)
        np.testing.assert_allclose(said(fold), alone(task.session, others, fold, found.l2), rtol=1e-2, atol=1e-2)
    for rows in (val, test):
        np.testing.assert_allclose(said(rows), alone(task.session, train, rows, found.l2), rtol=1e-2, atol=1e-2)


def test_the_l2_is_the_probes_own_and_its_score_spares_the_path(cache: Path, tmp_path: Path) -> None:
    task = task_of(cache, tmp_path)
    selection, _ = exact_probe.select_exact_probe(task)
    chosen = selection.selected["l2"]
    assert exact_probe.predict_out_of_fold(task).l2 == chosen
    score_heads(task, "probe")
    assert exact_probe.predict_out_of_fold(task).l2 == chosen
    (score,) = (score for score in SCORES.load(task.session.reports)[0] if score.method == "probe")
    other = 2 * chosen  # no l2 of the grid: only the score can say it
    SCORES.save(task.session.reports, replace(score, chosen={"l2": other}))
    assert exact_probe.predict_out_of_fold(task).l2 == other


def test_a_class_that_one_fold_alone_has_is_told_by_nobody(cache: Path, tmp_path: Path) -> None:
    task = task_of(cache, tmp_path)
    session, splits = task.session, task.session.splits
    labels = session.dataset.parts["all"].labels.copy()
    rare = int(splits.train.rows[3])
    labels[labels == labels[rare]] = (labels[rare] + 1) % 10
    labels[rare] = session.dataset.parts["all"].labels[rare]
    parts = {"all": replace(session.dataset.parts["all"], labels=labels)}
    session.__dict__["dataset"] = replace(session.dataset, parts=parts)
    found = exact_probe.predict_out_of_fold(task)
    assert np.flatnonzero(~found.unseen).tolist() == [3]
