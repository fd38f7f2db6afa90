"""Words about the scores of a row: class weights, the classes on which they are never right, and a second task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from statistics import fmean
from typing import Any

from probeline.format import abridge, decimals, few, listing, percent, plural
from probeline.metrics.intervals import wilson
from probeline.results.members import AdapterFacts
from probeline.results.score import Score

_NAMED = 4
"""Of more classes the most frequent are named."""


def class_weights_in_words(options: Mapping[str, Any]) -> str:
    """Return the class weights in the options of a score: ``balanced classes``; empty if all classes weigh the same."""
    weights = options.get("class_weights")
    if weights is None:
        return ""
    if isinstance(weights, str):
        return f"{weights} classes"
    each = [f"{abridge(name, 30)} x {weight:.4g}" for name, weight in weights.items()]
    return f"class weights {few(each, _NAMED - 1, between=', ')}"


def missed_classes(scores: Sequence[Score]) -> str:
    """Return the classes that have test images of which no seed of a row has any right; empty if there is none.

    Each has its number of test images, the most frequent class first: ``class 'rare' (1 of 25 test images)``.
    """
    first = scores[0]
    right = {
        true
        for score in scores
        for true, predicted in zip(score.labels, score.predictions, strict=True)
        if true == predicted
    }
    images = Counter(label for label in first.labels if label not in right)
    missed = sorted(images, key=lambda label: (-images[label], label))
    names = [repr(abridge(first.class_names[label])) for label in missed]
    if len(missed) < 2:
        return "".join(f"class {name} ({images[missed[0]]:,} of {first.n_test:,} test images)" for name in names)
    counted = [f"{name} {images[label]:,}" for name, label in zip(names, missed, strict=True)]
    tested = len(set(first.labels))
    return f"{len(missed):,} of the {tested:,} tested classes (test images: {few(counted, _NAMED, between=', ')})"


def second_task(certificates: Sequence[Mapping[str, Any]]) -> str:
    """Return what the certificates of a row's seeds say of a second task; empty where there is none.

    The accuracies are means over the seeds, with Wilson's 95 % interval at the mean.
    """
    tasks = [certificate["second"] for certificate in certificates if certificate.get("second") is not None]
    if not tasks:
        return ""
    parts = ", ".join(f"{role} {_accuracy([task[role] for task in tasks])}" for role in ("test", "val"))
    return f"second task, {len(tasks[0]['classes'])} classes: {parts}"


def adapters(certificates: Sequence[Mapping[str, Any]]) -> str:
    """Return what the certificates of a row's seeds say of adapters; empty where there are none."""
    found = [certificate["adapters"] for certificate in certificates if certificate.get("adapters") is not None]
    names = [field.name for field in fields(AdapterFacts)]
    return adapters_in_words([AdapterFacts(**{name: one[name] for name in names}) for one in found]) if found else ""


def adapters_in_words(facts: Sequence[AdapterFacts]) -> str:
    """Return which layers have adapters; of several seeds, which may have chosen other ranks or targets, a range."""
    kinds = {"linear layer": "linear", "convolution": "convolutions", "parametrized weight": "parametrized"}
    where = [_span(facts, name, kind) for kind, name in kinds.items() if any(getattr(one, name) for one in facts)]
    left = left_out(max(one.grouped for one in facts), max(one.shared for one in facts))
    return f"adapters of rank {_span(facts, 'rank')} on {listing(where)}, {_span(facts, 'parameters')} parameters" + (
        f"; left as they are: {left}" if left else ""
    )


def _span(facts: Sequence[AdapterFacts], name: str, noun: str = "") -> str:
    """Return the least and the largest value of a field, with a noun if one is given."""
    low, high = (end(getattr(one, name) for one in facts) for end in (min, max))
    number = f"{low:,}" if low == high else f"{low:,}–{high:,}"
    return f"{number} {plural(high, noun).partition(' ')[2]}" if noun else number


def interpolation(scores: Sequence[Score]) -> str:
    """Return the validation accuracy of the ends of a line of nets and of the chosen one; empty without such a line."""
    values: dict[str, list[float]] = {"probe": [], "chosen": [], "fine-tuned": []}
    for score in scores:
        points = {point["alpha"]: point["top1"] for point in score.path if point.get("alpha") is not None}
        if not {0.0, 1.0, score.chosen.get("alpha")} <= points.keys():
            return ""
        for name, alpha in zip(values, (0.0, score.chosen["alpha"], 1.0), strict=True):
            values[name].append(points[alpha])
    if not values["probe"]:
        return ""
    start, chosen, end = (percent(fmean(own), decimals([scores[0].n_val])) for own in values.values())
    return f"on validation {start} % at alpha 0, the probe's net, {chosen} % as chosen, {end} % at alpha 1, as LP-FT"


def left_out(grouped: int, shared: int) -> str:
    """Return in words which weights cannot have an adapter; empty if there are none."""
    kinds = {"grouped convolution": grouped, "weight shared by several modules": shared}
    plurals = {"weight shared by several modules": "weights shared by several modules"}
    return listing([plural(number, kind, plurals.get(kind, "")) for kind, number in kinds.items() if number])


def _accuracy(read: Sequence[Mapping[str, Any]]) -> str:
    n = read[0]["n"]
    known = [one["top1"] for one in read if one["n"] == n]
    if not n:
        return "has no label of it"
    top1 = fmean(known)
    share, *ends = (percent(value, decimals([n])) for value in (top1, *wilson(top1 * n, n)))
    return f"top-1 {share} % ({'–'.join(ends)}, n={n:,})"
