"""What features alone say of themselves, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from probeline.analysis.quality.measure import measure_quality
from probeline.api.arrangement import Arrangement
from probeline.api.console import raises_in_keywords
from probeline.report.records.quality import quality_in_words
from probeline.results.quality.features import FeatureQuality, predictor_values
from probeline.session import Session
from probeline.text import printable

if TYPE_CHECKING:
    import pandas as pd


class Quality:
    """What the features of one backbone say of themselves: rank, dimension, predictors, retrieval and clusters.

    Attributes
    ----------
    record : FeatureQuality
        The whole record.
    """

    def __init__(self, session: Session, record: FeatureQuality) -> None:
        self.session = session
        self.record = record

    def __repr__(self) -> str:
        return printable(f"<Quality {self.session.dataset.name}, {self.record.backbone} at {self.record.tap}>")

    @property
    def predictors(self) -> dict[str, float]:
        """The numbers of the train images alone by name, which may predict the accuracy of a probe."""
        return predictor_values(self.record)

    def summary(self) -> str:
        """Return the numbers in words, a line for each subject."""
        return "\n".join(map(printable, quality_in_words(self.record)))

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas data frame of one row: the predictors, recall at each k and mean average precision."""
        from probeline.api.frames import frame

        retrieval = self.record.retrieval
        values: dict[str, Any] = {"backbone": self.record.backbone, "tap": self.record.tap, **self.predictors}
        if retrieval is not None:
            values |= {f"recall@{one.k}": one.value for one in retrieval.recall}
            values["map"] = retrieval.mean_precision
        return frame({name: [value] for name, value in values.items()})


@raises_in_keywords
def quality(
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
) -> Quality:
    """Measure features alone, as ``probeline quality`` does; nothing is fitted but clusters.

    Parameters
    ----------
    features, labels, test, val, groups, data_seed, name, reports, verbose
        As :func:`probeline.probe` takes them; features of a data set may be without labels.

    Raises
    ------
    ProbelineError
    """
    arrangement = Arrangement(labels, test=test, val=val, groups=groups, data_seed=data_seed, name=name)
    ready = arrangement.of(features).with_options(verbose=verbose, reports=reports)
    records: Sequence[FeatureQuality] = measure_quality(ready.session)[0]
    return Quality(ready.session, records[0])
