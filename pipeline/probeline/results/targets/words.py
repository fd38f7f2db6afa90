"""The metrics of several labels and of numbers in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from probeline.format import percent, signed


@dataclass(frozen=True)
class MetricWords:
    """How a metric is called and written."""

    title: str
    form: Literal["share", "number", "unit", "count"]
    """``share`` in percent, ``number`` with three decimals, ``unit`` with four digits, ``count`` as it is."""
    note: str = ""
    """What it is, in a sentence."""

    @property
    def is_share(self) -> bool:
        """Whether it is shown in percent."""
        return self.form == "share"

    @property
    def head(self) -> str:
        """The head of its column."""
        return f"{self.title} %" if self.is_share else self.title

    def shown(self, value: float | None, places: int = 1) -> str:
        """Return a value as it is written, without the sign of percent; empty if it is not defined."""
        if value is None:
            return ""
        if self.is_share:
            return signed(percent(value, places))
        return signed({"number": f"{value:.3f}", "unit": f"{value:.4g}", "count": f"{value:,.0f}"}[self.form])


METRICS: dict[str, MetricWords] = {
    "map": MetricWords(
        "mAP",
        "share",
        "mAP is the mean over the labels of their average precision: of the images ranked by a label's probability, "
        "the mean share of right ones down to each image that has it. A random ranking has about the label's share of "
        "images.",
    ),
    "map-micro": MetricWords(
        "Micro AP", "share", "Micro AP ranks the pairs of image and label of all labels together."
    ),
    "auroc": MetricWords(
        "AUROC",
        "share",
        "AUROC is the mean over the labels of the share of pairs, of an image with the label and one without, that are "
        "in the right order; a half is chance.",
    ),
    "f1": MetricWords(
        "Macro F1",
        "share",
        "F1 is the harmonic mean of precision and sensitivity at a threshold of each label that was chosen on "
        "validation; macro is its mean over the labels, micro counts all labels together, and by image is the mean "
        "over the images.",
    ),
    "f1-micro": MetricWords("Micro F1", "share"),
    "f1-samples": MetricWords("F1 by image", "share"),
    "exact-match": MetricWords(
        "All labels right", "share", "All labels right is the share of images without any error."
    ),
    "ece": MetricWords(
        "Calibration error",
        "share",
        "The calibration error is the mean over the labels of that of their probabilities, after one temperature each "
        "that was fitted on validation.",
    ),
    "r2": MetricWords(
        "R²",
        "number",
        "R² is 1 less the squared error by that of the mean of the test images: 1 is exact, 0 is no better than a "
        "constant; of several targets the mean.",
    ),
    "mae": MetricWords("Mean absolute error", "unit", "Errors are in the unit of the target; of several the mean."),
    "rmse": MetricWords("Root mean squared error", "unit"),
    "spearman": MetricWords(
        "Spearman", "number", "Spearman's correlation is that of the ranks: whether larger values are predicted larger."
    ),
}
"""By their names in records, in the order of tables."""

PER_TARGET: dict[str, MetricWords] = {
    "images": MetricWords("Test images", "count"),
    "with it": MetricWords("With it", "count"),
    "average precision": MetricWords("Average precision", "share"),
    "auroc": MetricWords("AUROC", "share"),
    "f1": MetricWords("F1", "share"),
    "ece": MetricWords("Calibration error", "share"),
    "brier": MetricWords("Brier", "number"),
    "r2": METRICS["r2"],
    "mae": METRICS["mae"],
    "rmse": METRICS["rmse"],
    "spearman": METRICS["spearman"],
}
"""Of single labels or targets."""
