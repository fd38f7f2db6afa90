"""All sections of a report in their order: those of this package, and those of other distributions."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from importlib.metadata import entry_points

from probeline.report.sections.feature_quality import FeatureQualitySection
from probeline.report.sections.glossary import Glossary
from probeline.report.sections.images.doctor import DataDoctor
from probeline.report.sections.images.illustrations import EmbeddingMaps, Galleries, Pictures
from probeline.report.sections.reproducibility import AllFigures, ConditionsSection, FigureSection, NotRunSection
from probeline.report.sections.scores.calibration import Calibration
from probeline.report.sections.scores.class_metrics import ClassMetrics
from probeline.report.sections.scores.classes import AccuracyPerClass, ConfusionMatrices
from probeline.report.sections.scores.comparisons import Disagreement, Pairs
from probeline.report.sections.scores.groups import AccuracyByGroup
from probeline.report.sections.scores.latency import LatencySection
from probeline.report.sections.scores.learning import LearningCurves
from probeline.report.sections.scores.operating import OperatingPoints
from probeline.report.sections.scores.published import PublishedNumbers
from probeline.report.sections.scores.ranges import RangeTests
from probeline.report.sections.scores.results import Results
from probeline.report.sections.scores.robustness import RobustnessSection
from probeline.report.sections.scores.unlike import UnlikeSection
from probeline.report.sections.section import FITS, GROUPS, RESULTS, Section

GROUP = "probeline.sections"
"""The entry points of other distributions: each is a section, or a class that makes one without arguments."""

SECTIONS: tuple[Section, ...] = (
    Results(),
    ClassMetrics(),
    OperatingPoints(),
    FigureSection(RESULTS, "cost", "Accuracy against time"),
    FigureSection(RESULTS, "ladder", "Training strategies"),
    LearningCurves(),
    Pairs(),
    PublishedNumbers(),
    RobustnessSection(),
    UnlikeSection(),
    LatencySection(),
    Disagreement(),
    ConfusionMatrices(),
    AccuracyPerClass(),
    AccuracyByGroup(),
    Galleries(),
    EmbeddingMaps(),
    Pictures(),
    FeatureQualitySection(),
    DataDoctor(),
    Calibration(),
    FigureSection(FITS, "path", "Selecting l2"),
    FigureSection(FITS, "training", "Training curves"),
    RangeTests(),
    NotRunSection(),
    AllFigures(),
    ConditionsSection(),
    Glossary(),
)
"""Those of this package, in the order of the page and of report.json; those of a group follow one another."""

_OTHERS = ""
_MARKDOWN = (
    *("results", "metrics", "operating", "groups", "calibration", "pairs", "learning", "ranges", "published"),
    *("robustness", "unlike", "latency", "quality", "doctor", _OTHERS, "missing", "figures", "pictures", "making"),
)
"""The order of report.md, in which sections of other distributions stand at `_OTHERS`."""


def all_sections() -> tuple[Section, ...]:
    """Return all sections in the order of the page; one that cannot be loaded is skipped with a warning."""
    sections = {section.name: section for section in SECTIONS}
    for entry_point in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            loaded = entry_point.load()
            section: Section = loaded() if isinstance(loaded, type) else loaded
            if section.name in sections:
                raise ValueError(f"there is a section {section.name!r} already")
            _ = section.title, section.group
        except Exception as error:  # whatever another distribution raises must not cost the report
            warnings.warn(
                f"report section {entry_point.name} = {entry_point.value} is skipped: {error!r}", stacklevel=2
            )
        else:
            sections[section.name] = section
    groups = [*GROUPS[:-1], *(entry.group for entry in sections.values() if entry.group not in GROUPS), GROUPS[-1]]
    return tuple(sorted(sections.values(), key=lambda section: groups.index(section.group)))


def markdown_order(sections: Iterable[Section]) -> list[Section]:
    """Return sections in the order of report.md."""
    places = {name: place for place, name in enumerate(_MARKDOWN)}
    return sorted(sections, key=lambda section: places.get(section.name, places[_OTHERS]))


def installed_sections() -> list[str]:
    """Return the names and versions of other distributions' sections; none of them is loaded."""
    return sorted(f"{one.name} {one.value} {one.dist.version if one.dist else ''}" for one in entry_points(group=GROUP))
