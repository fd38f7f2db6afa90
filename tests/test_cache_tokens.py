"""Entries whose rows are tokens: float16 [rows, T, D] in shards of fewer rows, refused like any other if forged."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from conftest import make_part
from flips import flipped
from probeline.cache import entry as entries
from probeline.cache import exchange
from probeline.cache.check import check_entry, set_aside_bad_files
from probeline.cache.entry import Entry, locate_entry
from probeline.cache.features import open_features
from probeline.cache.format import hdf5
from probeline.cache.prune import list_entries
from probeline.cache.reading import extraction_seconds, open_entry, read_features, read_rows, read_shard, verify_entry
from probeline.cache.reuse import find_known_rows
from probeline.cache.writing import upgrade_entries, write_entry, write_shard
from probeline.errors import BadCache, BadOption, ProbelineError
from probeline.files.reading import SHARD
from probeline.identity import FORMAT_VERSION, digest, seal, unseal
from probeline.types import Backbone, FloatArray

ROWS, TOKENS, DIM = 20, 3, 5


@pytest.fixture
def of_tokens(backbone: Backbone) -> Backbone:
    return dataclasses.replace(backbone, tap="blocks.1:tokens", pooling="tokens", dim=TOKENS * DIM, tokens=TOKENS)


@pytest.fixture
def values() -> FloatArray:
    return np.random.default_rng(0).standard_normal((ROWS, TOKENS * DIM)).astype(np.float32)


@pytest.fixture
def entry(tmp_path: Path, of_tokens: Backbone, values: FloatArray) -> Entry:
    """An entry of three shards, complete."""
    made = dataclasses.replace(locate_entry(tmp_path, make_part(ROWS), of_tokens, "fp32"), rows_per_shard=8)
    fill(made, values)
    return made


def fill(entry: Entry, values: FloatArray) -> None:
    write_entry(entry)
    for number, rows in enumerate(entry.shards):
        write_shard(entry, number, values[rows.start : rows.stop], {"seconds": 0.5})


def test_tokens_are_read_as_they_were_written_to_float16(entry: Entry, values: FloatArray) -> None:
    half = values.astype(np.float16)
    assert entry.row_shape == (TOKENS, DIM)
    assert entry.row_bytes == 2 * TOKENS * DIM
    opened = open_entry(entry.folder)
    assert opened == entry
    block, _ = read_shard(opened, 1)
    assert block.dtype == np.float16
    assert np.array_equal(block, half[8:16])
    chosen = np.array([17, 2, 2, 9])
    assert np.array_equal(read_rows(opened, chosen), half[chosen])
    assert extraction_seconds(opened) == 1.5
    assert verify_entry(opened) > half.nbytes
    with h5py.File(entry.shard_path(0)) as file:
        stored = file["features/blocks.1:tokens"]
        assert (stored.shape, stored.dtype) == ((8, TOKENS, DIM), np.dtype("<f2"))
        assert np.array_equal(stored[()], half[:8].reshape(8, TOKENS, DIM))


def test_open_features_gives_tokens(entry: Entry, values: FloatArray) -> None:
    half = values.astype(np.float16).reshape(ROWS, TOKENS, DIM)
    features = open_features(entry.folder)
    assert (features.shape, features.dtype) == ((ROWS, TOKENS, DIM), np.float16)
    assert "float16 [20, 3, 5]" in repr(features)
    assert np.array_equal(features[3], half[3])
    assert np.array_equal(features[[4, 19]], half[[4, 19]])
    assert np.array_equal(np.asarray(features), half)
    row, label = features.torch_dataset(np.arange(ROWS))[7]
    assert np.array_equal(row.numpy(), half[7])
    assert label == 7
    with pytest.raises(BadOption, match="tokens and no vectors"):
        features.table(features=True)
    assert len(features.table()["sample_id"]) == ROWS


def test_a_vector_head_gets_no_tokens(entry: Entry) -> None:
    with pytest.raises(
        BadOption, match=r"tokens and no vectors: blocks\.1:tokens \(expected blocks\.1:mean or .*--att"
    ):
        read_features(entry)


def test_a_shard_of_tokens_has_fewer_rows_so_that_it_stays_small(
    of_tokens: Backbone, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(record: Backbone) -> int:
        return locate_entry(Path(), make_part(4), record, "fp32").rows_per_shard

    assert rows(of_tokens) == rows(backbone) == entries.ROWS_PER_SHARD
    vit_b = dataclasses.replace(of_tokens, dim=197 * 768, tokens=197)
    largest = dataclasses.replace(of_tokens, dim=1 << 22, tokens=1 << 10)
    for record in (vit_b, largest):
        size = 2 * record.dim * rows(record)
        assert entries.SHARD_BYTES / 2 < size <= entries.SHARD_BYTES < SHARD.most_bytes
    monkeypatch.setattr(entries, "SHARD_BYTES", 1)
    assert rows(largest) == 1
    assert rows(dataclasses.replace(backbone, dim=1 << 22)) == entries.ROWS_PER_SHARD, (
        "vectors have the shards they had"
    )


def test_a_chunk_of_tokens_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.zeros((6, 4, 8), np.float16)
    monkeypatch.setattr(hdf5, "BLOCK_BYTES", 2 * 4 * 8 * 2 + 1)
    data = hdf5.encode("t", tokens, tuple("abcdef"))
    with h5py.File(h5py.h5f.open_file_image(data)) as file:
        assert file["features/t"].chunks == (2, 4, 8)
    assert np.array_equal(hdf5.decode(data, "t", 6, 32, "here", 4)[0], tokens)


@pytest.mark.parametrize(("value", "is_kept"), [(65504.0, True), (-65504.0, True), (65505.0, False), (-1e6, False)])
def test_what_float16_cannot_hold_is_refused_with_a_count(
    value: float, is_kept: bool, tmp_path: Path, of_tokens: Backbone, values: FloatArray
) -> None:
    entry = locate_entry(tmp_path, make_part(ROWS), of_tokens, "fp32")
    values[3, 2] = values[4, 4] = value
    if is_kept:
        fill(entry, values)
        assert read_rows(entry, np.array([3]))[0, 2] == value
        return
    with pytest.raises(BadOption, match=r"float16 cannot hold.*at most 65,504, got 2 of 300 values"):
        fill(entry, values)
    assert not list(entry.folder.glob("shard*"))


def test_every_flipped_byte_is_refused(entry: Entry) -> None:
    tried = 0
    for path in sorted(entry.folder.iterdir()):
        data = path.read_bytes()
        places = range(0, len(data), 3) if path.suffix == ".json" else np.random.default_rng(2).choice(len(data), 100)
        for place in places:
            with flipped(path, place, 0x40), pytest.raises(ProbelineError):
                np.asarray(open_features(entry.folder))
            tried += 1
    assert tried > 500


def forge(values: Any, name: str = "blocks.1:tokens") -> bytes:
    with h5py.File("forged", "w", driver="core", backing_store=False) as file:
        file.create_dataset(f"features/{name}", data=values, chunks=values.shape)
        ids = [f"train/{row:05d}".encode() for row in range(len(values))]
        file.create_dataset("sample_ids", data=np.array(ids, h5py.string_dtype("utf-8", 11)), chunks=(len(ids),))
        file.flush()
        return bytes(file.id.get_file_image())


def plant(entry: Entry, data: bytes) -> None:
    """Put a shard's file and a sealed record that fits it into the cache."""
    entry.shard_path(0).write_bytes(data)
    record = unseal(entry.record_path(0).read_bytes())
    assert record is not None
    record |= {"bytes": len(data), "file_sha256": hashlib.sha256(data).hexdigest()}
    entry.record_path(0).write_bytes(seal(record))


