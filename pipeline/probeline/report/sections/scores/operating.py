"""What the rows cost at thresholds that validation chooses, for two classes whose errors cost differently."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from probeline.format import decimals, percent, plural, signed
from probeline.metrics.operating_point import Costs
from probeline.report.model.content import ReportContent
from probeline.report.model.operating import Cost, OperatingPoint, cheapest_class
from probeline.report.model.row import TitledRow
from probeline.report.model.two_classes import Rate
from probeline.report.sections.section import RESULTS, Tables, TableSection
from probeline.report.sections.tables import text_table


class OperatingPoints(TableSection):
    name, title, group = "operating", "Cost at an operating point", RESULTS

    def tables(self, content: ReportContent) -> Tables | None:
        if content.costs is None or not content.rows:
            return None
        found = content.operating_points
        notes = _notes(content.titled, content.costs, sum(point is None for _, point in found))
        shown = [(titled, point) for titled, point in found if point is not None]
        if not shown:
            return [], notes
        points = [point for _, point in shown]
        places = decimals(titled.row.n_test for titled, _ in shown)
        cost_places = _cost_decimals(content.costs, min(titled.row.n_test for titled, _ in shown))
        positive = points[0].two_classes.positive
        columns = [
            ("Backbone", [titled.title for titled, _ in shown]),
            ("Method", [titled.row.title for titled, _ in shown]),
            (f"Called {positive} from", [_thresholds(point) for point in points]),
            ("Cost (95 % interval)", [_cost(point.cost, cost_places) for point in points]),
            ("Without a threshold", [_cost(replace(point.plain, interval=None), cost_places) for point in points]),
            ("Difference", [_cost(point.saved, cost_places, sign="+") for point in points]),
            ("Sensitivity %", [_rate(point.two_classes.sensitivity, places) for point in points]),
            ("Specificity %", [_rate(point.two_classes.specificity, places) for point in points]),
        ]
        return [text_table(columns, 2)], notes

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        if content.costs is None or not content.rows:
            return {}
        names = content.scores[0].class_names
        points = [
            {"key": titled.row.keys[0], **asdict(point)}
            for titled, point in content.operating_points
            if point is not None
        ]
        return {"costs": dict(zip(names, content.costs, strict=True)), "operating_points": points}


def _thresholds(point: OperatingPoint) -> str:
    low, high = (f"{100 * end:.3g}" for end in (min(point.thresholds), max(point.thresholds)))
    return f"{low} %" if low == high else f"{low}–{high} %"


def _cost_decimals(costs: Costs, n: int) -> int:
    """Return the decimals that show what one of n images adds to a mean cost."""
    return max(0, math.ceil(-math.log10(min(costs) / n)))


def _cost(cost: Cost, places: int, *, sign: str = "") -> str:
    def shown(value: float) -> str:
        return signed(f"{value:{sign}.{places}f}")

    ends = "" if cost.interval is None else " ({} to {})".format(*map(shown, cost.interval))
    return f"{shown(cost.value)}{ends}"


def _rate(rate: Rate | None, places: int) -> str:
    return "" if rate is None else percent(rate.share, places)


def _notes(rows: Sequence[TitledRow], costs: Costs, without: int) -> list[str]:
    (first, a), (second, b) = zip(rows[0].scores[0].class_names, costs, strict=True)
    name, least = cheapest_class(rows[0].scores, costs)
    places = _cost_decimals(costs, rows[0].row.n_test)
    notes = [
        f"An image of {first} that is called {second} costs {a:g}, the other way round {b:g}: the mean per test image, "
        "with intervals for other test images by a bootstrap. Each row's threshold is the one that costs least on its "
        "validation images, whose number limits how finely it can be chosen.",
        f"To call every test image {name} would cost {_cost(Cost(least, None), places)}.",
    ]
    if without:
        notes.append(
            f"{without:,} of {plural(len(rows), 'row')} without a threshold: a score of an earlier version, or of "
            "predictions without probabilities. To have the first kind again, delete its file and run its command."
        )
    return notes
