"""Who is fitted on, who chooses and who is reported: train, val, test and folds as row sets over parts."""

from __future__ import annotations

import numpy as np

from probeline.errors import BadData
from probeline.images.strata import apportion, deal, draw, shuffled
from probeline.records import DataSet, IntArray, Split, Splits

ENOUGH_FOR_VAL = 1_000
"""Rows to fit and choose on, from which one val set serves; below it, folds do."""

MOST_FOLDS = 5

_PURPOSE_TEST, _PURPOSE_VAL, _PURPOSE_FOLDS = 2, 3, 4


def split(dataset: DataSet, *, data_seed: int) -> Splits:
    """Return the splits of a data set.

    Test is the test part, or a stratified fifth where train and test are the same part. Val is the part that
    ships as val, else a stratified tenth of the remaining rows of the train part, else, where those are fewer
    than 1,000, the first of k = min(5, smallest class) stratified folds. Every class keeps a row in train; a class
    that gives rows to test keeps two.

    Any change to what this returns for an equal data set and seed must bump ``SPLITS_VERSION``.

    Parameters
    ----------
    dataset : DataSet
    data_seed : int
        0 or more.

    Returns
    -------
    Splits

    Raises
    ------
    BadData
        Where a class has too few images to be fitted and chosen on.
    BadOption
        For a negative seed.
    """
    labels = dataset.parts[dataset.train].labels
    order = shuffled(len(labels), data_seed, _PURPOSE_TEST)
    if dataset.train == dataset.test:
        test, rest = _carve(labels, order, dataset, fraction=5, keep=2)
    else:
        test, rest = np.arange(len(dataset.parts[dataset.test])), np.arange(len(labels))

    folds: tuple[IntArray, ...] = ()
    val_part = dataset.train
    if dataset.val is not None:
        _check_classes(labels, rest, dataset, at_least=1)
        val_part = dataset.val
        train, val = rest, np.arange(len(dataset.parts[dataset.val]))
    elif len(rest) >= ENOUGH_FOR_VAL:
        _check_classes(labels, rest, dataset, at_least=1)
        val, train = _carve(labels, _reordered(rest, data_seed, _PURPOSE_VAL), dataset, fraction=10, keep=1)
    else:
        smallest = _check_classes(labels, rest, dataset, at_least=2)
        folds = deal(labels, min(MOST_FOLDS, smallest), _reordered(rest, data_seed, _PURPOSE_FOLDS))
        val, train = folds[0], np.sort(np.concatenate(folds[1:]))
    return Splits(
        train=Split(dataset.train, train, "train"),
        val=Split(val_part, val, "val"),
        test=Split(dataset.test, test, "test"),
        folds=folds,
        data_seed=data_seed,
    )


def _reordered(rows: IntArray, seed: int, purpose: int) -> IntArray:
    return rows[shuffled(len(rows), seed, purpose)]


def _carve(
    labels: IntArray, order: IntArray, dataset: DataSet, *, fraction: int, keep: int
) -> tuple[IntArray, IntArray]:
    """Return a stratified 1 / `fraction` of the rows in `order`, and the rest; where it can, a class keeps `keep`."""
    counts = np.bincount(labels[order], minlength=len(dataset.class_names))
    most = np.maximum(counts - keep, 0)
    total = (2 * len(order) + fraction) // (2 * fraction)
    carved = draw(labels, apportion(counts, total, least=np.minimum(most, 1), most=most), order)
    return carved, np.setdiff1d(order, carved)


def _check_classes(labels: IntArray, rows: IntArray, dataset: DataSet, *, at_least: int) -> int:
    """Return the size of the smallest class among `rows`."""
    counts = np.bincount(labels[rows], minlength=len(dataset.class_names))
    smallest = int(np.argmin(counts))
    if counts[smallest] < at_least:
        raise BadData(
            "class with too few images to fit and to choose on",
            where=f"{dataset.class_names[smallest]!r} in {dataset.name}/{dataset.train}",
            expected=f"{at_least} or more",
            got=int(counts[smallest]),
            remedy="add images of it, or remove its folder",
        )
    return int(counts[smallest])
