"""Learning curves from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from probeline.api.arrangement import Arrangement
from probeline.api.console import raises_in_keywords
from probeline.evaluate.curve import compute_curve, draw_portions, find_curve, request_probe_curve
from probeline.report.records.learning_steps import Step, steps
from probeline.results.curve import Curve
from probeline.session import Session
from probeline.text import printable

if TYPE_CHECKING:
    import pandas as pd

    from probeline.report.figures.sheet import Sheet


class LearningCurve:
    """Test accuracy of the exact probe, fitted on growing parts of the train rows."""

    def __init__(self, session: Session, record: Curve) -> None:
        self.session = session
        self.record = record

    def __repr__(self) -> str:
        by_size = sorted(self.steps, key=lambda step: step.n_train)
        ends = [f"{step.mean:.3f} of {step.images} rows" for step in (by_size[0], by_size[-1])]
        return printable(
            f"<LearningCurve {self.record.backbone}, {self.record.dataset}: test top-1 {' to '.join(ends)}>"
        )

    @property
    def steps(self) -> list[Step]:
        """One step for each fraction and number of shots, all draws of it together."""
        return steps(self.record)

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas data frame with a row for each step: its size, and the accuracy over its draws in [0, 1]."""
        from probeline.api.frames import frame

        lines = [{"step": step.title, **asdict(step)} for step in self.steps]
        return frame({name: [line[name] for line in lines] for name in lines[0]})

    def plot(self) -> Sheet:
        """Return the curve as a matplotlib figure."""
        from probeline.report.figures.learning import learning
        from probeline.report.figures.sheet import default_look

        with default_look():
            return learning([self.record])


@raises_in_keywords
def curve(
    features: Any,
    labels: Any = None,
    *,
    test: Any = None,
    val: Any = None,
    groups: Any = None,
    fractions: Sequence[float] | None = None,
    shots: Sequence[int] | None = None,
    draws: int | None = None,
    data_seed: int | None = None,
    name: str | None = None,
    reports: Any = None,
    verbose: bool = False,
) -> LearningCurve:
    """Fit the exact probe on growing parts of the train rows, as ``probeline curve`` does.

    Parameters
    ----------
    features, labels, test, val, groups, data_seed, name, reports, verbose
        As :func:`probeline.probe` takes them.
    fractions : sequence of float, optional
        Percent of the train rows.
    shots : sequence of int, optional
        Rows per class; none if empty.
    draws : int, optional
        How often each part is drawn.

    Raises
    ------
    ProbelineError
    """
    arrangement = Arrangement(labels, test=test, val=val, groups=groups, data_seed=data_seed, name=name)
    no_shots = shots is not None and not len(shots)
    given = {
        "fractions": _numbers(fractions, float),
        "shots": (0,) if no_shots else _numbers(shots, int),
        "draws": draws,
    }
    ready = arrangement.of(features).with_options(
        verbose=verbose, reports=reports, **{name: value for name, value in given.items() if value is not None}
    )
    request = request_probe_curve(ready.session, ready.cached.taps, draw_portions(ready.session))
    found = find_curve(ready.session, request)
    return LearningCurve(ready.session, compute_curve(ready.session, request)[0] if found is None else found)


def _numbers(values: Sequence[Any] | None, kind: type) -> tuple[Any, ...] | None:
    return None if values is None else tuple(kind(value) for value in values)
