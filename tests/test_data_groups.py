"""Groups: read by sample id, and never parted by a split."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from made_data import dataset
from probeline.data.annotations.groups import describe_leaks, group
from probeline.data.sampling.grouped import carve_groups, count_groups, deal_groups
from probeline.data.sampling.splits import ENOUGH_FOR_VAL, deal_train_folds, split
from probeline.data.sampling.stratified import shuffled
from probeline.errors import BadData
from probeline.identity import digest
from probeline.types import DataSet, IntArray, Splits


def write(folder: Path, groups: dict[str, str]) -> Path:
    path = folder / "scenes.csv"
    lines = [f"{sample_id},{name}" for sample_id, name in groups.items()]
    path.write_text("\n".join(["sample_id,group", *lines]), encoding="utf-8")
    return path


def grouped(data: DataSet, **groups: IntArray) -> DataSet:
    return dataclasses.replace(data, groups=groups)


def check_apart(splits: Splits, data: DataSet) -> None:
    """Hold that no group plays two roles, nor lies in two folds, of the part that roles are carved from."""
    groups = data.groups[data.train]
    roles = [split.rows for split in (splits.train, splits.val, splits.test) if split.part == data.train]
    for sides in (roles, splits.folds):
        group_sets = [set(groups[rows].tolist()) for rows in sides]
        assert sum(map(len, group_sets)) == len(set().union(*group_sets))


def test_groups_are_joined_by_id_and_the_rest_stand_alone(tmp_path: Path) -> None:
    data = dataset({"train": [4, 4], "test": [2, 2]})
    ids = data.parts["train"].sample_ids
    path = write(tmp_path, {ids[1]: "a", ids[5]: "a", ids[2]: "b", "test/00000": "b", ids[3]: ""})
    found = group(data, path, whole=True)
    train, test = found.groups["train"], found.groups["test"]
    assert train[1] == train[5]
    assert train[2] == test[0]
    numbers = [*train.tolist(), *test.tolist()]
    assert len(set(numbers)) == len(numbers) - 2
    assert found.title.startswith("toy--groups-")
    assert "2 groups" in found.joins[0].summary
    assert "8 images belong to none" in found.joins[0].summary
    with pytest.raises(BadData, match=r"the --groups file has another header.*sample_id,group"):
        group(data, _headless(path), whole=True)


def _headless(path: Path) -> Path:
    path.write_text("a,b\n", encoding="utf-8")
    return path


def test_a_group_in_train_and_test_is_reported_and_not_moved(tmp_path: Path) -> None:
    data = dataset({"train": [600, 600], "test": [3, 3]})
    path = write(tmp_path, {"train/00007": "p17", "test/00000": "p17", "test/00001": "p17", "test/00002": "p18"})
    found = group(data, path, whole=True)
    line = describe_leaks(found)
    assert line is not None
    assert "1 groups of train are also in test, with 2 of its images" in line
    assert "\n" not in line
    assert len(split(found, data_seed=0).test) == 6
    assert describe_leaks(group(data, write(tmp_path, {"train/00007": "a", "train/00008": "a"}), whole=True)) is None


def test_groups_of_single_images_are_stratified_as_rows_are() -> None:
    for sizes, seed in (([500, 300, 250], 0), ([77, 33, 11], 1)):
        data = dataset({"all": sizes})
        alone = grouped(data, all=np.arange(sum(sizes)))
        plain, splits = split(data, data_seed=seed), split(alone, data_seed=seed)
        labels = data.parts["all"].labels
        for role in ("train", "val", "test"):
            ours, theirs = (np.bincount(labels[getattr(s, role).rows]) for s in (splits, plain))
            # Each class goes to its share by Sainte-Lague's rule, which is within one row of it; two roles are carved.
            assert np.abs(ours - theirs).max() <= 2
        check_apart(splits, alone)


def test_shares_are_met_as_nearly_as_groups_allow() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 30, 200)
    groups = np.repeat(np.arange(200), sizes)
    labels = (np.repeat(rng.integers(0, 4, 200), sizes) + (rng.random(sizes.sum()) < 0.2)) % 4
    for seed in range(3):
        order = shuffled(len(labels), seed, 2)
        carved, rest = carve_groups(labels, groups, order, share=Fraction(1, 5), keep=2)
        assert len(carved) + len(rest) == len(labels)
        # Groups of up to 29 rows, of some 720 a class: measured 2.2 rows off at most, scikit-learn's splitter 2.2 too.
        assert np.abs(np.bincount(labels[carved]) - np.bincount(labels) / 5).max() < 5
        folds = deal_groups(labels, groups, 5, order)
        for fold in folds:
            assert np.abs(np.bincount(labels[fold], minlength=4) - np.bincount(labels) / 5).max() < 5
    assert not np.array_equal(
        *(
            carve_groups(labels, groups, shuffled(len(labels), s, 2), share=Fraction(1, 5), keep=2)[0][:50]
            for s in (0, 1)
        )
    )


def test_the_test_set_is_not_made_of_small_groups_alone() -> None:
    sizes = np.repeat([1, 2, 4, 8, 16, 32], 60)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.zeros(len(groups), np.int64)
    carved, _ = carve_groups(labels, groups, shuffled(len(labels), 0, 2), share=Fraction(1, 5), keep=2)
    taken = np.bincount(sizes[np.unique(groups[carved])], minlength=33)[[1, 2, 4, 8, 16, 32]]
    # Of 60 groups of each size a fifth is 12; groups are placed size by size, each time evening out what was before.
    assert (taken >= 8).all()
    assert (taken <= 16).all()


GOLDEN = {"folds": ([40, 30, 20], 7, "0cee5255154fbad6"), "val": ([700, 500], 9, "7586aab44fece44a")}


@pytest.mark.parametrize("case", GOLDEN)
def test_grouped_splits_never_change(case: str) -> None:
    """Where this fails, splits of an equal data set, groups and seed have changed: undo that."""
    sizes, modulus, expected = GOLDEN[case]
    n = sum(sizes)
    data = grouped(dataset({"all": sizes}), all=np.arange(n) * 31 % (n // modulus))
    splits = split(data, data_seed=0)
    check_apart(splits, data)
    rows = {role: getattr(splits, role).rows.tolist() for role in ("train", "val", "test")}
    assert digest({**rows, "folds": [fold.tolist() for fold in splits.folds]})[:16] == expected


def test_one_group_for_all_of_a_class_cannot_be_folded() -> None:
    data = dataset({"all": [30, 30]})
    labels = data.parts["all"].labels
    with pytest.raises(
        BadData, match=r"class with too few groups .*'class 0' in toy/all \(expected 2 or more, got 1\)"
    ):
        split(grouped(data, all=np.where(labels == 0, 1000, np.arange(60))), data_seed=0)
    many = dataset({"train": [700, 700], "test": [2, 2]})
    with pytest.raises(BadData, match="no image is left to choose on"):
        split(grouped(many, train=np.zeros(1400, np.int64), test=np.arange(1, 5)), data_seed=0)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_no_split_ever_parts_a_group(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(8, 40), min_size=2, max_size=4))
    n = sum(sizes)
    groups = np.array(data.draw(st.lists(st.integers(0, n // 3), min_size=n, max_size=n)))
    one_part = data.draw(st.booleans())
    toy = dataset({"all": sizes} if one_part else {"train": sizes, "test": [1] * len(sizes)})
    toy = grouped(toy, **{toy.train: groups}, **({} if one_part else {"test": np.arange(n, n + len(sizes))}))
    assert n < ENOUGH_FOR_VAL
    labels = toy.parts[toy.train].labels
    seed = data.draw(st.integers(0, 99))
    if count_groups(labels, groups, np.arange(n), len(sizes)).min() < 2:
        with pytest.raises(BadData, match="too few groups"):
            split(toy, data_seed=seed)
        return
    try:
        splits = split(toy, data_seed=seed)
    except BadData as error:  # of random data sets with few groups, one in 3,000
        assume("a fold without a class" not in str(error))
        raise
    check_apart(splits, toy)
    rows = [s.rows for s in (splits.train, splits.val, splits.test) if s.part == toy.train]
    assert sorted(np.concatenate(rows).tolist()) == list(range(n))
    for fold in splits.folds:
        others = np.setdiff1d(np.concatenate(splits.folds), fold)
        assert len(np.unique(labels[others])) == len(sizes), "a fold leaves a class out"
        assert len(fold)


def test_folds_of_the_train_rows_are_of_whole_groups() -> None:
    plain = dataset({"train": [700, 500], "test": [5, 5]})
    groups = {"train": np.arange(1200) // 40, "test": np.arange(1200, 1210)}
    data = grouped(plain, **groups)
    splits = split(data, data_seed=0)
    folds = deal_train_folds(data, splits)
    assert len(folds) == 5
    assert (np.sort(np.concatenate(folds)) == splits.train.rows).all()
    group_sets = [set(groups["train"][fold].tolist()) for fold in folds]
    assert sum(map(len, group_sets)) == len(set().union(*group_sets))
    one = grouped(plain, **{**groups, "train": np.zeros(1200, np.int64)})
    assert [len(fold) for fold in deal_train_folds(one, splits)] == [len(splits.train)], "one group cannot be dealt"