HALF = np.ones((8, TOKENS, DIM), np.float16)


@pytest.mark.parametrize(
    ("forged", "is_sound"),
    [
        (HALF, True),
        (HALF.astype(np.float32), False),
        (HALF.astype(">f2"), False),
        (HALF.view(np.int16), False),
        (HALF.reshape(8, TOKENS * DIM), False),
        (HALF.transpose(0, 2, 1).copy(), False),
        (HALF[:7], False),
        (np.where(np.arange(8)[:, None, None] == 2, np.inf, HALF).astype(np.float16), False),
    ],
    ids=["sound", "float32", "big-endian", "integers", "flat", "D x T", "a row less", "infinite"],
)
def test_forged_shards_are_refused_and_put_aside(forged: Any, is_sound: bool, entry: Entry) -> None:
    plant(entry, forge(forged))
    if is_sound:
        assert np.array_equal(read_shard(entry, 0)[0].reshape(HALF.shape), HALF)
        return
    with pytest.raises(BadCache, match=r"no shard of Probeline|other rows than its entry"):
        read_shard(entry, 0)
    checked = check_entry(entry.folder, entry)
    assert [problem.shard for problem in checked.problems] == [0]
    assert set_aside_bad_files(checked) == [0]


def test_vectors_in_place_of_tokens_are_refused_and_the_other_way_round(
    tmp_path: Path, backbone: Backbone, entry: Entry
) -> None:
    plain = dataclasses.replace(locate_entry(tmp_path / "p", make_part(8), backbone, "fp32"), rows_per_shard=8)
    fill(plain, np.zeros((8, 5), np.float32))
    plant(plain, forge(HALF, "penultimate"))
    with pytest.raises(BadCache, match="no shard of Probeline"):
        read_shard(plain, 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r["inputs"].update(dtype="float32"), "float32 of tokens"),
        (lambda r: r["inputs"].pop("tokens"), "float16 of vectors"),
        (lambda r: r["inputs"].update(tokens=0), "inputs.tokens"),
        (lambda r: r["inputs"].update(tokens=True), "inputs.tokens"),
        (lambda r: r["inputs"].update(tokens=4), "dim 15 that is no multiple of 4 tokens"),
        (lambda r: r["inputs"].update(dtype="float64"), "inputs.dtype"),
        (lambda r: r.update(format=FORMAT_VERSION), "format: expected 3, got 2"),
    ],
)
def test_forged_records_are_refused(change: Callable[[dict[str, Any]], object], words: str, entry: Entry) -> None:
    path = entry.folder / "entry.json"
    record = unseal(path.read_bytes())
    assert record is not None
    change(record)
    path.write_bytes(seal({**record, "key": digest(record["inputs"])}))
    with pytest.raises(BadCache, match=words):
        open_entry(entry.folder)


