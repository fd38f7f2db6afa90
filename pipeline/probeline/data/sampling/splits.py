"""Train, val, test and folds as row sets over the parts of a data set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from probeline.data.sampling.grouped import carve_groups, count_groups, deal_groups
from probeline.data.sampling.iterative import deal_iteratively, strata_of_numbers
from probeline.data.sampling.stratified import apportion, deal, draw, shuffled
from probeline.errors import BadData, BadOption
from probeline.identity import digest_bytes
from probeline.names import MULTI_LABEL
from probeline.types import DROPPED, DataSet, IntArray, Split, Splits

ENOUGH_FOR_VAL = 1_000
"""Rows of train and val together, from which on one val set is carved; below it there are folds."""

FOLDS = 5

_FIFTH, _TENTH = Fraction(1, 5), Fraction(1, 10)

_PURPOSE_TEST, _PURPOSE_VAL, _PURPOSE_FOLDS, _PURPOSE_TRAIN_FOLDS = 2, 3, 4, 5


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What is held out of the train part, in place of the rules of :func:`split`.

    Attributes
    ----------
    test : Fraction, int64 [n] or None
        Share of the rows, or rows, of a data set that has one part.
    val : Fraction, int64 [n] or None
        Share of the rows that are not test, or rows.
    """

    test: Fraction | IntArray | None = None
    val: Fraction | IntArray | None = None


def split(dataset: DataSet, *, data_seed: int, held_out: HeldOut = HeldOut()) -> Splits:
    """Return the splits of a data set.

    Test is the test part, or a stratified share of the rows, a fifth by default, if train and test are the same part.
    Val is the part that ships as val, else a stratified tenth of the remaining rows of the train part, else, if those
    are fewer than 1,000, the first of five stratified folds. Every class keeps a row in train; a class that gives rows
    to test keeps two. Dropped rows are in no split.

    If the data set has groups, a part is split in whole groups, as close to these shares as groups allow, and classes
    are counted in groups: a class that gives to test keeps two of them. There are fewer than five folds if one of five
    would contain all groups of some class.

    Images with several labels are divided by iterative stratification, with each label as a class; those with numbers
    by strata of ten of similar size.

    Any change to what this returns for an equal data set and seed must bump ``SPLITS_VERSION``.

    Raises
    ------
    BadData
        A class has too few images, or groups, for train and val, or no image is left for val.
    BadOption
        A negative seed, or rows to hold out that have another role already or that separate a group.
    """
    test, val = _FIFTH if held_out.test is None else held_out.test, held_out.val
    labels = dataset.parts[dataset.train].labels
    order = shuffled(len(labels), data_seed, _PURPOSE_TEST)
    if dataset.train != dataset.test:
        if held_out.test is not None:
            raise BadOption(f"{dataset.name} has a test part already", got=f"{dataset.test!r}, and other rows of test")
        test_rows, rest = _labelled(dataset, dataset.test), _labelled(dataset, dataset.train)
    elif isinstance(test, Fraction):
        test_rows, rest = _carve(dataset, order[labels[order] != DROPPED], share=test, keep=2)
    else:
        test_rows, rest = _take(dataset, "test", test, _labelled(dataset, dataset.train))

    folds: tuple[IntArray, ...] = ()
    val_part = dataset.train
    if isinstance(val, np.ndarray):
        val_rows, train = _take(dataset, "val", val, rest)
        _check_classes(dataset, train, at_least=1)
    elif val is None and dataset.val is not None:
        _check_classes(dataset, rest, at_least=1)
        val_part = dataset.val
        train, val_rows = rest, _labelled(dataset, dataset.val)
    elif val is not None or len(rest) >= ENOUGH_FOR_VAL:
        _check_classes(dataset, rest, at_least=1)
        val_rows, train = _carve(dataset, _reordered(rest, data_seed, _PURPOSE_VAL), share=val or _TENTH, keep=1)
    else:
        _check_classes(dataset, rest, at_least=2)
        folds = _deal_folds(dataset, _reordered(rest, data_seed, _PURPOSE_FOLDS))
        val_rows, train = folds[0], np.sort(np.concatenate(folds[1:]))
    if not len(val_rows):
        raise BadData(
            "no image is left to choose on",
            where=f"{dataset.name}/{val_part}",
            remedy="add images, or divide groups that hold all of a class",
        )
    return Splits(
        train=Split(dataset.train, train, "train"),
        val=Split(val_part, val_rows, "val"),
        test=Split(dataset.test, test_rows, "test"),
        folds=folds,
        data_seed=data_seed,
    )


