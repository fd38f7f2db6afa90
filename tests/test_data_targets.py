"""Several labels and numbers of each image: how they are read, joined, refused and split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import made_data
from probeline.data.annotations.targets import attach_targets, check_task, join_targets, require_classes
from probeline.data.sampling.iterative import deal_iteratively, strata_of_numbers
from probeline.data.sampling.splits import deal_train_folds, split
from probeline.data.sampling.stratified import shuffled
from probeline.data.target_values import TargetValues, find_ambiguity, targets_of_cells, targets_of_objects
from probeline.errors import BadData, BadOption
from probeline.types import DROPPED, DataSet, DoubleArray, splits_digest

NAN = float("nan")


def multi(cells: list[str], separator: str | None = None) -> tuple[tuple[str, ...], list[list[float]]]:
    found = targets_of_cells({"label": cells}, "multi-label", "here", separator)
    return found.names, found.values.tolist()


def test_labels_of_one_cell_are_separated_by_what_occurs() -> None:
    names, values = multi(["ants|outdoor", "bees", "|", "ants | bees", ""])
    assert names == ("ants", "bees", "outdoor")
    assert values[:4] == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]]
    assert np.isnan(values[4]).all()  # an empty cell is not an image without labels
    assert multi(["a;b", "b;c"])[0] == multi(["a,b", "b,c"])[0] == ("a", "b", "c")
    assert multi(["a b", "b/a b"], separator="/")[0] == ("a b", "b")
    assert multi(['["a", "b"]', "['c']", "[]"])[1] == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_two_separators_are_not_guessed_between() -> None:
    with pytest.raises(BadData, match=r"what separates the labels is not clear.*say it: --separator '\|'"):
        multi(["a|b,c", "a"])
    assert multi(["a|b,c", "a"], separator="|")[0] == ("a", "b,c")
    with pytest.raises(BadData, match="no cell has the separator"):
        multi(["a|b", "a"], separator="+")


def test_columns_of_0_and_1() -> None:
    columns = {"red": ["1", "0", "", "True"], "round": ["0.0", "1.0", "1", "no"]}
    found = targets_of_cells(columns, "multi-label", "here")
    assert found.names == ("red", "round")
    np.testing.assert_array_equal(found.values, [[1, 0], [0, 1], [NAN, 1], [1, 0]])
    with pytest.raises(BadData, match=r"neither 0 nor 1.*2 others, such as '-1'"):
        targets_of_cells({"a": ["1", "0", "1", "0"], "b": ["1", "-1", "-1", "0"]}, "multi-label", "here")


def test_numbers() -> None:
    found = targets_of_cells({"age": ["3.5", "", "-1e2"], "size": ["1", "2", "nan"]}, "regression", "here")
    np.testing.assert_array_equal(found.values, [[3.5, 1], [NAN, 2], [-100, NAN]])
    for bad in ("3,5", "inf", "old"):
        with pytest.raises(BadData, match="no finite numbers"):
            targets_of_cells({"age": ["1", "2", bad]}, "regression", "here")
    with pytest.raises(BadData, match="nothing to tell apart"):
        targets_of_cells({"age": ["1", "1", ""]}, "regression", "here")


def test_targets_from_python() -> None:
    listed = targets_of_objects([["a", "b"], [], None, ["b"]], 4, "multi-label", "here")
    np.testing.assert_array_equal(listed.values, [[1, 1], [0, 0], [NAN, NAN], [0, 1]])
    array = targets_of_objects([[1, 0], [0, NAN]], 2, "multi-label", "here")
    assert array.names == ("label0", "label1")
    assert targets_of_objects([1.5, 2, 3], 3, "regression", "here").values.shape == (3, 1)
    with pytest.raises(BadData, match="differ in number"):
        targets_of_objects([1.0, 2.0], 3, "regression", "here")
    with pytest.raises(BadData, match="neither 0 nor 1"):
        targets_of_objects([[1, 2], [0, 1]], 2, "multi-label", "here")


@pytest.mark.parametrize(
    ("texts", "is_ambiguous"),
    [
        (["ants|outdoor", "bees|outdoor"], True),
        (["ants|outdoor", "ants"], True),
        (["a;b", "c;d"], False),
        (["cat,dog", "cat", "dog"], True),
        (["tench, Tinca tinca", "goldfish, Carassius auratus"], False),
        (["Doe, Jane", "Doe, John"], False),  # names of classes have commas
        (["ants", "bees", ""], False),
    ],
)
def test_labels_that_look_like_several(texts: list[str], is_ambiguous: bool) -> None:
    assert (find_ambiguity(texts) is not None) == is_ambiguous


def labelled(values: DoubleArray, names: tuple[str, ...], task: str, groups: list[int] | None = None) -> DataSet:
    data = made_data.dataset({"all": [len(values)]})
    data = replace(data, class_names=())
    if groups is not None:
        data = replace(data, groups={"all": np.array(groups, np.int64)})
    ids = data.parts["all"].sample_ids
    return attach_targets(data, task, TargetValues(names, values), ids, "here")


def test_rows_without_a_known_value_are_in_no_split() -> None:
    values = np.tile([[0.0, 1.0], [1.0, 0.0]], (50, 1))
    values[:7] = NAN
    values[8, 0] = NAN
    data = labelled(values, ("a", "b"), "multi-label")
    assert (data.parts["all"].labels == DROPPED).sum() == 7
    assert data.class_names == ()
    assert data.has_labels
    splits = split(data, data_seed=0)
    used = np.concatenate([splits.train.rows, splits.val.rows, splits.test.rows])
    assert sorted(used.tolist()) == list(range(7, 100))
    told = " ".join(data.notes)
    assert "7 images without any known value" in told
    assert "1 of 186 values are unknown" in told


def test_the_digest_of_splits_knows_the_targets() -> None:
    values = np.random.default_rng(0).normal(size=(60, 1))
    data = labelled(values, ("y",), "regression")
    splits = split(data, data_seed=0)
    other = labelled(values + 1e-9, ("y",), "regression")
    renamed = labelled(values, ("z",), "regression")
    assert len({splits_digest(own, splits) for own in (data, other, renamed)}) == 3
    assert splits_digest(data, splits) == splits_digest(labelled(values, ("y",), "regression"), splits)


def test_iterative_stratification_gives_each_share_its_part_of_each_label() -> None:
    rng = np.random.default_rng(1)
    frequencies = np.array([0.5, 0.2, 0.05, 0.02])
    values = (rng.random((2000, 4)) < frequencies).astype(np.float64)
    test, rest = deal_iteratively(values, shuffled(2000, 0, 1), (1, 4))
    # Greedy placement by the largest remainder leaves a label at most a few images off its fifth.
    np.testing.assert_allclose(values[test].sum(axis=0), values.sum(axis=0) / 5, atol=3)
    assert abs(len(test) - 400) <= 3
    assert sorted([*test.tolist(), *rest.tolist()]) == list(range(2000))
    by_chance = values[np.sort(rng.permutation(2000)[:400])].sum(axis=0) - values.sum(axis=0) / 5
    assert np.abs(by_chance).max() > 3  # which shares drawn at random do not do


def test_a_rare_label_stays_with_the_larger_share() -> None:
    values = np.zeros((100, 2))
    values[3, 1] = 1
    values[::2, 0] = 1
    test, rest = deal_iteratively(values, shuffled(100, 0, 1), (1, 4))
    assert 3 in rest.tolist()
    assert len(test) == 20


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_splits_keep_groups_together_and_are_the_same_again(task: str) -> None:
    rng = np.random.default_rng(2)
    values = (rng.random((300, 3)) < 0.3).astype(np.float64) if task == "multi-label" else rng.normal(size=(300, 3))
    groups = (np.arange(300) // 4).tolist()
    data = labelled(values, ("a", "b", "c"), task, groups)
    splits = split(data, data_seed=3)
    again = split(data, data_seed=3)
    own = data.groups["all"]
    roles = [splits.train.rows, splits.val.rows, splits.test.rows]
    for i, rows in enumerate(roles):
        for other in roles[i + 1 :]:
            assert not set(own[rows].tolist()) & set(own[other].tolist())
    assert all(np.array_equal(a, b) for a, b in zip(splits.folds, again.folds, strict=True))
    folds = deal_train_folds(data, splits)
    assert sorted(np.concatenate(folds).tolist()) == splits.train.rows.tolist()
    assert len(splits.test) == pytest.approx(60, abs=12)  # three groups of four, since groups are whole


def test_numbers_are_split_by_size() -> None:
    values = np.random.default_rng(3).lognormal(sigma=2, size=(1000, 1))
    strata = strata_of_numbers(values, np.arange(1000))
    assert np.bincount(strata).tolist() == [10] * 100
    assert all(values[strata == s].max() <= values[strata == s + 1].min() for s in range(99))
    splits = split(labelled(values, ("y",), "regression"), data_seed=0)
    log = np.log(values[:, 0])
    # Two of each ten neighbours are in test, so its mean is off by far less than a random fifth's 0.13.
    assert abs(log[splits.test.rows].mean() - log.mean()) < 0.03


def test_labels_joined_from_a_file(tmp_path: Path) -> None:
    data = replace(made_data.dataset({"all": [30]}), class_names=())
    ids = data.parts["all"].sample_ids
    lines = ["sample_id,red,round,age", *(f"{i},{n % 2},{n % 3 == 0:d},{n}" for n, i in enumerate(ids[:-1]))]
    path = tmp_path / "many.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    joined = join_targets(data, path, "multi-label", whole=True, columns={"label": "red,round"})
    assert joined.targets is not None
    assert joined.targets.names == ("red", "round")
    assert np.isnan(joined.targets.by_part["all"][-1]).all()
    assert joined.title != data.title
    numbers = join_targets(data, path, "regression", whole=True, columns={"label": "age"})
    assert numbers.targets is not None
    assert numbers.targets.by_part["all"][:3, 0].tolist() == [0, 1, 2]
    with pytest.raises(BadData, match="another header"):
        join_targets(data, path, "regression", whole=True, columns={"label": "age,weight"})
    with pytest.raises(BadOption, match="probeline doctor needs one class for each image"):
        require_classes(joined, "probeline doctor")
    require_classes(data, "probeline doctor")
    with pytest.raises(BadOption, match="--task regression needs numbers"):
        check_task(data, "regression")
