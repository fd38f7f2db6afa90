"""How good a second head is at its own task, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from probeline.format import decimals, percent
from probeline.metrics.intervals import wilson


def second_task(certificates: Sequence[Mapping[str, Any]]) -> str:
    """Return what the certificates of a row's seeds say of a second task; empty where there is none.

    The accuracies are means over the seeds, with Wilson's 95 % interval at the mean.
    """
    tasks = [certificate["second"] for certificate in certificates if certificate.get("second") is not None]
    if not tasks:
        return ""
    parts = ", ".join(f"{role} {_accuracy([task[role] for task in tasks])}" for role in ("test", "val"))
    return f"second task, {len(tasks[0]['classes'])} classes: {parts}"


def _accuracy(read: Sequence[Mapping[str, Any]]) -> str:
    n = read[0]["n"]
    known = [one["top1"] for one in read if one["n"] == n]
    if not n:
        return "has no label of it"
    top1 = fmean(known)
    share, *ends = (percent(value, decimals([n])) for value in (top1, *wilson(top1 * n, n)))
    return f"top-1 {share} % ({'–'.join(ends)}, n={n:,})"