def deal_train_folds(dataset: DataSet, splits: Splits) -> tuple[IntArray, ...]:
    """Return the train rows in stratified folds of whole groups, for out-of-fold predictions.

    If the splits have folds, these are all but the first, which is val, so that no fit sees a val row. If all train
    rows are one group, there is one fold.
    """
    if len(splits.folds) > 2:
        return splits.folds[1:]
    order = _reordered(splits.train.rows, splits.data_seed, _PURPOSE_TRAIN_FOLDS)
    labels, folds = _classes(dataset), min(FOLDS, len(order))
    if _is_multi_label(dataset):
        return _deal_labels(dataset, order, (1,) * folds)
    if not dataset.groups:
        return deal(labels, folds, order)
    return tuple(fold for fold in deal_groups(labels, dataset.groups[splits.train.part], folds, order) if len(fold))


def describe_copies(dataset: DataSet, splits: Splits) -> str | None:
    """Return one line about exact duplicates of test or val images in the rows fitted on; None if there are none."""

    def content(split: Split) -> list[str]:
        rows = split.rows.tolist()
        if dataset.embeddings:
            values = [embedding.by_part[split.part] for embedding in dataset.embeddings.values()]
            return [digest_bytes(b"".join(array[row].tobytes() for array in values)) for row in rows]
        return [dataset.parts[split.part].content[row] for row in rows]

    train, val, test = (content(split) for split in (splits.train, splits.val, splits.test))
    notes = []
    for name, images, others, where in (
        ("test", test, {*train, *val}, "train or val"),
        ("val", val, {*train}, "train"),
    ):
        if copies := sum(image in others for image in images):
            kind = "embeddings" if dataset.embeddings else "images"
            notes.append(f"{copies:,} of {len(images):,} {name} {kind} are byte for byte in {where} too")
    return "copies: " + "; ".join(notes) + ": accuracy there may be too high" if notes else None


def _is_multi_label(dataset: DataSet) -> bool:
    return dataset.targets is not None and dataset.targets.task == MULTI_LABEL


def _classes(dataset: DataSet) -> IntArray:
    """Return by what rows of the train part are stratified, int64 [N]: their classes, or strata of numbers."""
    labels = dataset.parts[dataset.train].labels
    if dataset.targets is None:
        return labels
    return strata_of_numbers(dataset.targets.by_part[dataset.train], np.flatnonzero(labels != DROPPED))


def _deal_labels(dataset: DataSet, order: IntArray, shares: tuple[int, ...]) -> tuple[IntArray, ...]:
    """Return the rows of `order` in sets of these shares, which have their part of each label; none is empty."""
    if dataset.targets is None:
        raise ValueError(f"{dataset.name} has one class for each image")
    values, groups = dataset.targets.by_part[dataset.train], dataset.groups.get(dataset.train)
    sets = deal_iteratively(values, order, shares, groups)
    return tuple(rows for rows in sets if len(rows))


def _reordered(rows: IntArray, seed: int, purpose: int) -> IntArray:
    return rows[shuffled(len(rows), seed, purpose)]


def _labelled(dataset: DataSet, part: str) -> IntArray:
    return np.flatnonzero(dataset.parts[part].labels != DROPPED).astype(np.int64, copy=False)


def _take(dataset: DataSet, role: str, rows: IntArray, among: IntArray) -> tuple[IntArray, IntArray]:
    """Return the given rows of the train part, ascending, and the other ones of `among`."""
    taken = np.unique(rows)
    if strange := np.setdiff1d(taken, among).tolist():
        raise BadOption(
            f"bad rows of {role}",
            where=dataset.name,
            expected="rows with a label that have no other role",
            got=f"{len(strange):,} others, such as row {strange[0]}",
        )
    rest = np.setdiff1d(among, taken)
    if dataset.groups:
        groups = dataset.groups[dataset.train]
        if torn := np.intersect1d(groups[taken], groups[rest]).tolist():
            raise BadOption(
                f"{role} separates rows of a group", where=dataset.name, got=f"{len(torn):,} groups are torn"
            )
    return taken, rest


