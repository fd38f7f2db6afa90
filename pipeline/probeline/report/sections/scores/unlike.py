"""How well test images and those of other data sets are told apart by their distance to the train images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probeline.files.decode import encode
from probeline.format import decimals, percent
from probeline.report.model.content import ReportContent
from probeline.report.sections.section import RESULTS, Tables, TableSection
from probeline.report.sections.tables import text_table


class UnlikeSection(TableSection):
    name, title, group = "unlike", "Images from elsewhere", RESULTS

    def tables(self, content: ReportContent) -> Tables | None:
        if not (records := content.unlike):
            return None
        places = decimals(min(record.n_test, record.n_other) for record in records)

        def share(value: float, interval: tuple[float, float]) -> str:
            low, high = (percent(end, places) for end in interval)
            return f"{percent(value, places)} ({low}–{high})"

        columns = [
            ("Backbone", [record.backbone for record in records]),
            ("Tap", [record.tap for record in records]),
            ("Other images", [record.other for record in records]),
            ("AUROC % (95 % interval)", [share(record.auroc, record.auroc_interval) for record in records]),
            ("FPR at 95 % TPR, % (95 % interval)", [share(record.fpr95, record.fpr95_interval) for record in records]),
            ("Test images", [f"{record.n_test:,}" for record in records]),
            ("Others", [f"{record.n_other:,}" for record in records]),
            ("Shared", [f"{record.shared:,}" if record.shared else "" for record in records]),
        ]
        notes = [
            f"An image's score is its cosine distance to its neighbour number {records[0].k} among the "
            f"{records[0].n_train:,} train images, by which predict calls images unlike training (Sun et al., 2022).",
            "AUROC is the share of pairs of a test image and another one in which the other is farther; a half is "
            "chance. FPR at 95 % TPR is the share of the other images that would pass as usual, at the distance at "
            "which 95 % of the test images do. Intervals are of the bootstrap over the images of both.",
            "It says how well these other images are noticed, and nothing of still others.",
        ]
        if any(record.shared for record in records):
            notes.append("Shared images are exact copies of images of the data set itself, which lower the AUROC.")
        return [text_table(columns, 3)], notes

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        return {"unlike": [encode(record) for record in content.unlike]} if content.unlike else {}
