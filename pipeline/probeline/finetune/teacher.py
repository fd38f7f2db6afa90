"""A teacher: what the exact probe of a backbone says of the train rows, each by a fit that did not see it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from probeline.data.sampling.splits import crossing
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.stopwatch import Stopwatch
from probeline.finetune.run import Solution
from probeline.format import option
from probeline.heads.linear import decision
from probeline.heads.select import L2_GRID
from probeline.identity import HEADS_VERSION, digest_bytes
from probeline.session import Session
from probeline.types import Backbone, FloatArray


class Teacher(Solution):
    """The exact probe of a backbone, whose logits a student is trained towards.

    A probe with more columns than rows is right of every row it was fitted on, and sure: its chances would tell the
    student no more than the labels. So the train rows are dealt to folds, and those of each are told by a fit on the
    others, of the l2 that the probe itself chose: the cross-fitting of Dao, Kamath, Syrgkanis and Mackey 2021,
    "Knowledge distillation as semiparametric inference", ICLR. Val rows are in no fit, as in none of the student's. A
    row whose class the others lack is told by the probe of all train rows.

    Parameters
    ----------
    session : Session
    backbone : Backbone
        At its penultimate tap.
    """

    def __init__(self, session: Session, backbone: Backbone) -> None:
        super().__init__(session, backbone)
        self._folds = crossing(session.dataset, session.splits)

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
    def _told(self) -> tuple[FloatArray, dict[str, Any], float]:
        from probeline.heads.logistic.path import fit_path

        head, rows = self.head, self._session.splits.train
        watch = Stopwatch()
        task = CachedFeatures(self._session, self.backbone)
        features = self._session.features(self.backbone, rows.part).features
        labels = self._session.dataset.parts[rows.part].labels
        logits = np.zeros((len(features), task.classes), np.float32)
        logits[rows.rows] = self.logits(features[rows.rows])
        fits, unseen = [head], 0
        for fold, held in zip(self._folds, task.load_folds(self._folds), strict=True) if len(self._folds) > 1 else ():
            fits += fit_path(held.X, held.y, task.classes, [head.l2])
            known = np.isin(held.y_heldout, held.y)
            logits[fold[known]] = decision(fits[-1], held.X_heldout[known])
            unseen += int(known.sum())
        right = float((logits[rows.rows].argmax(1) == labels[rows.rows]).mean())
        facts = {
            "l2": head.l2,
            "train_top1": right,
            "unseen": unseen,
            "converged": all(fit.certificate.converged for fit in fits),
        }
        self._session.console.say(
            f"teacher: {self.backbone.name}, {option('l2', head.l2)}: top-1 {right:.4f} on {len(rows):,} train images, "
            f"{unseen:,} of them not seen by the fit that tells them"
        )
        return logits, facts, watch.seconds()

    @property
    def told(self) -> FloatArray:
        """Its logits float32 [N, K] for the rows of the train part; 0 for those that are no train rows.

        Raises
        ------
        MissingData
            Its features have not been extracted.
        """
        return self._told[0]

    @property
    def facts(self) -> dict[str, Any]:
        """The l2, top-1 on the train rows, how many of them a fit told that did not see them, and convergence."""
        return self._told[1]

    @property
    def seconds(self) -> tuple[float, float]:
        """What all fits took, and the pass over all images before them."""
        fit, extraction = super().seconds
        return fit + self._told[2], extraction
