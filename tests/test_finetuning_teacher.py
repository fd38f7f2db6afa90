"""A teacher: what a probe says of train rows that its fits did not see, and never of the labels of val."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from probeline.data.sampling.splits import deal_train_folds
from probeline.evaluate import exact_probe
from probeline.evaluate.features import CachedFeatures
from probeline.finetuning.fitted_probe import FittedProbe, Teacher, TeacherFacts
from probeline.heads.linear import decision
from probeline.heads.logistic.path import fit_path
from probeline.heads.standardize import apply, fit_scaler
from probeline.session import Session
from probeline.types import FloatArray, IntArray
from small_runs import configuration, extracted

pytestmark = pytest.mark.usefixtures("one_thread")

NET = "squeezenet1_1"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("teacher") / "cache"
    extracted(place)
    return place


def opened(cache: Path) -> Session:
    return Session(configuration(cache))


def teacher(session: Session) -> Teacher:
    return Teacher(session, session.backbone(NET)[0])


def alone(session: Session, fold: IntArray, l2: float) -> FloatArray:
    """Return the logits of a fold of the train rows by a fit on the others, from scratch."""
    rows = session.splits.train
    others = np.setdiff1d(rows.rows, fold)
    X = session.features(session.backbone(NET)[0], rows.part).features
    y = session.dataset.parts[rows.part].labels
    scaler = fit_scaler(X[others])
    (head,) = fit_path(apply(scaler, X[others]), y[others], len(session.dataset.class_names), [l2])
    return decision(head, apply(scaler, X[fold]))


def without_folds(session: Session) -> Session:
    """Return the session with its val rows alone for the selection, as if there were many rows."""
    session.__dict__["splits"] = replace(session.splits, folds=())
    return session


@pytest.mark.parametrize("by", ["folds", "val"])
def test_each_train_row_is_told_by_a_fit_on_the_others(by: str, cache: Path) -> None:
    session = opened(cache) if by == "folds" else without_folds(opened(cache))
    rows = session.splits.train.rows
    assert bool(session.splits.folds) == (by == "folds")
    selection, _ = exact_probe.select_exact_probe(CachedFeatures(session, session.backbone(NET)[0]))
    l2 = selection.selected["l2"]
    folds = deal_train_folds(session.dataset, session.splits)
    assert len(folds) == (4 if by == "folds" else 5)
    found = teacher(session)
    for fold in folds:
        # By the path's own warm starts or from 0, a fit is within its tolerance of the minimum: an objective within
        # 1e-6 of itself, so that logits are within its root.
        np.testing.assert_allclose(found.train_logits[fold], alone(session, fold, l2), rtol=1e-2, atol=1e-2)
    others = np.setdiff1d(np.arange(len(found.train_logits)), rows)
    assert not found.train_logits[others].any()
    labels = session.dataset.parts[session.splits.train.part].labels
    assert found.facts == TeacherFacts(
        backbone=NET,
        weights=found.backbone.weights_sha256,
        l2=l2,
        train_top1=float((found.train_logits[rows].argmax(1) == labels[rows]).mean()),
        unseen=len(rows),
        converged=True,
    )
    in_sample = found.predict_logits(session.features(found.backbone, session.splits.train.part).features[rows])
    assert float((in_sample.argmax(1) == labels[rows]).mean()) > found.facts.train_top1, "it is less sure of itself"


def test_the_labels_of_val_reach_no_teacher(cache: Path) -> None:
    session, other = opened(cache), opened(cache)
    part = session.splits.train.part
    labels = session.dataset.parts[part].labels.copy()
    val = session.splits.val.rows
    labels[val[0]] = (labels[val[0]] + 1) % 10
    parts = {**session.dataset.parts, part: replace(session.dataset.parts[part], labels=labels)}
    other.__dict__["dataset"] = replace(session.dataset, parts=parts)
    other.__dict__["splits"] = session.splits
    one, two = teacher(session), teacher(other)
    # But through the choice of l2, which is the probe's own: here it is the same for both.
    assert one.facts.l2 == two.facts.l2
    assert (one.train_logits == two.train_logits).all()


def test_a_class_that_one_fold_alone_has_is_told_by_the_probe_of_all(cache: Path) -> None:
    session = opened(cache)
    part, train = session.splits.train.part, session.splits.train.rows
    labels = session.dataset.parts[part].labels.copy()
    rare = int(train[3])
    labels[train[labels[train] == labels[rare]]] = (labels[rare] + 1) % 10
    labels[rare] = session.dataset.parts[part].labels[rare]
    parts = {**session.dataset.parts, part: replace(session.dataset.parts[part], labels=labels)}
    splits = session.splits
    session.__dict__["dataset"] = replace(session.dataset, parts=parts)
    session.__dict__["splits"] = splits
    found = teacher(session)
    features = session.features(found.backbone, part).features
    assert (found.train_logits[rare] == found.predict_logits(features[train])[3]).all()
    assert found.facts.unseen == len(train) - 1


def test_its_seconds_are_those_of_all_its_fits_and_of_its_features(cache: Path) -> None:
    session = opened(cache)
    found = teacher(session)
    assert found.fit_seconds > super(Teacher, found).fit_seconds > 0, "the fits of the folds come on top"
    assert found.extraction_seconds == sum(session.features(found.backbone, part).seconds for part in session.parts())
    assert found.extraction_seconds > 0


def test_what_it_depends_on_is_told_without_a_fit(cache: Path) -> None:
    session = opened(cache)
    identity = teacher(session).identity
    net = session.backbone(NET)[0]
    assert identity["backbone"] == NET
    assert identity["weights"] == net.weights_sha256
    assert identity["features"] == [session.entry(net, part).key for part in session.parts()]
    assert teacher(without_folds(opened(cache))).identity["folds"] != identity["folds"]


def test_what_is_not_extracted_is_extracted(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    session = Session(configuration(tmp_path / "cache", backbones=(NET,), image_size=40))
    other = Teacher(session, session.backbone("shufflenet_v2_x0_5")[0])
    assert other.train_logits[session.splits.train.rows].any(axis=1).all()
    assert list((tmp_path / "cache").glob("*/shufflenet_v2_x0_5-penultimate/*/entry.json"))


def test_a_probes_layer_and_its_logits_are_one(cache: Path) -> None:
    session = opened(cache)
    solution = FittedProbe(session, session.backbone(NET)[0])
    X = session.features(solution.backbone, session.parts()[0]).features
    weight, bias = solution.layer
    # The same sums with the scale inside the weights: roundings of float32, over 512 columns.
    np.testing.assert_allclose(X @ weight.T + bias, solution.predict_logits(X), rtol=1e-3, atol=1e-3)
