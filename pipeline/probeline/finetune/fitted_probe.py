"""The exact probe of a backbone as training uses it: LP-FT starts from it, and a teacher is one."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from probeline.evaluate.exact_probe import select_exact_probe
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.stopwatch import Stopwatch
from probeline.heads.linear import Head, decision
from probeline.heads.standardize import Scaler, apply
from probeline.names import PENULTIMATE
from probeline.session import Session
from probeline.types import Backbone, FloatArray


class FittedProbe:
    """The exact probe of a backbone, fitted when it is first used.

    Parameters
    ----------
    session : Session
    backbone : Backbone
        At its penultimate tap.
    """

    def __init__(self, session: Session, backbone: Backbone) -> None:
        self._session = session.reading(session.asked_as(backbone.name, backbone.weights), PENULTIMATE, 0)
        self.backbone = backbone

    @cached_property
    def _fit(self) -> tuple[Head, Scaler, float]:
        features = CachedFeatures(self._session, self.backbone)
        features.check_canary()
        watch = Stopwatch()
        selection, folds = select_exact_probe(features)
        return selection.head, folds[0].scaler, watch.seconds()

    @property
    def head(self) -> Head:
        """The head of the chosen l2, fitted on the standardised train rows."""
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
        """Duration of the fit."""
        return self._fit[2]

    @property
    def extraction_seconds(self) -> float:
        """Duration of the pass over all images before it."""
        return sum(self._session.features(self.backbone, part).seconds for part in self._session.parts())
