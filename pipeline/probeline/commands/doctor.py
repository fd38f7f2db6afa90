"""Doctor: examine the data set itself by cached features: duplicates and leaks, likely label errors, outliers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from probeline.analysis.data_checks import examine
from probeline.evaluate.current_scores import current_scores
from probeline.names import PENULTIMATE
from probeline.report.model.rows import blocks
from probeline.report.records.findings import findings_in_words, leakage, leakage_lines
from probeline.results.findings import FINDINGS, Findings
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Examine the data set with each backbone unless that is up to date, print the findings, and return a summary.

    Per backbone it has the count of each kind, top-1 of each row without the leaked images, and the file.
    """
    say, summaries = session.console.say, []
    table = blocks(current_scores(session, "doctor"))
    for backbone in session.settings.nets.backbones:
        record = examine(session.reading(backbone, PENULTIMATE, 0))
        leaks = leakage(record, table)
        for line in (*findings_in_words(record), *leakage_lines(leaks)):
            session.console.result(f"doctor: {line}")
        path = FINDINGS.path(session.reports, record.backbone, record.key)
        say(f"doctor: all findings are in {path}; compare shows them")
        summaries.append(_summarise(record) | {"rows": [asdict(leak) for leak in leaks], "file": str(path)})
    return summaries


def _summarise(record: Findings) -> dict[str, Any]:
    return {
        "backbone": record.backbone,
        "weights": record.weights,
        "images": record.images,
        "duplicates": {name: asdict(region) for name, region in record.duplicates.regions.items()},
        "leaked_exact": len(record.duplicates.leaked_exact),
        "leaked_near": len(record.duplicates.leaked_near),
        "doubted_labels": record.labels.flagged,
        "expected_doubts": record.labels.expected,
        "outliers": record.outliers.flagged,
        "helped": {note.kind: note.counts for note in record.helped},
    }
