"""The exact probe of a backbone as training uses it: LP-FT starts from it, and a teacher is one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from probeline.data.sampling.splits import deal_train_folds
from probeline.evaluate.exact_probe import cross_fit, probe_settings, select_exact_probe
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.fit_options import fit_options
from probeline.format import option
from probeline.heads.linear import Head, decision
from probeline.heads.select import L2_GRID
from probeline.heads.standardize import Scaler, apply
from probeline.identity import HEADS_VERSION, digest_bytes
from probeline.names import PENULTIMATE
from probeline.session import Session
from probeline.types import Backbone, FloatArray


class StartingProbe(ABC):
    """A probe of a backbone at its penultimate tap, fitted when it is first used."""

    def __init__(self, session: Session, backbone: Backbone) -> None:
        self._session, self.backbone = session, backbone

    @cached_property
    def _features(self) -> CachedFeatures:
        net = self._session.asked_as(self.backbone.name, self.backbone.weights)
        return CachedFeatures(self._session.reading(net, PENULTIMATE, 0), self.backbone)

    @property
    @abstractmethod
    def fitted(self) -> Mapping[str, Any]:
        """How it is selected and weighted."""

    @property
    @abstractmethod
    def layer(self) -> tuple[FloatArray, FloatArray]:
        """Its weight float32 [K, D] and bias float32 [K], for features that are not standardised."""

    @property
    @abstractmethod
    def fit_seconds(self) -> float:
        """Duration of all fits."""

    @property
    def extraction_seconds(self) -> float:
        """Duration of the pass over all images before them."""
        return self._features.extraction_seconds


class FittedProbe(StartingProbe):
    """The exact probe of classes."""

    @cached_property
    def _fit(self) -> tuple[Head, Scaler, float]:
        self._features.prepare("probe")
        started = time.perf_counter()
        selection, folds = select_exact_probe(self._features, fitted=self.fitted)
        return selection.head, folds[0].scaler, time.perf_counter() - started

    @property
    def fitted(self) -> dict[str, Any]:
        """How it is selected and weighted: as the fits of the run are."""
        return fit_options(self._session.settings, self._session.dataset.class_names)

    @property
    def head(self) -> Head:
        """The head of the selected l2, fitted on the standardised train rows."""
        return self._fit[0]

    @property
    def layer(self) -> tuple[FloatArray, FloatArray]:
        """Its weight float32 [K or 1, D] and bias float32 [K or 1], for features that are not standardised."""
        head, scaler, _ = self._fit
        weight = (head.weight / scaler.std).astype(np.float32)
        return weight, (head.bias - weight @ scaler.mean).astype(np.float32)

    def predict_logits(self, features: FloatArray) -> FloatArray:
        """Return its logits float32 [n, K] for features float32 [n, D] that are not standardised."""
        head, scaler, _ = self._fit
        return decision(head, apply(scaler, features))

    @property
    def fit_seconds(self) -> float:
        return self._fit[2]


@dataclass(frozen=True)
class TeacherFacts:
    """What is known of a teacher: its probe's l2, top-1 on the train rows, and how many of these are out-of-fold.

    `weights` is the sha256 of the backbone's tensors; `converged` says whether all fits did.
    """

    backbone: str
    weights: str
    l2: float
    train_top1: float
    unseen: int
    converged: bool


class Teacher(FittedProbe):
    """The exact probe whose logits a student is trained towards.

    A probe with more columns than rows classifies every row it was fitted on correctly and with confidence: its
    probabilities would teach the student no more than the labels. So the train rows are split into folds, and the
    logits of each fold come from a fit on the others, with the l2 of the probe: the cross-fitting of Dao, Kamath,
    Syrgkanis and Mackey 2021, "Knowledge distillation as semiparametric inference", ICLR. Val rows are in no fit, as
    in none of the student's. A row whose class is missing from the other folds gets the logits of the probe itself.
    """

    def __init__(self, session: Session, backbone: Backbone) -> None:
        super().__init__(session, backbone)
        self._folds = deal_train_folds(session.dataset, session.splits)

    @property
    def identity(self) -> dict[str, Any]:
        """All that its logits depend on."""
        return {
            "backbone": self.backbone.name,
            "weights": self.backbone.weights_sha256,
            "features": [entry.key for entry in self._features.entries()],
            "folds": [digest_bytes(fold.tobytes()) for fold in self._folds],
            "l2": list(L2_GRID),
            "heads": HEADS_VERSION,
            **self.fitted,
        }

    @cached_property
    def _cross_fit(self) -> tuple[FloatArray, TeacherFacts, float]:
        head, cached = self.head, self._features
        session = cached.session
        train = session.splits.train
        started = time.perf_counter()
        features = session.features(self.backbone, train.part).features
        labels = session.dataset.parts[train.part].labels
        logits = np.zeros((len(features), cached.classes), np.float32)
        logits[train.rows] = self.predict_logits(features[train.rows])
        fits, unseen = [head], 0
        settings = probe_settings(cached, self.fitted)
        for rows, fold, fit, is_known in cross_fit(cached, self._folds, head.l2, settings):
            fits.append(fit)
            logits[rows[is_known]] = decision(fit, fold.X_heldout[is_known])
            unseen += int(is_known.sum())
        train_top1 = float((logits[train.rows].argmax(1) == labels[train.rows]).mean())
        facts = TeacherFacts(
            self.backbone.name,
            self.backbone.weights_sha256,
            l2=head.l2,
            train_top1=train_top1,
            unseen=unseen,
            converged=all(fit.certificate.converged for fit in fits),
        )
        session.console.say(
            f"teacher: {self.backbone.name}, {option('l2', head.l2)}: top-1 {train_top1:.4f} on {len(train):,} train "
            f"images, {unseen:,} of the predictions are out-of-fold"
        )
        return logits, facts, time.perf_counter() - started

    @property
    def train_logits(self) -> FloatArray:
        """Its logits float32 [N, K] for the rows of the train part; 0 for those that are no train rows."""
        return self._cross_fit[0]

    @property
    def facts(self) -> TeacherFacts:
        """What is known of its fits."""
        return self._cross_fit[1]

    @property
    def fit_seconds(self) -> float:
        """Duration of all fits."""
        return super().fit_seconds + self._cross_fit[2]
