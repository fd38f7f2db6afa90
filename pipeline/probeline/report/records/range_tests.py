"""What learning-rate range tests suggest, and what each is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probeline.format import option
from probeline.metrics.lr_range import Descent, descent
from probeline.names import Method
from probeline.results.methods import method_info
from probeline.results.range_test import RangeTest


def suggest_rates(test: RangeTest) -> Descent | None:
    """Return the learning rates that a test suggests, or None if its loss never falls."""
    return descent(test.rates, test.losses)


def round_rate(value: float) -> float:
    """Return a learning rate in two digits, as many as one test can tell."""
    return float(f"{value:.2g}")


def suggestion_in_words(test: RangeTest) -> str:
    """Return what a test suggests."""
    rates = suggest_rates(test)
    if rates is None:
        return "the loss never falls beyond its scatter: no rate is suggested"
    steepest, lowest, tenth = (f"{round_rate(rate):g}" for rate in (rates.steepest, rates.lowest, rates.tenth))
    end = ", the end of the test" if rates.at_end else ""
    return f"the loss falls fastest at lr {steepest} and is lowest at lr {lowest}{end}, a tenth of which is {tenth}"


def own_options(test: RangeTest) -> dict[str, Any]:
    """Return the options of the training and of its test that no other field of the record states."""
    return {name: value for name, value in test.options.items() if name not in ("version", "weights")}


def range_test_titles(tests: Sequence[RangeTest]) -> list[str]:
    """Return the title of each test: backbone and strategy, and what differs from other tests of these two."""
    titles = []
    for test in tests:
        others = [_facts(other) for other in tests if (other.backbone, other.method) == (test.backbone, test.method)]
        parts = ["untrained"] if test.weights == "none" and test.method != Method.SCRATCH else []
        parts += [
            text for name, text in _facts(test).items() if text and any(other.get(name) != text for other in others)
        ]
        titles.append(", ".join([test.backbone, method_info(test.method).short, *parts]))
    return titles


def _facts(test: RangeTest) -> dict[str, str]:
    """Return in words all that two tests of one strategy may differ in."""
    return {
        "weights": "" if test.weights == "none" else test.weights,
        "image_size": f"{test.image_size} px",
        "precision": test.precision,
        "seed": f"seed {test.seed}",
        **{name: option(name, value, exactly=True) for name, value in own_options(test).items()},
    }
