"""How well numbers of the features alone order the backbones: their rank correlation with the probe's accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from probeline.metrics.ranks import kendall
from probeline.metrics.regression import spearman
from probeline.names import Method
from probeline.report.board.comparable import by_data
from probeline.report.board.entries import BoardData, Entry, Net
from probeline.results.quality.features import PREDICTORS, FeatureQuality, find_predictors

FEWEST = 3
"""Backbones of a correlation: of two it can only be 1 or -1."""


@dataclass(frozen=True)
class Correlation:
    """The rank correlation of a predictor with test top-1 of the exact probe, over the backbones on one data set."""

    data: str
    """Name of the data set."""
    n: int
    """Backbones."""
    kendall: float
    """Tau-b, in [-1, 1]."""
    spearman: float


@dataclass(frozen=True)
class Predictor:
    """A number of the features alone, and how well it orders the backbones on each data set."""

    name: str
    """One of :data:`probeline.results.quality.features.PREDICTORS`."""
    correlations: tuple[Correlation, ...]

    @property
    def kendall(self) -> float:
        """The mean over the data sets."""
        return fmean(one.kendall for one in self.correlations)

    @property
    def spearman(self) -> float:
        """The mean over the data sets."""
        return fmean(one.spearman for one in self.correlations)


def predictors(entries: Sequence[Entry], qualities: Sequence[tuple[BoardData, FeatureQuality]]) -> list[Predictor]:
    """Return the predictors that are known of `FEWEST` backbones or more on a data set, the best first.

    `qualities` are of the very rows that the scores are of. Of several exact probes of a net the first is taken. A
    predictor or an accuracy that is the same for all backbones has no correlation.
    """
    found: dict[str, list[Correlation]] = {name: [] for name in PREDICTORS}
    for data, own in by_data(entries).items():
        records = [quality for of, quality in qualities if of == data]
        probes: dict[Net, Entry] = {}
        for entry in (entry for entry in own if entry.row.method == Method.PROBE):
            probes.setdefault(entry.net, entry)
        known = {net: _values(records, entry) for net, entry in probes.items()}
        for name in PREDICTORS:
            nets = [net for net in probes if name in known[net]]
            correlation = _correlation(data.name, {net: known[net][name] for net in nets}, probes)
            found[name] += [] if correlation is None else [correlation]
    shown = [Predictor(name, tuple(correlations)) for name, correlations in found.items() if correlations]
    return sorted(shown, key=lambda one: (-round(one.kendall, 9), PREDICTORS.index(one.name)))


def _values(records: Sequence[FeatureQuality], entry: Entry) -> dict[str, float]:
    row, score = entry.row, entry.scores[0]
    return find_predictors(records, score.dataset, row.backbone, row.weights, row.tap, row.image_size, row.precision)


def _correlation(data: str, values: Mapping[Net, float], probes: Mapping[Net, Entry]) -> Correlation | None:
    if len(values) < FEWEST:
        return None
    predicted = np.array(list(values.values()), dtype=np.float64)
    measured = np.array([probes[net].row.top1 for net in values], dtype=np.float64)
    tau, rho = kendall(predicted, measured), spearman(measured[:, None], predicted[:, None])
    return None if tau is None or rho is None else Correlation(data, len(values), tau, rho)
