"""The exact probe of several labels or of numbers, where LP-FT starts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from probeline.evaluate.heads.method import Candidates
from probeline.evaluate.targets.method import TargetFit
from probeline.evaluate.targets.methods import target_method
from probeline.evaluate.targets.scale import TargetScale
from probeline.evaluate.targets.selection import select
from probeline.evaluate.targets.task import target_task
from probeline.finetuning.fitted_probe import StartingProbe
from probeline.finetuning.targets.objective import targets_of
from probeline.names import Method
from probeline.session import Session
from probeline.types import Backbone, FloatArray


class FittedTargetProbe(StartingProbe):
    """The exact probe of labels or numbers, selected as ``probe`` does; it gives standardised targets."""

    def __init__(self, session: Session, backbone: Backbone, scale: TargetScale) -> None:
        super().__init__(session, backbone)
        self._scale = scale
        task = targets_of(session.dataset).task
        self._task, self._method = target_task(task), target_method(Method.PROBE, task)

    @cached_property
    def _fit(self) -> tuple[FloatArray, FloatArray, float]:
        self._features.prepare("probe")
        started = time.perf_counter()
        fit = TargetFit(self.fitted, device=self._features.fit_device())
        selection, fold, _ = select(self._features, self._method, fit, self._task)
        l2 = selection.candidates.values[selection.index]["l2"]
        scaled = replace(fold, Y=self._scale.standardise(fold.Y).astype(np.float64))
        (head,) = self._method.fit(scaled, fit, Candidates.of("l2", [l2]))
        weight = (head.weight / fold.scaler.std).astype(np.float32)
        bias = (head.bias - weight @ fold.scaler.mean).astype(np.float32)
        return weight, bias, time.perf_counter() - started

    @property
    def fitted(self) -> Mapping[str, Any]:
        return self._method.options(self._session.settings.heads)

    @property
    def layer(self) -> tuple[FloatArray, FloatArray]:
        return self._fit[0], self._fit[1]

    @property
    def fit_seconds(self) -> float:
        return self._fit[2]
