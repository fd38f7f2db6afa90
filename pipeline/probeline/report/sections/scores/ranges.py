"""Learning-rate range tests, and the rates that they suggest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from probeline.metrics.lr_range import EARLY, HIGHEST, LOWEST, SMOOTHING, STEPS, TOO_HIGH
from probeline.report.model.content import ReportContent
from probeline.report.records.range_tests import range_test_titles, round_rate, suggest_rates
from probeline.report.sections.section import FITS, Tables, TableSection
from probeline.report.sections.tables import TextTable
from probeline.results.range_test import RangeTest


class RangeTests(TableSection):
    name, title, group, figure = "ranges", "Learning-rate range tests", FITS, "range-tests"

    def tables(self, content: ReportContent) -> Tables | None:
        tests = content.range_tests
        return ([range_table(tests)], range_notes(tests)) if tests else None

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        records = []
        for test, title in zip(content.range_tests, range_test_titles(content.range_tests), strict=True):
            own = {name: getattr(test, name) for name in ("method", "key", "seed")}
            rates = suggest_rates(test)
            suggested = {name: rates and getattr(rates, name) for name in ("steepest", "tenth", "lowest")}
            records.append({"title": title, **own, **suggested, "steps": len(test.losses), "ended": test.ended})
        return {"range_tests": records}


def range_table(tests: Sequence[RangeTest]) -> TextTable:
    """Return what the tests suggest."""
    grid = [["Training", "Steepest descent", "Tenth of the lowest", "Lowest loss", "Steps", "Ended by"]]
    for test, title in zip(tests, range_test_titles(tests), strict=True):
        rates = suggest_rates(test)
        cells = ["", "", ""]
        if rates is not None:
            cells = [f"{round_rate(rate):g}" for rate in (rates.steepest, rates.tenth, rates.lowest)]
            cells[2] += " ‡" if rates.at_end else ""
        grid.append([title, *cells, str(len(test.losses)), test.ended])
    return TextTable(grid, [column == 0 for column in range(len(grid[0]))])


def range_notes(tests: Sequence[RangeTest]) -> list[str]:
    """Return notes on the table."""
    suggestions = [suggest_rates(test) for test in tests]
    notes = [
        f"The first steps of a training while the learning rate rises from {LOWEST:g} to {HIGHEST:g} in {STEPS} steps; "
        "layers with a smaller rate keep their share. Only train images are used, and the weights are discarded.",
        f"The loss is smoothed by an exponential mean (factor {SMOOTHING:g} per step), plotted at the geometric mean "
        f"of its rates with the same weights. A test ends if the smoothed loss is {TOO_HIGH:g} times its lowest, or if "
        "a loss is not finite.",
        "Suggested rates, each from one run: where the smoothed loss falls fastest over the log rate, and a tenth of "
        "the rate of the lowest loss. They are starting points; neither val nor test was used.",
    ]
    if None in suggestions:
        notes.append(
            f"No rate: the loss never falls beyond its scatter; its mean is never below the first {EARLY} losses."
        )
    if any(rates is not None and rates.at_end for rates in suggestions):
        notes.append("‡ the loss was still falling at the highest rate: the lowest loss may lie beyond it.")
    return notes
