"""Robustness: accuracy under corruptions of the test images, by corruption and severity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from probeline.files.decode import encode
from probeline.format import decimals, percent, points
from probeline.names import CORRUPTIONS, SEVERITIES
from probeline.report.model.content import ReportContent
from probeline.report.model.row import TitledRow
from probeline.report.sections.section import RESULTS, Tables, TableSection
from probeline.report.sections.tables import TextTable, text_table
from probeline.results.shifts.corruptions import Robustness


class RobustnessSection(TableSection):
    name, title, group = "robustness", "Robustness to corruptions", RESULTS

    def tables(self, content: ReportContent) -> Tables | None:
        if not content.robustness:
            return None
        records = [(record, _title(content, record)) for record in content.robustness]
        tables = [_summary(records), *(_by_corruption(record, title) for record, title in records)]
        return tables, _notes(content.robustness)

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        if not content.robustness:
            return {}
        return {
            "robustness": [
                {**encode(record), "clean": record.clean, "mean": record.mean, "drop": record.drop}
                for record in content.robustness
            ]
        }


def _title(content: ReportContent, record: Robustness) -> str:
    """Return the row of a record in words."""
    titled: TitledRow | None = next((t for t in content.titled if record.score in t.row.keys), None)
    return f"{titled.row.short} on {titled.title}" if titled else f"{record.method} on {record.backbone}"


def _summary(records: Sequence[tuple[Robustness, str]]) -> TextTable:
    places = decimals(record.n_test for record, _ in records)
    columns = [
        ("Row", [title for _, title in records]),
        ("Clean %", [percent(record.clean, places) for record, _ in records]),
        ("Corrupted %, mean", [percent(record.mean, places) for record, _ in records]),
        ("Mean corruption error %", [percent(1 - record.mean, places) for record, _ in records]),
        ("Relative to clean, points (95 % interval)", [_drop(record, places) for record, _ in records]),
        ("Corruptions and severities", [f"{len(record.corrupted)}" for record, _ in records]),
        ("Test images", [f"{record.n_test:,}" for record, _ in records]),
    ]
    return text_table(columns, 1)


def _drop(record: Robustness, places: int) -> str:
    low, high = (points(end, places) for end in record.drop_interval)
    return f"{points(record.drop, places)} ({low} to {high})"


def _by_corruption(record: Robustness, title: str) -> TextTable:
    places = decimals([record.n_test])
    names = [name for name in CORRUPTIONS if any(score.corruption == name for score in record.corrupted)]
    shares = {name: {level: record.top1(name, level) for level in SEVERITIES} for name in names}
    means = [fmean(share for share in shares[name].values() if share is not None) for name in names]

    def cell(share: float | None) -> str:
        return "" if share is None else percent(share, places)

    columns = [
        ("Corruption", [name.replace("_", " ") for name in names]),
        *((f"Severity {level}", [cell(shares[name][level]) for name in names]) for level in SEVERITIES),
        ("Mean", [percent(mean, places) for mean in means]),
        ("From clean", [points(mean - record.clean, places) for mean in means]),
    ]
    return text_table(
        columns, 1, f"{title}: test top-1 % under each corruption (clean {percent(record.clean, places)})"
    )


def _notes(records: Sequence[Robustness]) -> list[str]:
    sizes = sorted({record.image_size for record in records})
    notes = [
        "Corrupted copies of the test images, as in ImageNet-C (Hendrycks and Dietterich 2019): the head is the exact "
        "probe, fitted on clean train images, with the settings that clean validation selected. Images are resized and "
        "cropped first, then corrupted at the net's input size. Frost, the fifteenth corruption, needs photographs of "
        "frost and is left out.",
        "The mean corruption error is 100 minus the mean top-1 over the corruptions and severities that were measured. "
        "It is not the mCE of publications, which divides each error by AlexNet's; for that, the paper's table of "
        "AlexNet's errors on ImageNet is needed, which says nothing of other data sets. Relative to clean is how many "
        "points of accuracy the corruptions cost on average, with a paired bootstrap interval over the test images.",
    ]
    if sizes != [224]:
        listed = ", ".join(f"{size} px" for size in sizes)
        notes.append(f"Lengths such as a blur's radius are published for 224 px, and used as they are at {listed}.")
    if any(len(record.corrupted) < len(CORRUPTIONS) * len(SEVERITIES) for record in records):
        notes.append("Not all corruptions and severities were measured: only means over the same ones are comparable.")
    return notes
