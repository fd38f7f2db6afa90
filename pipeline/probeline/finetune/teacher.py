"""A teacher: the exact probe's logits for the train rows, each row's by a fit that did not see it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from probeline.data.sampling.splits import deal_train_folds
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.stopwatch import Stopwatch
from probeline.finetune.certificate import TeacherFacts
from probeline.finetune.fitted_probe import FittedProbe
from probeline.format import option
from probeline.heads.linear import decision
from probeline.heads.select import L2_GRID
from probeline.identity import HEADS_VERSION, digest_bytes
from probeline.session import Session
from probeline.types import Backbone, FloatArray


class Teacher(FittedProbe):
    """The exact probe of a backbone, whose logits a student is trained towards.

    A probe with more columns than rows classifies every row it was fitted on correctly and with confidence: its
    probabilities would teach the student no more than the labels. So the train rows are dealt to folds, and the logits
    of each fold come from a fit on the others, with the l2 that the probe itself chose: the cross-fitting of Dao,
    Kamath, Syrgkanis and Mackey 2021, "Knowledge distillation as semiparametric inference", ICLR. Val rows are in no
    fit, as in none of the student's. A row whose class is missing from the other folds gets the logits of the probe of
    all train rows.

    Parameters
    ----------
    session : Session
    backbone : Backbone
        At its penultimate tap.
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
            "features": [entry.key for entry in self._session.entries(self.backbone)],
            "folds": [digest_bytes(fold.tobytes()) for fold in self._folds],
            "l2": list(L2_GRID),
            "heads": HEADS_VERSION,
        }

    @cached_property
    def _cross_fit(self) -> tuple[FloatArray, TeacherFacts, float]:
        from probeline.heads.logistic.path import fit_path

        head, rows = self.head, self._session.splits.train
        watch = Stopwatch()
        cached = CachedFeatures(self._session, self.backbone)
        features = self._session.features(self.backbone, rows.part).features
        labels = self._session.dataset.parts[rows.part].labels
        logits = np.zeros((len(features), cached.classes), np.float32)
        logits[rows.rows] = self.predict_logits(features[rows.rows])
        fits, unseen = [head], 0
        folds = self._folds if len(self._folds) > 1 else ()
        for fold_rows, fold in zip(folds, cached.load_folds(folds) if folds else (), strict=True):
            fits += fit_path(fold.X, fold.y, cached.classes, [head.l2])
            known = np.isin(fold.y_heldout, fold.y)
            logits[fold_rows[known]] = decision(fits[-1], fold.X_heldout[known])
            unseen += int(known.sum())
        train_top1 = float((logits[rows.rows].argmax(1) == labels[rows.rows]).mean())
        facts = TeacherFacts(
            self.backbone.name,
            self.backbone.weights_sha256,
            l2=head.l2,
            train_top1=train_top1,
            unseen=unseen,
            converged=all(fit.certificate.converged for fit in fits),
        )
        self._session.console.say(
            f"teacher: {self.backbone.name}, {option('l2', head.l2)}: top-1 {train_top1:.4f} on {len(rows):,} train "
            f"images, {unseen:,} of the predictions are out-of-fold"
        )
        return logits, facts, watch.seconds()

    @property
    def train_logits(self) -> FloatArray:
        """Its logits float32 [N, K] for the rows of the train part; 0 for those that are no train rows.

        Raises
        ------
        MissingData
            Its features have not been extracted.
        """
        return self._cross_fit[0]

    @property
    def facts(self) -> TeacherFacts:
        """What is known of its fits."""
        return self._cross_fit[1]

    @property
    def fit_seconds(self) -> float:
        """Duration of all fits."""
        return super().fit_seconds + self._cross_fit[2]
