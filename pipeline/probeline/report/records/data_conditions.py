"""The conditions that a data set adds to a report: parts, labels and groups, exact duplicates."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.data import unreadable
from probeline.data.sampling.splits import describe_copies
from probeline.report.model.conditions import PARTS
from probeline.session import Session


def data_conditions(session: Session) -> dict[str, Sequence[str]]:
    """Return the conditions of the data set: parts under other names, labels and groups, exact duplicates."""
    splits, dataset = session.splits, session.dataset
    conditions: dict[str, Sequence[str]] = {}
    train, val, test = (split.part for split in (splits.train, splits.val, splits.test))
    if test not in ("test", train):
        fitted = f"train and val come from {train!r}" if train == val else f"train is {train!r}, val is {val!r}"
        conditions[PARTS] = [f"The test set is the data set's {test!r}; {fitted}."]
    for join in dataset.joins:
        conditions[join.kind.capitalize()] = [join.summary]
    if dataset.unreadable:
        conditions["Left out"] = [f"{unreadable.summary(dataset)}: listed in {unreadable.FILE}"]
    if message := describe_copies(dataset, splits):
        conditions["Copies"] = [message.removeprefix("copies: ")]
    return conditions
