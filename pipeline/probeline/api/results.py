"""What a probe or a fine-tune returns to Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from probeline.environment import describe_environment
from probeline.errors import BadOption
from probeline.format import option, percent
from probeline.report.model.groups import by_groups
from probeline.report.model.row import Row
from probeline.report.model.rows import blocks
from probeline.report.records.groups import grouping_of
from probeline.report.targets.difference import columns_of
from probeline.results.methods import method_info
from probeline.results.score import Score
from probeline.results.score_words import missed_classes
from probeline.results.targets.score import Metric, TargetScore
from probeline.results.targets.words import METRICS
from probeline.session import Session
from probeline.text import printable
from probeline.types import AnyArray, DoubleArray, FloatArray

if TYPE_CHECKING:
    import pandas as pd

    from probeline.api.features import Features
    from probeline.report.figures.sheet import Sheet


@dataclass(frozen=True)
class FittedHead:
    """A head on features that are not standardised.

    Attributes
    ----------
    tensors : mapping of str to array
        ``mean`` and ``std`` float32 [D] of the rows it was fitted on, ``weight`` float32 [K, D or W] and ``bias`` [K];
        with a hidden layer of W units also ``hidden_weight`` and ``hidden_bias``. For k-NN in place of layers ``rows``
        float32 [n, D], their ``labels`` and ``k``.
    classes : array [K]
    temperature : float
        What logits are divided by before they become probabilities, fitted on validation rows.
    activation : str or None
        Of the hidden layer.
    """

    tensors: Mapping[str, AnyArray]
    classes: AnyArray
    temperature: float
    activation: str | None = None

    def decision_function(self, features: Any) -> FloatArray:
        """Return logits float32 [N, K] of features [N, D]."""
        import torch

        from probeline.export.modules import Head, Votes

        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in self.tensors.items()}
        module = Votes(tensors, len(self.classes)) if "rows" in tensors else Head(tensors, self.activation)
        with torch.no_grad():
            logits: FloatArray = module(torch.from_numpy(np.array(features, np.float32))).numpy()
        return logits

    def predict_proba(self, features: Any) -> DoubleArray:
        """Return the calibrated probability of each of `classes`, float64 [N, K]."""
        probabilities: DoubleArray = softmax(self.decision_function(features) / np.float64(self.temperature), axis=1)
        return probabilities

    def predict(self, features: Any) -> AnyArray:
        """Return the likeliest of `classes` for each row, [N]."""
        predicted: AnyArray = self.classes[self.decision_function(features).argmax(axis=1)]
        return predicted


class Result:
    """How one method did: chosen on validation rows, scored once on test rows, with one score for each seed."""

    def __init__(self, session: Session, scores: tuple[Score, ...], features: Features | None = None) -> None:
        self.session = session
        self.scores = scores
        self.features = features

    def __repr__(self) -> str:
        low, high = self.interval
        return printable(
            f"<Result {self.row.title} on {self.row.backbone}, {self.scores[0].dataset}: test top-1 "
            f"{percent(self.top1, 1)} % ({percent(low, 1)} to {percent(high, 1)}), n = {self.row.n_test:,}>"
        )

    @cached_property
    def row(self) -> Row:
        """The row of a report: means over the seeds."""
        (block,) = blocks(self.scores)
        return block.rows[0]

    @property
    def method(self) -> str:
        """The method's name in reports."""
        return self.scores[0].method

    @property
    def top1(self) -> float:
        """Test accuracy in [0, 1], the mean over the seeds."""
        return self.row.top1

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `top1` for the sampling of the test rows."""
        return self.row.interval

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The hyper-parameters that were best on validation, of the first seed."""
        return self.scores[0].chosen

    @property
    def classes(self) -> AnyArray:
        """The class names, str [K]."""
        return np.array(self.scores[0].class_names)

    @property
    def predictions(self) -> AnyArray:
        """The predicted class of each test row, str [n], of the first seed."""
        predicted: AnyArray = self.classes[list(self.scores[0].predictions)]
        return predicted

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas data frame of the test rows: ``sample_id``, ``label``, and a ``prediction`` for each seed."""
        from probeline.api.frames import frame

        split = self.session.splits.test
        part = self.session.dataset.parts[split.part]
        columns: dict[str, Any] = {
            "sample_id": [part.sample_ids[row] for row in split.rows.tolist()],
            "label": self.classes[list(self.scores[0].labels)],
        }
        for score in self.scores:
            name = "prediction" if len(self.scores) == 1 else f"prediction_seed{score.seed}"
            columns[name] = self.classes[list(score.predictions)]
        return frame(columns)

    def by_group(self, values: Any) -> pd.DataFrame:
        """Return a pandas data frame of the accuracy by group of test rows, one line for each group, largest first.

        Parameters
        ----------
        values : mapping, Series or sequence
            The group of each row: by sample id, or one for each test row in the order of :meth:`to_frame`, or one for
            each row of the features if the test rows are some of these. Rows without one (None, NaN, empty text, or no
            such sample id) are a group of their own, named ``(no value)``.

        Returns
        -------
        DataFrame
            ``group``, ``n``, ``top1``, its 95 % interval ``low`` to ``high``, ``macro``, ``macro_f1``, ``difference``
            (from all other test rows), ``p`` (Fisher's exact test, adjusted by Holm's method) and ``worse``, if that is
            significant; shares in [0, 1]. Groups of fewer than 30 rows are not compared and have no ``p``.

        Raises
        ------
        BadData
            Another number of values, no value at all, or more than 1,000 different ones.
        """
        from probeline.api.frames import frame

        groups = by_groups(self.scores, [grouping_of("values", values, self.session)])[0].groups
        low, high = zip(*(group.interval for group in groups), strict=True)
        columns: dict[str, Any] = {
            name: [getattr(group, name) for group in groups]
            for name in ("name", "n", "top1", "macro", "macro_f1", "difference", "p", "worse")
        }
        order = ("n", "top1", "low", "high", "macro", "macro_f1", "difference", "p", "worse")
        columns |= {"low": list(low), "high": list(high)}
        return frame({"group": columns["name"], **{name: columns[name] for name in order}})

    def summary(self) -> str:
        """Return the result in a few lines: accuracy, interval, what was chosen and how, n, seconds and versions."""
        row, score = self.row, self.scores[0]
        low, high = self.interval
        seeds = f", mean of {row.seeds} seeds" if row.seeds > 1 else ""
        lines = [
            f"{row.title} on {row.backbone} ({row.weights}), {score.dataset}",
            f"test top-1 {percent(self.top1, 1)} % (95 % interval {percent(low, 1)} to {percent(high, 1)}, "
            f"n = {row.n_test:,}{seeds}); mean class accuracy {percent(row.macro, 1)} %",
            f"fitted on {row.n_train:,} rows"
            + (f", {row.chosen}" if row.chosen else "")
            + (f" chosen by {row.chosen_by}" if row.chosen and row.chosen_by else ""),
            f"calibration error {percent(row.ece, 1)} % after temperature scaling; "
            f"{row.warm_seconds:.1f} s with cached features",
            describe_environment(score.environment),
        ]
        if missed := missed_classes(self.scores):
            lines.insert(2, f"never right on {missed}")
        if not row.converged:
            lines.append("the fit stopped before its tolerance")
        return "\n".join(map(printable, lines))

    def plot(self) -> Sheet:
        """Return the confusion matrix on the test rows as a matplotlib figure."""
        from probeline.report.figures.classes import confusions
        from probeline.report.figures.sheet import default_look

        with default_look():
            return confusions(self.row.backbone, self.row, self.scores[0])

    @cached_property
    def head(self) -> FittedHead:
        """The fitted head of the first seed, fitted again from the features on the same rows.

        Raises
        ------
        BadOption
            The method has no head on features, such as a fine-tuned net.
        """
        from probeline.evaluate.score import refit

        if self.features is None or method_info(self.method).trains:
            raise BadOption(f"{self.method} has no head on cached features", remedy="use probeline export")
        exported = refit(self.features.cached, self.scores[0])
        return FittedHead(exported.tensors, self.classes, self.scores[0].temperature, exported.activation)


class TargetResult:
    """How one method did on several labels or on numbers: chosen on validation rows, scored once on test rows."""

    def __init__(self, session: Session, scores: tuple[TargetScore, ...]) -> None:
        self.session = session
        self.scores = scores

    def __repr__(self) -> str:
        return printable(f"<TargetResult {self.summary().splitlines()[0]}>")

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """By name a metric's `value` on test and its 95 % `interval`, of the first seed."""
        return self.scores[0].metrics

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The hyper-parameters that were best on validation, of the first seed."""
        return self.scores[0].chosen

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the labels or numbers, [T]."""
        return self.scores[0].target_names

    @property
    def predictions(self) -> DoubleArray:
        """The probability of each label, or the number, predicted for each test row: float64 [n, T], first seed."""
        return columns_of(self.scores[0])[1]

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas data frame of the test rows: ``sample_id``, and truth and prediction of each target."""
        from probeline.api.frames import frame

        split = self.session.splits.test
        part = self.session.dataset.parts[split.part]
        truth, outputs = columns_of(self.scores[0])
        columns: dict[str, Any] = {"sample_id": [part.sample_ids[row] for row in split.rows.tolist()]}
        for name, own, predicted in zip(self.targets, truth.T, outputs.T, strict=True):
            columns |= {name: own, f"{name}_predicted": predicted}
        return frame(columns)

    def per_target(self) -> pd.DataFrame:
        """Return a pandas data frame with one line for each label or number, and its metrics on test."""
        from probeline.api.frames import frame

        score = self.scores[0]
        by_metric = {name: list(own) for name, own in score.per_target.items()}
        return frame({"target": list(score.target_names), **by_metric})

    def summary(self) -> str:
        """Return the result in a few lines: metrics with their intervals, what was chosen and how, n, versions."""
        score = self.scores[0]
        lines = [f"{method_info(score.method).title} on {score.backbone} ({score.weights}), {score.dataset}"]
        for name, words in METRICS.items():
            metric = score.metrics.get(name)
            if metric is None or metric.value is None:
                continue
            text = f"test {words.head} {words.shown(metric.value)}"
            if metric.interval is not None:
                low, high = (words.shown(end) for end in metric.interval)
                text += f" (95 % interval {low} to {high})"
            lines.append(text)
        chosen = ", ".join(option(name, value) for name, value in score.chosen.items())
        lines.append(
            f"{score.n_test:,} test rows, fitted on {score.n_train:,}"
            + (f", {chosen} chosen by {score.chosen_by}" if chosen else "")
        )
        lines.append(describe_environment(score.environment))
        return "\n".join(map(printable, lines))
