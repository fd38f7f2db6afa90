"""Row sets: stratified, seeded, and the same for ever."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_data import dataset
from probeline.data.sampling.splits import deal_train_folds, split
from probeline.data.sampling.stratified import apportion, deal, draw, shuffled
from probeline.data.source import Subset
from probeline.errors import BadData, BadOption
from probeline.identity import digest
from probeline.types import DataSet, Splits


def counts(splits: Splits, data: DataSet, role: str) -> list[int]:
    chosen = getattr(splits, role)
    labels = data.parts[chosen.part].labels[chosen.rows]
    return [int((labels == number).sum()) for number in range(len(data.class_names))]


def check(splits: Splits, data: DataSet) -> None:
    """Hold what is true of every split."""
    seen: dict[str, list[int]] = {}
    for role in ("train", "val", "test"):
        chosen = getattr(splits, role)
        assert chosen.role == role
        assert chosen.rows.dtype == np.int64
        assert len(chosen) > 0
        assert (np.diff(chosen.rows) > 0).all()
        assert chosen.rows[0] >= 0
        assert chosen.rows[-1] < len(data.parts[chosen.part])
        seen.setdefault(chosen.part, []).extend(chosen.rows.tolist())
    for name, rows in seen.items():
        assert sorted(rows) == list(range(len(data.parts[name]))), "rows are lost or play two roles"
    assert min(counts(splits, data, "train")) >= 1
    if splits.folds:
        assert splits.val.part == splits.train.part
        assert np.array_equal(splits.val.rows, splits.folds[0])
        assert np.array_equal(splits.train.rows, np.sort(np.concatenate(splits.folds[1:])))
        assert all((np.diff(fold) > 0).all() for fold in splits.folds)
        labels = data.parts[splits.train.part].labels
        by_class = np.array([np.bincount(labels[fold], minlength=len(data.class_names)) for fold in splits.folds])
        assert (by_class.sum(axis=0) > by_class.max(axis=0)).all(), "a fold holds all of a class"
        assert (np.ptp(by_class, axis=0) <= 1).all()
        assert np.ptp(by_class.sum(axis=1)) <= 1


def test_many_train_rows_give_a_tenth_to_val() -> None:
    data = dataset({"train": [500, 300, 200], "test": [10, 20, 30]})
    splits = split(data, data_seed=0)
    check(splits, data)
    assert splits.folds == ()
    assert counts(splits, data, "val") == [50, 30, 20]
    assert len(splits.test) == 60
    assert splits.chosen_by == "val (n=100)"


def test_fewer_rows_are_folded() -> None:
    data = dataset({"train": [500, 300, 199], "test": [10, 20, 30]})
    splits = split(data, data_seed=0)
    check(splits, data)
    assert len(splits.folds) == 5
    assert splits.chosen_by == "5-fold (n=999)"


def test_a_small_class_does_not_make_the_folds_fewer() -> None:
    for smallest in (2, 3, 5, 6):
        data = dataset({"train": [40, smallest], "test": [1, 1]})
        splits = split(data, data_seed=0)
        check(splits, data)
        assert len(splits.folds) == 5
        for fold in splits.folds:
            left = np.setdiff1d(np.concatenate(splits.folds), fold)
            assert np.bincount(data.parts["train"].labels[left], minlength=2).all()


def test_folds_are_no_more_than_rows() -> None:
    data = dataset({"train": [2, 2], "test": [1, 1]})
    assert [len(fold) for fold in split(data, data_seed=0).folds] == [1, 1, 1, 1]


def test_classes_that_outnumber_val_are_not_all_in_it() -> None:
    data = dataset({"train": [2] * 600, "test": [1] * 600})
    splits = split(data, data_seed=0)
    check(splits, data)
    assert (len(splits.train), len(splits.val)) == (1080, 120)


def test_one_part_gives_a_fifth_to_test_first() -> None:
    data = dataset({"all": [100, 60, 40]})
    splits = split(data, data_seed=0)
    check(splits, data)
    assert counts(splits, data, "test") == [20, 12, 8]
    assert len(splits.folds) == 5
    large = dataset({"all": [700, 400, 200]})
    splits = split(large, data_seed=0)
    check(splits, large)
    assert (len(splits.test), len(splits.val), splits.folds) == (260, 104, ())


def test_a_shipped_val_is_val() -> None:
    data = dataset({"train": [1, 3], "val": [4, 5], "test": [6, 7]})
    splits = split(data, data_seed=0)
    check(splits, data)
    assert splits.folds == ()
    assert [s.part for s in (splits.train, splits.val, splits.test)] == ["train", "val", "test"]
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [4, 9, 13]


def test_rare_classes_stay_in_train() -> None:
    data = dataset({"train": [1200, 1, 2], "test": [1, 1, 1]})
    splits = split(data, data_seed=0)
    check(splits, data)
    assert counts(splits, data, "val")[1:] == [0, 1]
    data = dataset({"all": [100, 2, 3]})
    splits = split(data, data_seed=0)
    check(splits, data)
    assert counts(splits, data, "test")[1:] == [0, 1]
    assert len(splits.folds) == 5


@pytest.mark.parametrize("sizes", [{"train": [50, 1], "test": [5, 5]}, {"all": [50, 1]}])
def test_a_class_with_one_image_cannot_be_folded(sizes: dict[str, list[int]]) -> None:
    with pytest.raises(BadData, match=r"'class 1' in toy/\w+ \(expected 2 or more, got 1\)"):
        split(dataset(sizes), data_seed=0)


@pytest.mark.parametrize(
    "sizes", [{"train": [2000, 0], "test": [5, 5]}, {"train": [5, 0], "val": [1, 1], "test": [1, 1]}]
)
def test_a_class_without_images_is_refused(sizes: dict[str, list[int]]) -> None:
    with pytest.raises(BadData, match=r"'class 1' .*expected 1 or more, got 0"):
        split(dataset(sizes), data_seed=0)


def test_seeds_change_what_is_drawn_and_nothing_else() -> None:
    data = dataset({"all": [700, 700]})
    first, again, other = (split(data, data_seed=seed) for seed in (0, 0, 1))
    for role in ("train", "val", "test"):
        assert np.array_equal(getattr(first, role).rows, getattr(again, role).rows)
        assert not np.array_equal(getattr(first, role).rows, getattr(other, role).rows)
        assert len(getattr(first, role)) == len(getattr(other, role))


@pytest.mark.parametrize("limit", [None, 4])
def test_a_negative_seed_is_refused(limit: int | None) -> None:
    data = dataset({"all": [10, 10]})
    with pytest.raises(BadOption, match="--data-seed"):
        split(data, data_seed=-1)
    with pytest.raises(BadOption, match="--data-seed"):
        Subset(4, -1).rows(data.parts["all"].labels, 2)


GOLDEN = {
    "fifth then tenth": ({"all": [701, 399, 200]}, 0, "d5ba7f5420d3ff4e"),
    "folds": ({"train": [123, 121], "val": [70, 83]}, 0, "d95a2733d6d44f12"),
    "tenth": ({"train": [500, 503], "test": [10, 10]}, 7, "7d80e877403f7e17"),
    "fifth then folds": ({"all": [11, 4, 30]}, 2**40, "46d4f27856096222"),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_splits_never_change(case: str) -> None:
    """Where this fails, splits of an equal data set and seed have changed: undo that, or bump SPLITS_VERSION."""
    sizes, seed, expected = GOLDEN[case]
    splits = split(dataset(sizes), data_seed=seed)
    rows = {role: getattr(splits, role).rows.tolist() for role in ("train", "val", "test")}
    assert digest({**rows, "folds": [fold.tolist() for fold in splits.folds]})[:16] == expected


def test_the_order_never_changes() -> None:
    assert shuffled(10, 0, 2).tolist() == [0, 4, 6, 3, 9, 5, 7, 1, 8, 2]
    assert shuffled(10, 3, 2).tolist() == [4, 0, 8, 5, 3, 9, 7, 6, 1, 2]


def test_orders_of_other_purposes_are_unrelated() -> None:
    orders = [shuffled(1000, seed, purpose).tolist() for seed in range(3) for purpose in range(1, 5)]
    assert all(sorted(order) == list(range(1000)) for order in orders)
    for number, order in enumerate(orders):
        for other in orders[:number]:
            # Unrelated orders agree in one place on average; 12 or more have a chance below 1e-9.
            assert sum(a == b for a, b in zip(order, other, strict=True)) < 12


# ---------------------------------------------------------------------------------------------------------------------

sizes_of_classes = st.lists(st.integers(0, 60), min_size=1, max_size=8)


@given(sizes_of_classes, st.integers(0, 400), st.data())
def test_apportioning_keeps_its_bounds_and_is_nearly_proportional(
    sizes: list[int], total: int, data: st.DataObject
) -> None:
    sizes_array = np.array(sizes)
    most = np.array([data.draw(st.integers(0, size)) for size in sizes])
    least = np.array([data.draw(st.integers(0, int(bound))) for bound in most])
    seats = apportion(sizes_array, total, least, most)
    assert (least <= seats).all()
    assert (seats <= most).all()
    assert seats.sum() == np.clip(total, least.sum(), most.sum())
    free = (seats > least) & (seats < most)
    if sum(sizes) >= total > 0 and free.all():
        assert np.abs(seats - total * sizes_array / sum(sizes)).max() < 1


@given(sizes_of_classes, st.integers(0, 2**64), st.data())
def test_drawing_takes_the_requested_rows_of_each_class(sizes: list[int], seed: int, data: st.DataObject) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    seats = np.array([data.draw(st.integers(0, size)) for size in sizes])
    rows = draw(labels, seats, shuffled(len(labels), seed, 1))
    assert rows.dtype == np.int64
    assert (np.diff(rows) > 0).all()
    assert np.bincount(labels[rows], minlength=len(sizes)).tolist() == seats.tolist()


@given(sizes_of_classes, st.integers(2, 5))
def test_dealing_is_even_over_all_and_within_each_class(sizes: list[int], hands: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    dealt = deal(labels, hands, shuffled(len(labels), 0, 1))
    assert sorted(np.concatenate(dealt).tolist()) == list(range(len(labels)))
    by_class = np.array([np.bincount(labels[rows], minlength=len(sizes)) for rows in dealt])
    assert (np.ptp(by_class, axis=0) <= 1).all()
    assert np.ptp(by_class.sum(axis=1)) <= 1


def test_every_row_is_as_likely_to_be_drawn() -> None:
    labels = np.repeat(np.arange(2), [30, 10])
    seats = np.array([6, 2])
    drawn = np.zeros(40)
    for seed in range(2000):
        drawn[draw(labels, seats, shuffled(40, seed, 1))] += 1
    # Each row is drawn in a fifth of the runs: 400 +- 18 (binomial); 5 sigma.
    assert np.abs(drawn - 400).max() < 90


@settings(max_examples=60)
@given(st.lists(st.integers(2, 40), min_size=2, max_size=6), st.integers(0, 99), st.booleans())
def test_splits_of_any_small_data_set_are_sound(sizes: list[int], seed: int, one_part: bool) -> None:
    data = dataset({"all": [size + 3 for size in sizes]} if one_part else {"train": sizes, "test": [1] * len(sizes)})
    check(split(data, data_seed=seed), data)


# ---------------------------------------------------------------------------------------------------------------------


def test_a_subset_is_stratified_seeded_and_in_order() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3), [100, 50, 2]))
    rows = Subset(30).rows(labels, 3)
    assert (np.diff(rows) > 0).all()
    assert np.bincount(labels[rows]).tolist() == [19, 10, 1]
    assert np.array_equal(rows, Subset(30, 0).rows(labels, 3))
    assert not np.array_equal(rows, Subset(30, 1).rows(labels, 3))


def test_every_class_keeps_a_row_in_the_smallest_subset() -> None:
    labels = np.repeat(np.arange(4), [997, 1, 1, 1])
    assert np.bincount(labels[Subset(4).rows(labels, 4)]).tolist() == [1, 1, 1, 1]
    with pytest.raises(BadOption, match=r"--limit \(expected 4 or more.*got 3"):
        Subset(3).rows(labels, 4)


def test_a_limit_above_the_part_keeps_it_whole() -> None:
    labels = np.repeat(np.arange(2), [3, 4])
    for limit in (None, 7, 1000):
        rows = Subset(limit).rows(labels, 2)
        assert rows.tolist() == list(range(7))
        assert rows.dtype == np.int64


def test_a_class_that_the_part_lacks_takes_no_row() -> None:
    labels = np.repeat(np.array([0, 2]), [5, 5])
    assert np.bincount(labels[Subset(3).rows(labels, 3)], minlength=3).tolist() == [2, 0, 1]


def test_a_subset_says_so_in_its_name() -> None:
    assert Subset().name("toy") == "toy"
    assert Subset(None, 5).name("toy") == "toy"
    assert Subset(50).name("toy") == "toy-limit50"
    assert Subset(50, 5).name("toy") == "toy-limit50-dataseed5"


# Folds of the train rows alone


def test_where_folds_choose_the_train_rows_are_dealt_already() -> None:
    data = dataset({"all": [30, 25, 20]})
    splits = split(data, data_seed=0)
    assert len(splits.folds) == 5
    assert deal_train_folds(data, splits) == splits.folds[1:]


def test_where_val_chooses_the_train_rows_are_dealt_anew() -> None:
    data = dataset({"train": [700, 500, 300], "test": [5, 5, 5]})
    splits = split(data, data_seed=0)
    assert not splits.folds
    folds = deal_train_folds(data, splits)
    assert len(folds) == 5
    assert (np.sort(np.concatenate(folds)) == splits.train.rows).all()
    labels = data.parts["train"].labels
    for number in range(3):
        sizes = [int((labels[fold] == number).sum()) for fold in folds]
        assert max(sizes) - min(sizes) <= 1
    again = deal_train_folds(data, dataclasses.replace(splits, data_seed=1))
    assert any((one != other).any() for one, other in zip(folds, again, strict=True))
