"""Tasks: what the labels of a data set mean, and by which numbers predictions are selected and reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from probeline.heads.temperature import fit_temperature
from probeline.metrics.auroc import auroc
from probeline.metrics.intervals import wilson
from probeline.metrics.scores import brier, chances, ece, macro, nll, reliability, selection_score, top1, top_k
from probeline.names import TOP1
from probeline.results.score import OddsOfTwo
from probeline.types import DataSet, FloatArray, IntArray, Split

Loss = Callable[[IntArray, FloatArray], float]
"""Of labels int64 [n] and logits [n, K]; lower is better. Its ``__name__`` is its field in a score's path."""

_FEW_CLASSES = 5
"""Up to so many classes, top-5 is 1."""


_MOST_ODDS = 1e30
"""Of either sign: float32 has to hold them."""


class Task(Protocol):
    """A kind of prediction."""

    @property
    def selection_metric(self) -> str:
        """Which of the `measures` is compared on validation."""
        ...

    @property
    def loss(self) -> Loss:
        """What breaks ties of the selection score."""
        ...

    def targets(self, dataset: DataSet, split: Split) -> IntArray:
        """Return the labels int64 [n] of a split's rows."""
        ...

    def measures(self, targets: IntArray, logits: FloatArray) -> dict[str, float]:
        """Return what a score's path holds of a candidate by name, top-1 among it; higher is better."""
        ...

    def metrics(
        self, targets: IntArray, logits: FloatArray, val_targets: IntArray, val_logits: FloatArray
    ) -> dict[str, Any]:
        """Return the fields of a score that follow from its logits on test; what they need fitted is fitted on val.

        Parameters
        ----------
        targets : int64 [n_test]
        logits : float32 [n_test, K]
        val_targets : int64 [m]
        val_logits : float32 [m, K]
            Of rows that selected the hyper-parameters, and that the head was not fitted on.
        """
        ...


@dataclass(frozen=True)
class SingleLabel:
    """Exactly one of K classes per image."""

    classes: int
    selection_metric: str = TOP1

    @property
    def loss(self) -> Loss:
        """The mean negative log-likelihood in nats."""
        return nll

    def targets(self, dataset: DataSet, split: Split) -> IntArray:
        return dataset.parts[split.part].labels[split.rows]

    def measures(self, targets: IntArray, logits: FloatArray) -> dict[str, float]:
        """Return top-1 and what selects, each in [0, 1]; of equal logits the lower class counts."""
        names, predictions = dict.fromkeys((TOP1, self.selection_metric)), logits.argmax(1)
        return {name: selection_score(name, targets, predictions, self.classes) for name in names}

    def metrics(
        self, targets: IntArray, logits: FloatArray, val_targets: IntArray, val_logits: FloatArray
    ) -> dict[str, Any]:
        """Return accuracies, an interval, AUROC, likelihood and calibration; the temperature is fitted on val alone."""
        predictions = logits.argmax(1)
        temperature = fit_temperature(val_targets, val_logits)
        calibrated, raw = chances(logits, temperature), chances(logits)
        return {
            "labels": tuple(targets.tolist()),
            "predictions": tuple(predictions.tolist()),
            "top1": top1(targets, predictions),
            "top5": top_k(targets, logits, 5) if self.classes > _FEW_CLASSES else None,
            "macro": macro(targets, predictions, self.classes),
            "interval": wilson(int((targets == predictions).sum()), len(targets)),
            "auroc": auroc(targets, logits / np.float64(temperature)),
            "temperature": temperature,
            "nll": nll(targets, logits / np.float64(temperature)),
            "brier": brier(targets, calibrated),
            "ece": ece(targets, calibrated),
            "raw_nll": nll(targets, logits),
            "raw_ece": ece(targets, raw),
            "odds": None
            if self.classes != 2
            else OddsOfTwo(
                _log_odds(logits, temperature), _log_odds(val_logits, temperature), tuple(val_targets.tolist())
            ),
            "bins": reliability(targets, calibrated),
            "raw_bins": reliability(targets, raw),
        }


def _log_odds(logits: FloatArray, temperature: float) -> tuple[float, ...]:
    """Return the log-odds of the second of two classes, rounded to float32, for logits [n, 2]."""
    wide = logits.astype(np.float64)
    odds = ((wide[:, 1] - wide[:, 0]) / temperature).clip(-_MOST_ODDS, _MOST_ODDS)
    return tuple(odds.astype(np.float32).tolist())


def task_of(dataset: DataSet, metric: str = TOP1) -> Task:
    """Return the task that a data set's labels are for, selected by one of :data:`probeline.names.METRICS`."""
    return SingleLabel(len(dataset.class_names), metric)
