"""What a report shows beside its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from probeline.records import Curve, RangeTest
from probeline.report.latency_files import Latency
from probeline.report.picture_files import Picture
from probeline.report.published import Held


@dataclass(frozen=True)
class Beside:
    """Records of the same data set as the scores.

    Attributes
    ----------
    curves : sequence of Curve
        Learning curves.
    tests : sequence of RangeTest
        Of learning rates.
    held : Held or None
        Published numbers, and ours beside them.
    latencies : sequence of Latency
    pictures : sequence of Picture
        Proven, and of these scores; they lie in the report's folder already, and stay there as they are.
    commands : mapping of str to str
        Of a score's key, the command that makes its row.
    """

    curves: Sequence[Curve] = ()
    tests: Sequence[RangeTest] = ()
    held: Held | None = None
    latencies: Sequence[Latency] = ()
    pictures: Sequence[Picture] = ()
    commands: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what there is as JSON values."""
        lists: dict[str, Sequence[Curve] | Sequence[RangeTest] | Sequence[Latency] | Sequence[Picture]] = {
            "curves": self.curves,
            "range_tests": self.tests,
            "latencies": self.latencies,
            "pictures": self.pictures,
        }
        found: dict[str, Any] = {name: [one.to_json() for one in some] for name, some in lists.items() if some}
        if self.commands:
            found["commands"] = dict(self.commands)
        return {**found, **({"published": self.held.to_json()} if self.held else {})}


NOTHING = Beside()
