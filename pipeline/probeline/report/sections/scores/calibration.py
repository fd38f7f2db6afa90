"""Calibration: how well confidence matches accuracy, and what the selection of hyper-parameters cost."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.format import decimals, listing, percent, points
from probeline.names import TOP1, Method
from probeline.report.model.content import ReportContent
from probeline.report.model.row import NO_PROBABILITIES, Row
from probeline.report.sections.section import FITS, Section, View
from probeline.report.sections.tables import Column, bullets, join_parts, page_table, row_table

_LIMIT = "§"


class Calibration(Section):
    name, title, group = "calibration", "Calibration and selection", FITS

    def markdown(self, content: ReportContent) -> str | None:
        if not content.blocks:
            return None
        table = row_table(content.blocks, calibration_columns(content.rows))
        return join_parts(table.markdown(), bullets(calibration_notes(content.rows)))

    def view(self, content: ReportContent) -> View | None:
        if not content.rows:
            return None
        return View(
            "rows.html",
            {
                "table": page_table(content, calibration_columns(content.rows)),
                "notes": calibration_notes(content.rows),
                "figures": [
                    content.figures[name] for name in ("calibration", "reliability") if name in content.figures
                ],
            },
        )


def calibration_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns after the backbone's."""
    places = decimals(row.n_test for row in rows)

    def share(value: float | None) -> str:
        return "" if value is None else percent(value, places)

    def temperature(row: Row) -> str:
        return f"{row.temperature:.3g}" + (f" {_LIMIT}" if row.temperature_limit else "")

    def optimism(row: Row) -> str:
        return "" if row.optimism is None else points(row.optimism, places)

    columns = [
        Column("Method", lambda row: row.title, left=True),
        Column("Top-5 %", lambda row: share(row.top5), value=lambda row: row.top5),
        Column("NLL", lambda row: f"{row.nll:.3f}", value=lambda row: row.nll),
        Column("Brier", lambda row: f"{row.brier:.3f}", value=lambda row: row.brier),
        Column("ECE %", lambda row: share(row.ece), value=lambda row: row.ece),
        Column("Temperature", temperature, value=lambda row: row.temperature),
        Column("NLL at 1", lambda row: f"{row.raw_nll:.3f}", value=lambda row: row.raw_nll),
        Column("ECE % at 1", lambda row: share(row.raw_ece), value=lambda row: row.raw_ece),
        Column("Val top-1 %", lambda row: share(row.val_top1), value=lambda row: row.val_top1),
        Column(
            f"Val {rows[0].metric} %",
            lambda row: "" if row.metric == TOP1 else share(row.val_score),
            value=lambda row: row.val_score,
        ),
        Column("Optimism", optimism, value=lambda row: row.optimism),
    ]
    return [column for column in columns if any(column.cell(row) for row in rows)]


def calibration_notes(rows: Sequence[Row]) -> list[str]:
    """Return the notes that the table of these rows needs."""
    notes = []
    if any(row.temperature_limit for row in rows):
        notes.append(f"{_LIMIT} the lowest or highest temperature tried: one beyond it may be better.")
    notes += [
        "NLL (mean negative log-likelihood, nats), Brier score (0 to 2) and ECE (expected calibration error of the "
        "predicted class, 15 bins of equal width) are of the test images. Lower is better.",
        "Logits are divided by the temperature before the softmax. It was fitted on val, or on out-of-fold "
        "predictions: above 1 the method was overconfident, below 1 underconfident. Numbers at 1 are without "
        "temperature scaling.",
        "Even perfectly calibrated probabilities have an ECE above 0, the more so the fewer the test images.",
    ]
    if others := [text for name, text in NO_PROBABILITIES.items() if any(row.method == name for row in rows)]:
        notes.append(
            f"Without temperature scaling, the scores of {listing(others)} are no log-probabilities: numbers at 1 mean "
            "little there."
        )
    if any("class_weights" in row.options for row in rows):
        notes.append(
            "Probabilities of rows with class weights are those of a world with other class frequencies: too high for "
            "classes that weigh more. One temperature cannot undo that; take probabilities from rows without weights."
        )
    if any(row.method == Method.PROBE_REFIT for row in rows):
        notes.append("The refit has the temperature of the probe before it, since it was fitted on val too.")
    if any(row.optimism is not None for row in rows):
        notes.append(
            "Optimism is how much selecting on the test set would have inflated accuracy: the best candidate on test "
            "minus the one chosen on validation, in points. It was computed after selection and decided nothing."
        )
    return notes
