"""Data sets for tests, made of labels alone."""

from __future__ import annotations

import dataclasses

import numpy as np

from conftest import make_part
from probeline.images import ImageArray
from probeline.types import DataSet, IntArray, Part


def part(name: str, labels: IntArray, classes: int) -> Part:
    return dataclasses.replace(make_part(len(labels), classes=classes, name=name), labels=labels)


def dataset(by_part: dict[str, list[int]]) -> DataSet:
    """Return a data set whose parts have so many rows of each class, in an order that looks mixed."""
    parts = {}
    for name, sizes in by_part.items():
        labels = np.repeat(np.arange(len(sizes)), sizes)
        parts[name] = part(name, labels[np.argsort(np.arange(len(labels)) * 7919 % 104_729, kind="stable")], len(sizes))
    names = list(parts)
    return DataSet(
        name="toy",
        parts=parts,
        images={name: ImageArray(np.zeros((len(p), 1, 1, 3), np.uint8)) for name, p in parts.items()},
        class_names=parts[names[0]].class_names,
        train=names[0],
        test=names[-1],
        val="val" if len(names) == 3 else None,
    )
