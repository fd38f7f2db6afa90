"""The conditions of all numbers: data, selection, options, weights, hardware and versions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from probeline.environment import describe_environment
from probeline.format import describe_input, listing, option, plural, seconds
from probeline.names import Method
from probeline.report.records.learning_steps import curve_titles
from probeline.report.records.range_tests import own_options, range_test_titles
from probeline.results.curve import Curve
from probeline.results.methods import method_info, order
from probeline.results.range_test import RangeTest
from probeline.results.score import Score

PARTS = "Parts"
"""The heading of which part of the data set is which role, if the test set has another name."""

_NAMED = 4
"""Rows that are listed after a line; a line of more rows is for all others."""

Conditions = Mapping[str, Sequence[str]]
"""Headings, and the lines under each."""


def conditions(
    scores: Sequence[Score], extra: Conditions, curves: Sequence[Curve] = (), tests: Sequence[RangeTest] = ()
) -> dict[str, list[str]]:
    """Return in words what the numbers of scores, curves and range tests depend on, `extra` last.

    A line that does not apply to all scores ends with those it applies to.
    """
    result: dict[str, list[str]] = {}
    if scores:
        first = scores[0]
        labels = Counter(first.labels)
        frequent = f"{100 * max(labels.values(), default=0) / max(len(first.labels), 1):.1f} %"
        seeds = sorted({score.seed for score in scores if score.seed is not None})
        result = {
            "Data": [f"{first.dataset}, {len(first.class_names)} classes; the most frequent is {frequent} of test"],
            "Images": _lines(scores, _images),
            "Seeds": [listing([str(seed) for seed in seeds]) if seeds else "none: nothing is random"],
            "Selected on": _lines(scores, lambda s: s.chosen_by or "nothing to select")
            if any(score.chosen_by for score in scores)
            else [],
            "Options": _lines(scores, lambda s: _options(s.options)),
            "Test": ["used once, after selection"],
            "Weights": _lines(scores, lambda s: s.weights),
            "Input": _lines(scores, lambda s: f"{describe_input(s.image_size)}, {s.precision}"),
            "Hardware and versions": _lines(scores, lambda s: describe_environment(s.environment)),
        }
    if curves:
        result["Learning curves"] = [
            f"{title}: {curve.weights}, {describe_input(curve.image_size)}, {curve.precision}; "
            f"{curve.n_train:,} train, {curve.n_val:,} val, {curve.n_test:,} test; {plural(curve.draws, 'draw')}; "
            f"{seconds(curve.warm_seconds)} s warm, {seconds(curve.cold_seconds)} s cold; "
            + describe_environment(curve.environment)
            for curve, title in zip(curves, curve_titles(curves), strict=True)
        ]
    if tests:
        result["Learning-rate range tests"] = [
            f"{title}: {test.weights}, {describe_input(test.image_size)}, {test.precision}; "
            f"{test.n_train:,} train; seed {test.seed}; {_options(own_options(test))}; {seconds(test.seconds)} s; "
            + describe_environment(test.environment)
            for test, title in zip(tests, range_test_titles(tests), strict=True)
        ]
    return {name: list(lines) for name, lines in {**result, **extra}.items() if lines}


def _images(score: Score) -> str:
    fitted = "unknown" if score.method == Method.ADDED else f"{score.n_train:,}"
    return f"{fitted} train, {score.n_val:,} val, {score.n_test:,} test"


def _lines(scores: Sequence[Score], text: Callable[[Score], str]) -> list[str]:
    """Return the distinct texts of the scores, each with its rows if there are several."""
    scores_of: dict[str, list[Score]] = defaultdict(list)
    for score in sorted(scores, key=lambda s: (order(s.method), s.backbone)):
        scores_of[text(score)].append(score)
    if len(scores_of) < 2:
        return list(scores_of)
    most = max(scores_of, key=lambda line: len(scores_of[line]))
    others = []
    if len({(score.method, score.backbone) for score in scores_of[most]}) > _NAMED:
        del scores_of[most]
        others = [f"{most} (all others)"]
    return [*(f"{line} ({_name_rows(own, scores)})" for line, own in scores_of.items()), *others]


def _name_rows(own: Sequence[Score], scores: Sequence[Score]) -> str:
    """Return the shortest names of some of the scores: by method, by backbone, or by both."""
    rest = [score for score in scores if score not in own]
    methods = dict.fromkeys(score.method for score in own)
    if methods.keys().isdisjoint(score.method for score in rest):
        return ", ".join(method_info(name).short for name in methods)
    backbones = dict.fromkeys(score.backbone for score in own)
    if backbones.keys().isdisjoint(score.backbone for score in rest):
        return ", ".join(backbones)
    by_backbone = {
        name: ", ".join(dict.fromkeys(method_info(score.method).short for score in own if score.backbone == name))
        for name in backbones
    }
    return "; ".join(f"{backbone}: {names}" for backbone, names in by_backbone.items())


_OMITTED = ("version", "weights", "texts")
"""Options that are in other lines, or that no user sets."""


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(option(name, value) for name, value in options.items() if name not in _OMITTED) or "none"
