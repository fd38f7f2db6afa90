"""Where two methods disagree: one of them against each other row of the same test images."""

from __future__ import annotations

from collections.abc import Iterable

from probeline.format import percent
from probeline.report.model.agreement import Agreement, agreement, shared
from probeline.report.model.rows import naming
from probeline.report.page.content import Content, View

_NAMED = 3
"""Classes on each side."""

HEADS = ("Row", "Both right", "This alone", "The other alone", "Both wrong", "Gains most", "Loses most")


def view(content: Content) -> View | None:
    """Return the counts of each row beside the one that others are compared with; None where there is no pair."""
    rows = content.titled
    if not rows:
        return None
    base = next((one for one in rows if one[1].reference), None) or min(rows, key=lambda one: one[1].rank)
    others = [one for one in rows if one[1] is not base[1] and one[2][0].splits == base[2][0].splits]
    if not others:
        return None
    names = base[2][0].class_names
    name = naming(content.blocks)
    grid = [list(HEADS)]
    for one in others:
        found = agreement(one[2][0], base[2][0])
        counts = (found.both, found.one, found.other, found.neither)
        grid.append([name(one), *(f"{count:,}" for count in counts), *_classes(found, names)])
    right, wrong = shared([base[2][0], *(one[2][0] for one in others)])
    n = base[1].n_test
    return {
        "grid": grid,
        "left": [True, False, False, False, False, True, True],
        "notes": [
            f"The other is {name(base)}. Counts are of the {n:,} test images, by the predictions of each row's first "
            "seed: the two columns in the middle are all that McNemar's test looks at.",
            f"Images that all {len(others) + 1} rows have right: {right:,} ({percent(right / n, content.places)} %); "
            f"that none of them has right: {wrong:,}.",
            "Gains and loses: the classes with the most images that this row alone has right, minus those that the "
            "other alone has right.",
        ],
    }


def _classes(found: Agreement, names: tuple[str, ...]) -> Iterable[str]:
    for sign in (1, -1):
        most = sorted((-sign * net, label) for label, net in found.net.items() if sign * net > 0)[:_NAMED]
        yield "; ".join(f"{names[label]}: {'+' if sign > 0 else '−'}{-net:,}" for net, label in most)
