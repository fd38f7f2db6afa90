"""Tasks of several labels and of numbers: what predictions are selected by, and what is reported of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.special import expit

from probeline.errors import BadData
from probeline.heads.temperature import fit_label_temperatures
from probeline.metrics import multi_label, regression
from probeline.metrics.targets import label_intervals, number_intervals
from probeline.names import MULTI_LABEL, REGRESSION
from probeline.results.targets.score import Metric
from probeline.types import AnyArray, BoolArray, DoubleArray


@dataclass(frozen=True)
class Predicted:
    """Targets and a head's outputs for them, both float64 [n, T]."""

    Y: DoubleArray
    outputs: DoubleArray


class TargetTask(Protocol):
    """A kind of prediction of several values.

    Attributes
    ----------
    name : str
    title : str
        Of the metric.
    metric : str
        What is compared on validation; higher is better.
    loss : str
        What breaks its ties; lower is better.
    """

    name: str
    title: str
    metric: str
    loss: str

    def test_values(self, Y: DoubleArray, outputs: DoubleArray) -> tuple[float | None, float]:
        """Return the metric and the loss of outputs float64 [n, T] at targets float64 [n, T]; None if undefined."""
        ...

    def selection_values(self, Y: DoubleArray, outputs: DoubleArray) -> tuple[float, float]:
        """Return metric and loss on validation; BadData if the metric is not defined there."""
        value, loss = self.test_values(Y, outputs)
        if value is None:
            raise BadData(
                f"{self.title} is not defined on the validation images",
                expected="a label that some have and some lack, or numbers that differ",
                remedy="add images with targets",
            )
        return value, loss

    def fields(self, test: Predicted, val: Predicted, groups: AnyArray | None = None) -> dict[str, Any]:
        """Return the fields of a score that follow from outputs on test; what they need fitted is fitted on val.

        With `groups` [n_test], intervals are for other groups of images.
        """
        ...


class MultiLabel(TargetTask):
    """Any number of L labels for each image; outputs are logits, each of its own probability."""

    name, title, metric, loss = MULTI_LABEL, "mAP", "map", "nll"

    def test_values(self, Y: DoubleArray, outputs: DoubleArray) -> tuple[float | None, float]:
        nll = multi_label.mean_over_labels(multi_label.nll_per_label(Y, outputs)).value
        return multi_label.mean_average_precision(Y, outputs).value, float("inf") if nll is None else nll

    def fields(self, test: Predicted, val: Predicted, groups: AnyArray | None = None) -> dict[str, Any]:
        Y = test.Y
        temperatures = fit_label_temperatures(val.Y, val.outputs)
        # float32, as records keep them, so that a threshold means the same when they are read
        probabilities, of_val = (
            expit(logits / temperatures).astype(np.float32).astype(np.float64) for logits in (test.outputs, val.outputs)
        )
        thresholds = multi_label.choose_thresholds(val.Y, of_val)
        calibration = multi_label.ece_per_label(Y, probabilities)
        values = {
            "map": multi_label.mean_average_precision(Y, probabilities).value,
            "map-micro": multi_label.micro_average_precision(Y, probabilities),
            "auroc": multi_label.macro_auroc(Y, probabilities).value,
            "f1": multi_label.macro_f1(Y, probabilities, thresholds).value,
            "f1-micro": multi_label.micro_f1(Y, probabilities, thresholds),
            "f1-samples": multi_label.samples_f1(Y, probabilities, thresholds),
            "exact-match": multi_label.exact_match(Y, probabilities, thresholds),
            "ece": multi_label.mean_over_labels(calibration).value,
        }
        intervals = label_intervals(Y, probabilities, thresholds, groups)
        return {
            "metrics": {name: Metric(value, intervals.get(name)) for name, value in values.items()},
            "per_target": {
                "images": _listed((~np.isnan(Y)).sum(axis=0)),
                "with it": _listed((Y == 1).sum(axis=0)),
                "average precision": _listed(multi_label.average_precision_per_label(Y, probabilities)),
                "auroc": _listed(multi_label.auroc_per_label(Y, probabilities)),
                "f1": _listed(multi_label.f1_per_label(Y, probabilities, thresholds)),
                "ece": _listed(calibration),
                "brier": _listed(multi_label.brier_per_label(Y, probabilities)),
            },
            "thresholds": tuple(thresholds.tolist()),
            "truth": tuple(Y.ravel().tolist()),
            "outputs": tuple(probabilities.ravel().tolist()),
        }


class Regression(TargetTask):
    """One or several numbers for each image."""

    name, title, metric, loss = REGRESSION, "R²", "r2", "mse"

    def test_values(self, Y: DoubleArray, outputs: DoubleArray) -> tuple[float | None, float]:
        squared = by_target(Y, outputs, lambda truth, predicted: regression.rmse_per_target(truth, predicted) ** 2)
        return regression.mean_over_targets(by_target(Y, outputs, regression.r2_per_target)), float(np.nanmean(squared))

    def fields(self, test: Predicted, val: Predicted, groups: AnyArray | None = None) -> dict[str, Any]:
        Y, outputs = test.Y, test.outputs
        own = {
            "r2": by_target(Y, outputs, regression.r2_per_target),
            "mae": by_target(Y, outputs, regression.mae_per_target),
            "rmse": by_target(Y, outputs, regression.rmse_per_target),
            "spearman": by_target(Y, outputs, regression.spearman_per_target),
        }
        intervals = number_intervals(Y, outputs, groups)
        return {
            "metrics": {
                name: Metric(regression.mean_over_targets(values), intervals.get(name)) for name, values in own.items()
            },
            "per_target": {
                "images": _listed((~np.isnan(Y)).sum(axis=0)),
                **{name: _listed(values) for name, values in own.items()},
            },
            "thresholds": (),
            "truth": tuple(Y.ravel().tolist()),
            "outputs": tuple(outputs.ravel().tolist()),
        }


def by_target(
    Y: DoubleArray, outputs: DoubleArray, measure: Callable[[DoubleArray, DoubleArray], DoubleArray]
) -> DoubleArray:
    """Return a measure of each target on the rows where it is known, float64 [T]; NaN where none is."""
    known: BoolArray = ~np.isnan(Y)
    values = np.full(Y.shape[1], np.nan)
    for column, rows in enumerate(known.T):
        if rows.any():
            values[column] = measure(Y[rows, column, None], outputs[rows, column, None])[0]
    return values


def _listed(values: Any) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def target_task(name: str) -> TargetTask:
    """Return the task of a data set's targets."""
    return MultiLabel() if name == MULTI_LABEL else Regression()
