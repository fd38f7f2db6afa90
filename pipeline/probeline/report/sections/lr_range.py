"""From the losses of range tests to the learning rates that they suggest, in words and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probeline.format import option
from probeline.metrics.lr_range import EARLY, HIGHEST, LOWEST, SMOOTHING, STEPS, TOO_HIGH, Descent, descent
from probeline.names import Method
from probeline.results.methods import method_info
from probeline.results.range_test import RangeTest


def found(test: RangeTest) -> Descent | None:
    """Return what a test suggests, or None where its loss never falls."""
    return descent(test.rates, test.losses)


def rate(value: float) -> float:
    """Return a learning rate in the two digits that one test can tell."""
    return float(f"{value:.2g}")


def verdict(test: RangeTest) -> str:
    """Say what a test suggests."""
    place = found(test)
    if place is None:
        return "the loss never falls beyond its scatter: no rate is suggested"
    lowest = f"lowest at lr {rate(place.lowest):g}" + (", the end of the test" if place.at_end else "")
    return (
        f"the loss falls steepest at lr {rate(place.steepest):g} and is {lowest}, "
        f"a tenth of which is {rate(place.tenth):g}"
    )


def asked(test: RangeTest) -> dict[str, Any]:
    """Return what was asked of the training and of its test, without what other facts tell of."""
    return {name: value for name, value in test.options.items() if name not in ("version", "weights")}


def titles(tests: Sequence[RangeTest]) -> list[str]:
    """Return what each test is called: backbone and strategy, with what tells it from others of these two."""
    names = []
    for test in tests:
        others = [_told(other) for other in tests if (other.backbone, other.method) == (test.backbone, test.method)]
        parts = ["untrained"] if test.weights == "none" and test.method != Method.SCRATCH else []
        parts += [
            text for name, text in _told(test).items() if text and any(other.get(name) != text for other in others)
        ]
        names.append(", ".join([test.backbone, method_info(test.method).short, *parts]))
    return names


def _told(test: RangeTest) -> dict[str, str]:
    """Return in words all that two tests of one strategy may differ in."""
    return {
        "weights": "" if test.weights == "none" else test.weights,
        "image_size": f"{test.image_size} px",
        "precision": test.precision,
        "seed": f"seed {test.seed}",
        **{name: option(name, value, exactly=True) for name, value in asked(test).items()},
    }


def table(tests: Sequence[RangeTest]) -> list[list[str]]:
    """Return the head and the cells of a table of what tests suggest."""
    rows = [["Training", "Steepest descent", "Tenth of the lowest", "Lowest loss", "Steps", "Ended by"]]
    for test, title in zip(tests, titles(tests), strict=True):
        place = found(test)
        cells = ["", "", ""]
        if place is not None:
            cells = [f"{rate(one):g}" for one in (place.steepest, place.tenth, place.lowest)]
            cells[2] += " ‡" if place.at_end else ""
        rows.append([title, *cells, str(len(test.losses)), test.ended])
    return rows


def notes(tests: Sequence[RangeTest]) -> list[str]:
    """Return what a reader of the table has to know."""
    lines = [
        f"A training's first steps while the rate rises from {LOWEST:g} to {HIGHEST:g} in {STEPS} steps; parts of a "
        "net keep their shares of it. Steps see train images alone, and nothing of the net is kept.",
        f"The loss is smoothed by an exponential mean (it keeps {SMOOTHING:g} a step), which stands at the equally "
        f"weighted geometric mean of its rates. A test ends where it is {TOO_HIGH:g} times its lowest, or where a loss "
        "is not finite.",
        "Suggested are the rate at which the smoothed loss falls fastest over the rate's logarithm, and a tenth of the "
        "rate at which it is lowest: places to begin at, of one run each. Neither val nor test had a say.",
    ]
    if any(found(test) is None for test in tests):
        lines.append(
            "No rate: the loss never falls beyond its scatter; "
            f"its mean is nowhere below all of the first {EARLY} losses."
        )
    if any(place is not None and place.at_end for place in map(found, tests)):
        lines.append("‡ the loss still fell at the highest rate: where it is lowest the test does not tell.")
    return lines


def record(tests: Sequence[RangeTest]) -> list[dict[str, Any]]:
    """Return what a report says of tests as JSON values."""
    told = []
    for test, title in zip(tests, titles(tests), strict=True):
        place = found(test)
        told.append(
            {
                "title": title,
                "method": test.method,
                "key": test.key,
                "seed": test.seed,
                "steepest": None if place is None else place.steepest,
                "tenth": None if place is None else place.tenth,
                "lowest": None if place is None else place.lowest,
                "steps": len(test.losses),
                "ended": test.ended,
            }
        )
    return told