def _carve(dataset: DataSet, order: IntArray, *, share: Fraction, keep: int) -> tuple[IntArray, IntArray]:
    """Return a stratified `share` of the train part's rows in `order`, and the rest.

    If possible, each class keeps `keep` rows, or groups.
    """
    if _is_multi_label(dataset):
        sets = _deal_labels(dataset, order, (share.numerator, share.denominator - share.numerator))
        return (sets[0], sets[1]) if len(sets) > 1 else (np.empty(0, np.int64), sets[0])
    labels = _classes(dataset)
    if dataset.groups:
        return carve_groups(labels, dataset.groups[dataset.train], order, share=share, keep=keep)
    counts = np.bincount(labels[order], minlength=len(dataset.class_names))
    keep = keep if dataset.targets is None else 1
    most = np.maximum(counts - keep, 0)
    total = math.floor(len(order) * share + Fraction(1, 2))
    # If there are more classes than rows to carve, not every class can have one of them.
    least = np.minimum(most, 1) if total >= len(counts) else np.zeros_like(most)
    carved = draw(labels, apportion(counts, total, least=least, most=most), order)
    return carved, np.setdiff1d(order, carved)


def _deal_folds(dataset: DataSet, order: IntArray) -> tuple[IntArray, ...]:
    if _is_multi_label(dataset):
        return _deal_labels(dataset, order, (1,) * min(FOLDS, len(order)))
    labels = _classes(dataset)
    if not dataset.groups:
        return deal(labels, min(FOLDS, len(order)), order)
    lacking = 0
    for number in range(min(FOLDS, len(order)), 1, -1):
        folds = deal_groups(labels, dataset.groups[dataset.train], number, order)
        if dataset.targets is not None and all(map(len, folds)):
            return folds
        others = (np.setdiff1d(order, fold) for fold in folds)
        counts = np.array([np.bincount(labels[rows], minlength=len(dataset.class_names)) for rows in others])
        if dataset.targets is None and counts.all() and all(map(len, folds)):
            return folds
        lacking = int(counts.min(0).argmin())
    if dataset.targets is not None:
        _check_targets(dataset, order, len(order) + 1)
    raise BadData(
        "groups leave a fold without a class to fit on",
        where=f"{dataset.class_names[lacking]!r} in {dataset.name}/{dataset.train}",
        remedy="divide its groups, or drop the class",
    )


def _check_classes(dataset: DataSet, rows: IntArray, *, at_least: int) -> None:
    """Raise BadData if the smallest class among `rows` of the train part has too few images, or groups."""
    if dataset.targets is not None:
        _check_targets(dataset, rows, at_least + 1)
        return
    labels, classes = dataset.parts[dataset.train].labels, len(dataset.class_names)
    counts = np.bincount(labels[rows], minlength=classes)
    if dataset.groups:
        counts = count_groups(labels, dataset.groups[dataset.train], rows, classes)
    smallest = int(np.argmin(counts))
    if counts[smallest] < at_least:
        raise BadData(
            f"class with too few {'groups' if dataset.groups else 'images'} to fit and to choose on",
            where=f"{dataset.class_names[smallest]!r} in {dataset.name}/{dataset.train}",
            expected=f"{at_least} or more",
            got=int(counts[smallest]),
            remedy="add images of it, or leave the class out",
        )


def _check_targets(dataset: DataSet, rows: IntArray, at_least: int) -> None:
    """Raise BadData if too few images, or groups, with targets are left to fit and to choose on."""
    of_rows = dataset.groups[dataset.train][rows] if dataset.groups else rows
    if (count := len(np.unique(of_rows))) < at_least:
        raise BadData(
            f"too few {'groups' if dataset.groups else 'images'} to fit and to choose on",
            where=f"{dataset.name}/{dataset.train}",
            expected=f"{at_least} or more",
            got=count,
            remedy="add images with targets",
        )
