"""The rows of a report of several labels or of numbers: one method on one backbone, with all its seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from probeline.format import option
from probeline.identity import canonical
from probeline.names import PENULTIMATE, REGRESSION, Method, describe_tap
from probeline.report.targets.difference import TargetDifference, differences
from probeline.results.methods import method_info, order
from probeline.results.targets.score import Metric, TargetScore

_OF_NUMBERS = {
    Method.PROBE.value: "linear probe (ridge regression)",
    Method.PROBE_REFIT.value: "linear probe (ridge, refit)",
}
"""Methods that are called otherwise where they predict numbers."""


@dataclass(frozen=True)
class TargetRow:
    """The scores of the seeds of one method on one backbone; its numbers are their means."""

    scores: tuple[TargetScore, ...]
    over_probe: TargetDifference | None = None
    """To the exact probe that is best on validation, on the same test images."""
    is_reference: bool = False
    variant: str = ""
    """The options in words that differ from other rows of the method on the backbone."""

    @property
    def first(self) -> TargetScore:
        """The score of the first seed."""
        return self.scores[0]

    @property
    def backbone(self) -> str:
        """The net with what tells it from others: weights, tap and views."""
        first = self.first
        is_untrained = first.weights == "none" and first.method != Method.SCRATCH
        at = describe_tap(first.tap, first.views) if first.tap != PENULTIMATE or first.views else ""
        return ", ".join(filter(None, (first.backbone, "untrained" if is_untrained else "", at)))

    @property
    def method(self) -> str:
        """The method in words."""
        name = self.first.method
        short = (_OF_NUMBERS.get(name) if self.first.task == REGRESSION else None) or method_info(name).short
        return f"{short} ({self.variant})" if self.variant else short

    @property
    def name(self) -> str:
        """Method and backbone."""
        return f"{self.method} on {self.backbone}"

    @property
    def seeds(self) -> int:
        """How many scores there are."""
        return len(self.scores)

    @property
    def val_score(self) -> float:
        """The mean of the metric that selects, on validation."""
        return fmean(score.val_score for score in self.scores)

    @property
    def waited(self) -> float | None:
        """The mean share of the seconds that a core was missing, of the seeds where it is known."""
        known = [score.waited for score in self.scores if score.waited is not None]
        return fmean(known) if known else None

    @property
    def cold_seconds(self) -> float:
        """The mean of the seeds."""
        return fmean(score.cold_seconds for score in self.scores)

    @property
    def warm_seconds(self) -> float:
        """The mean of the seeds."""
        return fmean(score.warm_seconds for score in self.scores)

    def metric(self, name: str) -> Metric:
        """Return the mean of a metric over the seeds, and of the ends of its intervals; undefined if one is."""
        own = [score.metrics.get(name, Metric(None)) for score in self.scores]
        values = [metric.value for metric in own if metric.value is not None]
        if len(values) < len(own):
            return Metric(None)
        ends = [metric.interval for metric in own if metric.interval is not None]
        interval = (fmean(low for low, _ in ends), fmean(high for _, high in ends)) if len(ends) == len(own) else None
        return Metric(fmean(values), interval)

    @property
    def chosen(self) -> str:
        """The hyper-parameters in words, those of the seeds if they differ."""
        texts = (", ".join(option(name, value) for name, value in score.chosen.items()) for score in self.scores)
        return "; ".join(dict.fromkeys(filter(None, texts)))

    @property
    def trains(self) -> bool:
        """Whether the net itself is trained."""
        return method_info(self.first.method).trains

    @property
    def diverged(self) -> int:
        """How many candidates were left out since their training diverged; the most of any seed."""
        return max(len(score.certificate.get("diverged", ())) for score in self.scores)

    @property
    def is_at_edge(self) -> bool:
        """Whether a seed chose a value at an edge of its grid."""
        return any(score.certificate.get("edge") is True for score in self.scores)

    @property
    def converged(self) -> bool:
        """Whether every fit met its tolerance."""
        return all(score.converged for score in self.scores)


def target_rows(scores: Sequence[TargetScore]) -> list[TargetRow]:
    """Return the rows of scores of the same test images, the best on validation first."""
    groups: dict[tuple[object, ...], list[TargetScore]] = defaultdict(list)
    for score in scores:
        net = (score.backbone, score.weights, score.image_size, score.precision, score.tap, score.views)
        groups[(*net, score.method, canonical(dict(score.options)))].append(score)
    rows = _with_variants([TargetRow(tuple(sorted(own, key=lambda score: score.seed or 0))) for own in groups.values()])
    rows.sort(key=lambda row: (-round(row.val_score, 12), order(row.first.method), row.backbone))
    probe = next((row for row in rows if row.first.method == Method.PROBE), None)
    if probe is None:
        return rows
    others = [row for row in rows if row is not probe]
    found = iter(differences([row.scores for row in others], probe.scores))
    return [replace(row, over_probe=None if row is probe else next(found), is_reference=row is probe) for row in rows]


def _with_variants(rows: Sequence[TargetRow]) -> list[TargetRow]:
    """Return rows of which those with one name say which of their options differ."""
    by_name: dict[str, list[TargetRow]] = defaultdict(list)
    for row in rows:
        by_name[row.name].append(row)
    found = []
    for row in rows:
        others = [other.first.options for other in by_name[row.name]]
        differing = [name for name, value in row.first.options.items() if any(o.get(name) != value for o in others)]
        words = ", ".join(option(name, row.first.options[name]) for name in differing)
        found.append(replace(row, variant=words))
    return found


def names_of(rows: Sequence[TargetRow], of: Mapping[str, object]) -> list[str]:
    """Return the names of `of`, in its order, of metrics that some row has a value of."""
    return [name for name in of if any(row.metric(name).value is not None for row in rows)]
