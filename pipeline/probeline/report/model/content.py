"""Everything that a report is made from."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from probeline.files.decode import encode
from probeline.format import decimals
from probeline.identity import digest
from probeline.metrics.operating_point import Costs
from probeline.report.model.conditions import Conditions, conditions
from probeline.report.model.groups import ByGroup, Grouping, by_groups
from probeline.report.model.operating import OperatingPoint, operating_point
from probeline.report.model.pairs import Matrix, matrix
from probeline.report.model.row import Block, Row, TitledRow, titled_rows
from probeline.report.model.two_classes import positive_class
from probeline.report.records.published import PublishedComparison
from probeline.results.curve import Curve
from probeline.results.findings import Findings
from probeline.results.illustrations.embedding_map import EmbeddingMap
from probeline.results.illustrations.gallery import Gallery
from probeline.results.illustrations.picture import Picture
from probeline.results.latency import Latency
from probeline.results.quality.alignment import FeatureAlignment
from probeline.results.quality.features import FeatureQuality
from probeline.results.range_test import RangeTest
from probeline.results.score import Score
from probeline.results.shifts.corruptions import Robustness
from probeline.results.shifts.unlike import Unlike


@dataclass(frozen=True)
class ReportFigure:
    """A figure of a report: a file, and an element of the page."""

    name: str
    """``accuracy``, or with the kind first ``confusion-resnet18-probe``."""
    path: Path
    """Of its PNG file, which includes headline and caption."""
    headline: str
    caption: str
    svg: str
    """The plain figure as an ``svg`` element, with its alternative text."""


@dataclass(frozen=True, order=True)
class NotRun:
    """A row or a record that is missing, and the command that makes it."""

    what: str
    command: str


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """The rows of a report, and the records of the same data set; pictures, galleries and maps are verified."""

    blocks: Sequence[Block] = ()
    not_run: Sequence[NotRun] = ()
    """Rows and records that are missing."""
    more_conditions: Conditions = field(default_factory=dict)
    """Conditions that the scores do not state, such as the features' folders."""
    curves: Sequence[Curve] = ()
    range_tests: Sequence[RangeTest] = ()
    published: PublishedComparison | None = None
    latencies: Sequence[Latency] = ()
    pictures: Sequence[Picture] = ()
    galleries: Sequence[Gallery] = ()
    maps: Sequence[EmbeddingMap] = ()
    findings: Findings | None = None
    qualities: Sequence[FeatureQuality] = ()
    alignment: FeatureAlignment | None = None
    robustness: Sequence[Robustness] = ()
    unlike: Sequence[Unlike] = ()
    groupings: Sequence[Grouping] = ()
    """The columns by whose values the test images are grouped."""
    costs: Costs | None = None
    """What an image of each of two classes costs that is called the other."""
    commands: Mapping[str, str] = field(default_factory=dict)
    """The command that makes a row, by the key of its first score."""
    suggestions: Sequence[NotRun] = ()
    """What no command has been run for yet."""
    folder: Path = Path()
    figures: Mapping[str, ReportFigure] = field(default_factory=dict)
    """By name."""
    nets: int = 3
    """Backbones whose galleries and maps are on the page, which has to stay small; the others are in the records."""

    @cached_property
    def titled(self) -> list[TitledRow]:
        """Every row in the order of the table."""
        return titled_rows(self.blocks)

    @property
    def rows(self) -> list[Row]:
        """Every row, without title and scores."""
        return [titled.row for titled in self.titled]

    @property
    def scores(self) -> list[Score]:
        """The scores of all rows."""
        return [score for block in self.blocks for scores in block.scores for score in scores]

    @property
    def dataset(self) -> str:
        """The data set's name; empty if there is no record of it."""
        records: list[Score | Curve | RangeTest] = [*self.scores[:1], *self.curves, *self.range_tests]
        return records[0].dataset if records else ""

    @property
    def places(self) -> int:
        """Decimals of percentages of the test images."""
        return decimals(row.n_test for row in self.rows)

    @cached_property
    def pairs(self) -> Matrix:
        """The differences of every two rows."""
        return matrix(self.blocks)

    @cached_property
    def by_group(self) -> list[tuple[TitledRow, list[ByGroup]]]:
        """The scores of each row by the groups of each column; rows of other test images have none."""
        if not self.groupings:
            return []
        splits = self.groupings[0].splits
        of_these = [titled for titled in self.titled if titled.scores[0].splits == splits]
        return [(titled, by_groups(titled.scores, self.groupings)) for titled in of_these]

    @cached_property
    def operating_points(self) -> list[tuple[TitledRow, OperatingPoint | None]]:
        """What each row costs at the threshold that validation chose; empty without costs."""
        positive = positive_class([titled.scores for titled in self.titled])
        if self.costs is None or positive is None:
            return []
        return [(titled, operating_point(titled.scores, self.costs, positive)) for titled in self.titled]

    @cached_property
    def conditions(self) -> Conditions:
        """What the numbers depend on: headings, and the lines under each."""
        return conditions(self.scores, self.more_conditions, self.curves, self.range_tests)

    def with_nets(self, nets: int) -> ReportContent:
        """Return the content with another number of galleries and maps on the page; nothing is computed again."""
        content = copy.copy(self)
        object.__setattr__(content, "nets", nets)
        return content

    def identity(self) -> dict[str, Any]:
        """Return all that the report depends on as JSON values."""
        illustrations = ("pictures", "galleries", "maps")
        records = ("curves", "range_tests", "latencies", "qualities", *illustrations, "groupings", "robustness")
        names = (*records, "unlike", "not_run", "suggestions")
        return {
            "scores": sorted(digest(encode(score)) for score in self.scores),
            **{name: [encode(record) for record in getattr(self, name)] for name in names},
            "conditions": {name: list(lines) for name, lines in self.more_conditions.items()},
            "costs": self.costs,
            "commands": dict(self.commands),
            "published": self.published and self.published.to_json(),
            "doctor": self.findings and encode(self.findings),
            "alignment": self.alignment and encode(self.alignment),
        }
