"""Rows of equal content are copied from other entries of the same net, after proof, and from no other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from conftest import make_part
from probeline.cache.entry import Entry, locate_entry
from probeline.cache.reuse import KnownRows, find_known_rows
from probeline.cache.writing import write_entry, write_shard
from probeline.environment import conditions, environment, origins
from probeline.types import Backbone, FloatArray, Part

NOW = conditions(environment())


def subset(part: Part, rows: list[int], *, dataset: str = "other", renamed: bool = False) -> Part:
    return Part(
        dataset,
        part.name,
        tuple(f"new/{place}" if renamed else part.sample_ids[row] for place, row in enumerate(rows)),
        tuple(part.content[row] for row in rows),
        part.labels[rows],
        part.class_names,
    )


def values(part: Part, dim: int = 5) -> FloatArray:
    """Return features that are a function of the content alone, as a net's are."""
    seeds = [int(content[:8], 16) for content in part.content]
    return np.stack([np.random.default_rng(seed).standard_normal(dim) for seed in seeds]).astype(np.float32)


def stored(cache: Path, part: Part, backbone: Backbone, *, precision: str = "fp32", **facts: object) -> Entry:
    entry = dataclasses.replace(locate_entry(cache, part, backbone, precision), rows_per_shard=4)
    write_entry(entry)
    features = values(part)
    for number, rows in enumerate(entry.shards):
        provenance = {**environment(), "seconds": 2.0, **facts}
        write_shard(entry, number, features[rows.start : rows.stop], provenance)
    return entry


def wanted(cache: Path, part: Part, backbone: Backbone) -> Entry:
    return dataclasses.replace(locate_entry(cache, part, backbone, "fp32"), rows_per_shard=4)


def gathered(entry: Entry, cache: Path) -> tuple[KnownRows, list[str]]:
    said: list[str] = []
    return find_known_rows(entry, list(range(len(entry.shards))), cache, say=said.append), said


@pytest.fixture
def part() -> Part:
    return make_part(10)


def test_rows_are_found_by_content_whatever_their_name_place_and_data_set(
    tmp_path: Path, part: Part, backbone: Backbone
) -> None:
    donor = stored(tmp_path, part, backbone)
    rows = [7, 2, 9, 2]
    entry = wanted(tmp_path, subset(part, rows, renamed=True), backbone)
    known, said = gathered(entry, tmp_path)
    assert known.rows.tolist() == [0, 1, 2, 3], "one content may stand in several rows"
    np.testing.assert_array_equal(known.features, values(part)[rows])
    assert known.seconds.tolist() == [0.5, 0.5, 1.0, 0.5], "a shard's two seconds are shared by its rows"
    assert known.sources == (donor.key,)
    assert known.from_elsewhere(NOW) == []
    assert said == []


def test_only_new_content_is_left(tmp_path: Path, part: Part, backbone: Backbone) -> None:
    stored(tmp_path, subset(part, [0, 1, 2, 5, 6]), backbone)
    entry = wanted(tmp_path, part, backbone)
    known, _ = gathered(entry, tmp_path)
    assert known.rows.tolist() == [0, 1, 2, 5, 6]
    assert [known.cover(rows) for rows in entry.shards] == [False, False, False]
    assert known.cover(range(3))
    block = np.full((4, 5), np.nan, np.float32)
    facts = known.copy_into(block, entry.shards[1], {"seconds": 1.0})
    np.testing.assert_array_equal(block[1:3], values(part)[5:7])
    assert np.isnan(block[[0, 3]]).all()
    assert (facts["copied_rows"], facts["seconds"]) == (2, pytest.approx(1.0 + 0.5 + 2.0))
    assert known.copy_into(block, entry.shards[2], {"seconds": 1.0}) == {"seconds": 1.0}


def test_another_net_preprocessing_or_precision_gives_nothing(tmp_path: Path, part: Part, backbone: Backbone) -> None:
    stored(tmp_path, part, dataclasses.replace(backbone, weights_sha256="1" * 64))
    other = dataclasses.replace(backbone.preprocess, interpolation="bicubic")
    stored(tmp_path, part, dataclasses.replace(backbone, preprocess=other))
    stored(tmp_path, part, backbone, precision="bf16")
    known, said = gathered(wanted(tmp_path, subset(part, [1, 2]), backbone), tmp_path)
    assert len(known.rows) == 0
    assert said == []


def test_who_holds_most_is_asked_first(tmp_path: Path, part: Part, backbone: Backbone) -> None:
    few = stored(tmp_path, subset(part, [0, 1, 9], dataset="few"), backbone)
    most = stored(tmp_path, subset(part, list(range(8)), dataset="most"), backbone)
    known, _ = gathered(wanted(tmp_path, part, backbone), tmp_path)
    assert known.rows.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert known.sources == (most.key, few.key)


def test_what_is_damaged_serves_nobody_and_is_said(tmp_path: Path, part: Part, backbone: Backbone) -> None:
    donor = stored(tmp_path, part, backbone)
    path = donor.shard_path(1)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    known, said = gathered(wanted(tmp_path, subset(part, list(range(9))), backbone), tmp_path)
    assert known.rows.tolist() == [0, 1, 2, 3, 8]
    assert len(said) == 1
    assert str(path) in said[0]
    (donor.folder / "entry.json").write_bytes(b"{}")
    known, said = gathered(wanted(tmp_path, subset(part, list(range(9))), backbone), tmp_path)
    assert len(known.rows) == 0
    assert str(donor.folder / "entry.json") in said[0]


def test_what_is_not_extracted_yet_is_no_fault(tmp_path: Path, part: Part, backbone: Backbone) -> None:
    donor = stored(tmp_path, part, backbone)
    for suffix in (".h5", ".json"):
        donor.shard_path(0).with_suffix(suffix).unlink()
    known, said = gathered(wanted(tmp_path, subset(part, [0, 5]), backbone), tmp_path)
    assert known.rows.tolist() == [1]
    assert said == []


def test_rows_of_other_conditions_are_with_variants(tmp_path: Path, part: Part, backbone: Backbone) -> None:
    stored(tmp_path, subset(part, [0, 1, 2], dataset="today"), backbone)
    stored(tmp_path, subset(part, [3, 4, 5], dataset="then"), backbone, torch="2.0.0")
    known, _ = gathered(wanted(tmp_path, part, backbone), tmp_path)
    (elsewhere,) = known.from_elsewhere(NOW)
    assert known.rows[elsewhere].tolist() == [3, 4, 5]


def test_where_rows_were_computed_travels_with_every_copy(tmp_path: Path, part: Part, backbone: Backbone) -> None:
    """A copy of a copy is as far from today as the first of them was."""
    first = stored(tmp_path, subset(part, [3, 4, 5], dataset="then"), backbone, torch="2.0.0")
    second = wanted(tmp_path, subset(part, [4, 5], dataset="between"), backbone)
    known, _ = gathered(second, tmp_path)
    block = np.empty((2, 5), np.float32)
    facts = known.copy_into(block, second.shards[0], {**environment("none"), "seconds": 0.0})
    write_entry(second)
    write_shard(second, 0, block, facts)
    (made,) = origins(facts)
    assert made["torch"] == "2.0.0"
    for path in first.folder.iterdir():
        path.unlink()
    known, _ = gathered(wanted(tmp_path, subset(part, [5, 4], dataset="now"), backbone), tmp_path)
    (elsewhere,) = known.from_elsewhere(NOW)
    assert known.rows[elsewhere].tolist() == [0, 1]
    mixed = {**environment("CPU"), "origins": [made, made]}
    assert origins(mixed) == [NOW, made]
