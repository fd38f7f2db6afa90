"""What a report shows beside its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from probeline.report.sections.published import Held
from probeline.results.curve import Curve
from probeline.results.decode import encode
from probeline.results.embedding_map import EmbeddingMap
from probeline.results.findings import Findings
from probeline.results.gallery import Gallery
from probeline.results.latency import Latency
from probeline.results.picture import Picture
from probeline.results.range_test import RangeTest


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
    galleries : sequence of Gallery
    maps : sequence of EmbeddingMap
        Both likewise proven, of these scores and in the report's folder.
    doctor : Findings or None
        What was found in the very images and labels of the scores.
    commands : mapping of str to str
        Of a score's key, the command that makes its row.
    unasked : mapping of str to str
        Of what no verb was asked for yet, the command that tells it.
    """

    curves: Sequence[Curve] = ()
    tests: Sequence[RangeTest] = ()
    held: Held | None = None
    latencies: Sequence[Latency] = ()
    pictures: Sequence[Picture] = ()
    galleries: Sequence[Gallery] = ()
    maps: Sequence[EmbeddingMap] = ()
    doctor: Findings | None = None
    commands: Mapping[str, str] = field(default_factory=dict)
    unasked: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what there is as JSON values."""
        lists: dict[str, Sequence[object]] = {
            "curves": self.curves,
            "range_tests": self.tests,
            "latencies": self.latencies,
            "pictures": self.pictures,
            "galleries": self.galleries,
            "maps": self.maps,
        }
        found: dict[str, Any] = {name: [encode(one) for one in some] for name, some in lists.items() if some}
        found |= {name: dict(some) for name in ("commands", "unasked") if (some := getattr(self, name))}
        found |= {"published": self.held.to_json()} if self.held else {}
        return found | ({"doctor": encode(self.doctor)} if self.doctor else {})


NOTHING = Beside()
