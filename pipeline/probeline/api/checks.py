"""Checks of a data set from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probeline.analysis.data_checks import examine
from probeline.api.arrangement import Arrangement
from probeline.api.console import raises_in_keywords
from probeline.report.records.findings import findings_in_words
from probeline.results.findings import Findings, ImageReference
from probeline.session import Session
from probeline.text import printable

if TYPE_CHECKING:
    import pandas as pd


class DataChecks:
    """What the doctor found in a data set: duplicates, likely label errors, outliers, odd files.

    Attributes
    ----------
    findings : Findings
        The whole record.
    """

    def __init__(self, session: Session, findings: Findings) -> None:
        self.session = session
        self.findings = findings

    def __repr__(self) -> str:
        return printable(f"<DataChecks {self.session.dataset.name}, by {self.findings.backbone}>")

    def summary(self) -> str:
        """Return the findings in words, a line for each subject."""
        return "\n".join(map(printable, findings_in_words(self.findings)))

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas data frame of the findings: kind, sample, split, label, and what it is or is like."""
        from probeline.api.frames import frame

        names, findings = self.findings.class_names, self.findings
        lines: list[tuple[str, ImageReference, str, float]] = [
            *(
                (f"{pair.kind} duplicate", pair.first, pair.second.sample_id, pair.score)
                for pair in findings.duplicates.pairs
            ),
            *(("suspect label", one.image, names[one.suggested], one.score) for one in findings.labels.suspects),
            *(
                ("outlier", one.image, "", one.distance)
                for one in findings.outliers.remote
                if one.p <= findings.outliers.level
            ),
        ]
        return frame(
            {
                "finding": [kind for kind, *_ in lines],
                "sample_id": [image.sample_id for _, image, *_ in lines],
                "split": [image.role for _, image, *_ in lines],
                "label": [names[image.label] for _, image, *_ in lines],
                "other": [other for _, _, other, _ in lines],
                "score": [score for *_, score in lines],
            }
        )


@raises_in_keywords
def doctor(
    features: Any,
    labels: Any = None,
    *,
    test: Any = None,
    val: Any = None,
    groups: Any = None,
    data_seed: int | None = None,
    name: str | None = None,
    reports: Any = None,
    verbose: bool = False,
) -> DataChecks:
    """Check a data set by its features, as ``probeline doctor`` does.

    Parameters
    ----------
    features, labels, test, val, groups, data_seed, name, reports, verbose
        As :func:`probeline.probe` takes them. Features from elsewhere have no pixels, so that near duplicates are not
        searched for.

    Raises
    ------
    ProbelineError
    """
    arrangement = Arrangement(labels, test=test, val=val, groups=groups, data_seed=data_seed, name=name)
    ready = arrangement.of(features).with_options(verbose=verbose, reports=reports)
    return DataChecks(ready.session, examine(ready.session))