def test_no_record_lists_the_samples_of_tokens(entry: Entry) -> None:
    (entry.folder / "entry.json").write_bytes(seal(entry.listed_record()))
    with pytest.raises(BadCache, match="in a record that lists its samples"):
        open_entry(entry.folder)


def test_earlier_programs_leave_tokens_to_a_newer_version(entry: Entry, backbone: Backbone, tmp_path: Path) -> None:
    # They read formats 1 and 2, and call a greater number newer.
    assert json.loads((entry.folder / "entry.json").read_bytes())["format"] == 3
    plain = locate_entry(tmp_path, make_part(3), backbone, "fp32")
    fill(plain, np.zeros((3, 5), np.float32))
    record = json.loads((plain.folder / "entry.json").read_bytes())
    assert record["format"] == 2
    assert "tokens" not in record["inputs"]
    assert list(upgrade_entries(tmp_path, pytest.fail)) == []


def test_listing_says_the_shape(entry: Entry, tmp_path: Path) -> None:
    (listed,) = list_entries(tmp_path)
    assert "20 x 3 x 5 float16  3 of 3 shards" in listed.line(tmp_path)
    assert not listed.is_corrupt


def test_one_file_of_tokens_is_refused(entry: Entry, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"tokens are not exported as one file.*extract --store"):
        exchange.export_entry(entry, tmp_path / "entry.h5")
    assert not (tmp_path / "entry.h5").exists()


def test_rows_of_other_entries_are_copied_bit_for_bit(
    entry: Entry, of_tokens: Backbone, values: FloatArray, tmp_path: Path
) -> None:
    part = make_part(ROWS)
    some = dataclasses.replace(
        part,
        name="some",
        sample_ids=part.sample_ids[4:9],
        content=part.content[4:9],
        labels=part.labels[4:9],
    )
    other = locate_entry(tmp_path, some, of_tokens, "fp32")
    known = find_known_rows(other, [0], tmp_path, say=pytest.fail)
    assert known.rows.tolist() == list(range(5))
    copied = np.zeros((5, TOKENS * DIM), np.float32)
    known.copy_into(copied, range(5), {})
    write_entry(other)
    write_shard(other, 0, copied, {})
    assert np.array_equal(read_shard(other, 0)[0], values[4:9].astype(np.float16))
