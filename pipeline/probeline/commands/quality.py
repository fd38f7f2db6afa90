"""Quality: what the cached features alone say: ranks, dimension, predictors of transfer, retrieval, clusters, CKA."""

from __future__ import annotations

from typing import Any

from probeline.analysis.quality.measure import measure_quality
from probeline.files.decode import encode
from probeline.report.records.quality import alignment_in_words, feature_titles, quality_in_words
from probeline.results.quality.alignment import ALIGNMENTS
from probeline.results.quality.features import QUALITIES, predictor_values
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Measure the features of every backbone and tap unless that is up to date, print the numbers and return them.

    The last one of several has the alignment of all of them.
    """
    qualities, alignment = measure_quality(session)
    result, summaries = session.console.result, []
    for title, quality in zip(feature_titles([quality.net for quality in qualities]), qualities, strict=True):
        for line in quality_in_words(quality):
            result(f"quality: {title}: {line}")
        path = QUALITIES.path_of(session.reports, quality)
        summaries.append(
            {
                "kind": "features",
                **{name: value for name, value in encode(quality).items() if name not in ("of", "environment")},
                "predictors": predictor_values(quality),
                "file": str(path),
            }
        )
    if alignment is not None:
        result(f"quality: {alignment_in_words(alignment)}")
        facts = {name: value for name, value in encode(alignment).items() if name not in ("of", "environment")}
        summaries.append({"kind": "alignment", **facts, "file": str(ALIGNMENTS.path_of(session.reports, alignment))})
    shown = "; compare shows them" if session.dataset.class_names else ""
    session.console.say(f"quality: the records are in {session.reports / 'quality'}{shown}")
    return summaries
