"""No number without its conditions: what was fitted, chosen and read, and on which machine."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from probeline.environment import describe_environment
from probeline.format import listing, option, seconds
from probeline.report.sections.learning import curve_titles
from probeline.report.sections.lr_range import asked, titles
from probeline.results.curve import Curve
from probeline.results.methods import method_info, order
from probeline.results.range_test import RangeTest
from probeline.results.score import Score

PARTS = "Parts"
"""The heading of what is of which part of the data set, where the test set is called otherwise."""

_NAMED = 4
"""Rows that a line is said to hold for; the line of the most rows, if they are more, holds for all others."""

Conditions = Mapping[str, Sequence[str]]
"""Headings, and the lines under each."""


def conditions(
    scores: Sequence[Score], extra: Conditions, curves: Sequence[Curve] = (), tests: Sequence[RangeTest] = ()
) -> dict[str, list[str]]:
    """Return in words what the numbers of scores, curves and range tests depend on, `extra` last.

    A line that does not hold for every score says for which it does.
    """
    found: dict[str, list[str]] = {}
    if scores:
        first = scores[0]
        labels = Counter(first.labels)
        frequent = f"{100 * max(labels.values(), default=0) / max(len(first.labels), 1):.1f} %"
        seeds = sorted({score.seed for score in scores if score.seed is not None})
        found = {
            "Data": [f"{first.dataset}, {len(first.class_names)} classes; the most frequent is {frequent} of test"],
            "Images": _lines(scores, lambda s: f"{s.n_train:,} train, {s.n_val:,} val, {s.n_test:,} test"),
            "Seeds": [listing([str(seed) for seed in seeds]) if seeds else "none: nothing here is random"],
            "Chosen by": _lines(scores, lambda s: s.chosen_by or "nothing was to be chosen")
            if any(score.chosen_by for score in scores)
            else [],
            "Options": _lines(scores, lambda s: _options(s.options)),
            "Test": ["chose nothing: it was read when every choice stood"],
            "Weights": _lines(scores, lambda s: s.weights),
            "Input": _lines(scores, lambda s: f"{s.image_size} x {s.image_size} px, {s.precision}"),
            "Hardware and versions": _lines(scores, lambda s: describe_environment(s.environment)),
        }
    if curves:
        found["Learning curves"] = [
            f"{title}: {curve.weights}, {curve.image_size} x {curve.image_size} px, {curve.precision}; "
            f"{curve.n_train:,} train, {curve.n_val:,} val, {curve.n_test:,} test; {_many(curve.draws, 'draw')}; "
            f"{seconds(curve.warm_seconds)} s warm, {seconds(curve.cold_seconds)} s cold; "
            + describe_environment(curve.environment)
            for curve, title in zip(curves, curve_titles(curves), strict=True)
        ]
    if tests:
        found["Learning-rate range tests"] = [
            f"{title}: {test.weights}, {test.image_size} x {test.image_size} px, {test.precision}; "
            f"{test.n_train:,} train; seed {test.seed}; {_options(asked(test))}; {seconds(test.seconds)} s; "
            + describe_environment(test.environment)
            for test, title in zip(tests, titles(tests), strict=True)
        ]
    return {name: list(lines) for name, lines in {**found, **extra}.items() if lines}


def _lines(scores: Sequence[Score], text: Callable[[Score], str]) -> list[str]:
    """Return the distinct texts of the scores, each with the rows it holds for where there are several."""
    holds: dict[str, list[Score]] = defaultdict(list)
    for score in sorted(scores, key=lambda s: (order(s.method), s.backbone)):
        holds[text(score)].append(score)
    if len(holds) < 2:
        return list(holds)
    most = max(holds, key=lambda line: len(holds[line]))
    if len({(score.method, score.backbone) for score in holds[most]}) > _NAMED:
        del holds[most]
        return [*_told(holds, scores), f"{most} (all others)"]
    return _told(holds, scores)


def _told(holds: Mapping[str, Sequence[Score]], scores: Sequence[Score]) -> list[str]:
    return [f"{line} ({_who(those, scores)})" for line, those in holds.items()]


def _who(those: Sequence[Score], scores: Sequence[Score]) -> str:
    """Name some of the scores as briefly as it can be done: by method, by backbone, or by both."""
    rest = [score for score in scores if score not in those]
    methods = dict.fromkeys(score.method for score in those)
    if methods.keys().isdisjoint(score.method for score in rest):
        return ", ".join(method_info(name).short for name in methods)
    backbones = dict.fromkeys(score.backbone for score in those)
    if backbones.keys().isdisjoint(score.backbone for score in rest):
        return ", ".join(backbones)
    by_backbone = {
        name: ", ".join(dict.fromkeys(method_info(score.method).short for score in those if score.backbone == name))
        for name in backbones
    }
    return "; ".join(f"{backbone}: {names}" for backbone, names in by_backbone.items())


_NOT_TOLD = ("version", "weights")
"""Of a score's options, what other lines tell of, or nobody asked for."""


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(option(name, value) for name, value in options.items() if name not in _NOT_TOLD) or "none"


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"
