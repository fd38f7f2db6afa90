"""The second table: how sure the predictions are with reason, and what the choice of hyper-parameters cost."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.format import decimals, listing, percent, points
from probeline.names import Method
from probeline.report.model.rows import Row
from probeline.report.sections.grid import Column

_LIMIT = "§"

NO_CHANCES = {"ridge": "ridge regression", "centroid": "the nearest centroid"}
"""What some methods give where others give log-probabilities."""


def calibration(rows: Sequence[Row]) -> list[Column]:
    """Return the columns of the second table, after the backbone's."""
    places = decimals(row.n_test for row in rows)

    def share(value: float | None) -> str:
        return "" if value is None else percent(value, places)

    def temperature(row: Row) -> str:
        return f"{row.temperature:.3g}" + (f" {_LIMIT}" if row.temperature_limit else "")

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
            "Optimism",
            lambda row: "" if row.optimism is None else points(row.optimism, places),
            value=lambda row: row.optimism,
        ),
    ]
    return [column for column in columns if any(column.cell(row) for row in rows)]


def calibration_notes(rows: Sequence[Row]) -> list[str]:
    """Return what a reader of :func:`calibration` has to know, no more than this table needs."""
    notes = []
    if any(row.temperature_limit for row in rows):
        notes.append(f"{_LIMIT} the lowest or highest temperature that is tried: the numbers may do better beyond it.")
    notes += [
        "NLL (mean negative log-likelihood, nats), Brier's score (0 to 2) and ECE (expected calibration error of the "
        "predicted class, 15 bins of equal width) are of the test images. Lower is better.",
        "The logits are divided by the temperature before they become probabilities. It was fitted on val alone, or "
        "out of fold where folds choose: above 1 the method was too sure of itself, below 1 not sure enough; at 1 "
        "the numbers are the method's as it gives them.",
        "Even honest probabilities have an ECE above 0, the more so the fewer the test images.",
    ]
    if others := [text for name, text in NO_CHANCES.items() if any(row.method == name for row in rows)]:
        notes.append(
            f"The scores of {listing(others)} are no log-probabilities until a temperature makes them such: numbers at "
            "1 mean little there."
        )
    if any(row.method == Method.PROBE_REFIT for row in rows):
        notes.append("The refit has the temperature of the probe before it, since it was fitted on val itself.")
    if any(row.optimism is not None for row in rows):
        notes.append(
            "Optimism is by how many points the candidate that is best on test beats the one that val chose: what "
            "choosing on test would have pretended. It was read when every choice stood, and decided nothing."
        )
    return notes
