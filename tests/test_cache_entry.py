"""Entries: what the key holds, and that nothing is read that is not proven."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from conftest import make_part
from flips import flipped
from probeline.cache.entry import Entry, locate_entry, relocate
from probeline.cache.format import hdf5
from probeline.cache.reading import missing_shards, open_entry, read_features, verify_entry
from probeline.cache.writing import write_entry, write_shard
from probeline.errors import BadCache, MissingData, ProbelineError
from probeline.identity import seal, unseal
from probeline.images import View
from probeline.types import Backbone, FloatArray, Part

ROWS = 20


@pytest.fixture
def part() -> Part:
    return make_part(ROWS)


@pytest.fixture
def features() -> FloatArray:
    return np.random.default_rng(0).standard_normal((ROWS, 5)).astype(np.float32)


def small_entry(tmp_path: Path, part: Part, backbone: Backbone) -> Entry:
    return dataclasses.replace(locate_entry(tmp_path, part, backbone, "fp32"), rows_per_shard=8)


def fill(entry: Entry, features: FloatArray, shards: list[int] | None = None) -> None:
    write_entry(entry)
    for number in range(len(entry.shards)) if shards is None else shards:
        rows = entry.shards[number]
        write_shard(entry, number, features[rows.start : rows.stop], {"seconds": 0.5})


def test_what_was_written_is_read(tmp_path: Path, part: Part, backbone: Backbone, features: FloatArray) -> None:
    entry = small_entry(tmp_path, part, backbone)
    assert [len(rows) for rows in entry.shards] == [8, 8, 4]
    assert missing_shards(entry) == [0, 1, 2]
    fill(entry, features, [0, 2])
    assert missing_shards(entry) == [1]
    with pytest.raises(MissingData, match=r"not extracted yet \(1 of 3 shards"):
        read_features(entry)
    fill(entry, features, [1])
    read = read_features(entry)
    np.testing.assert_array_equal(read.features, features)
    assert read.sample_ids == part.sample_ids
    assert read.key == entry.key
    assert read.seconds == 1.5
    hashed = (*entry.folder.glob("*.h5"), entry.samples_path)
    assert verify_entry(entry) == sum(path.stat().st_size for path in hashed)
    assert not list(entry.folder.glob("*.tmp"))


def test_two_writers_make_the_files_of_one(
    tmp_path: Path, part: Part, backbone: Backbone, features: FloatArray
) -> None:
    once, twice = (small_entry(tmp_path / name, part, backbone) for name in ("once", "twice"))
    fill(once, features)
    fill(twice, features, [0, 1])
    fill(twice, features, [1, 0, 2])
    for path in once.folder.iterdir():
        assert (twice.folder / path.name).read_bytes() == path.read_bytes()


def test_a_dead_writers_shard_without_record_is_replaced(
    tmp_path: Path, part: Part, backbone: Backbone, features: FloatArray
) -> None:
    entry = small_entry(tmp_path, part, backbone)
    write_entry(entry)
    entry.shard_path(1).write_bytes(b"half a shard")
    fill(entry, features)
    np.testing.assert_array_equal(read_features(entry).features, features)


def test_every_flipped_byte_is_refused(tmp_path: Path, backbone: Backbone) -> None:
    part = make_part(3)
    entry = locate_entry(tmp_path, part, backbone, "fp32")
    values = np.random.default_rng(1).standard_normal((3, 5)).astype(np.float32)
    fill(entry, values)
    tried = 0
    for path in sorted(entry.folder.iterdir()):
        data = path.read_bytes()
        # Every byte of the records, a seeded sample of the shard's: it is one hash over all of them.
        places = range(len(data)) if path.suffix == ".json" else np.random.default_rng(2).choice(len(data), 150)
        for place in places:
            with flipped(path, place, 0x40), pytest.raises(ProbelineError):
                read_features(open_entry(entry.folder))
            tried += 1
        for length in (0, 1, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:length])
            with pytest.raises(ProbelineError):
                read_features(open_entry(entry.folder))
        path.write_bytes(data)
    assert tried > 500
    np.testing.assert_array_equal(read_features(entry).features, values)


def test_a_missing_shard_is_named(tmp_path: Path, part: Part, backbone: Backbone, features: FloatArray) -> None:
    entry = small_entry(tmp_path, part, backbone)
    fill(entry, features)
    entry.shard_path(1).unlink()
    with pytest.raises(BadCache, match=r"shard-00001\.h5.*only this shard is redone"):
        read_features(entry)


def test_a_record_of_another_shard_is_refused(
    tmp_path: Path, part: Part, backbone: Backbone, features: FloatArray
) -> None:
    entry = small_entry(tmp_path, part, backbone)
    fill(entry, features)
    for suffix in (".h5", ".json"):
        first, second = (entry.shard_path(number).with_suffix(suffix) for number in (0, 1))
        second.write_bytes(first.read_bytes())
    with pytest.raises(BadCache, match="belongs elsewhere"):
        read_features(entry)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (99, "written by a newer version of Probeline.*expected format 3, got format 99.*update Probeline"),
        (0, "another format version.*expected 3, got 0"),
        ("1", "another format version.*expected 3, got 1"),
    ],
)
def test_another_format_version_is_named(
    version: object, message: str, tmp_path: Path, part: Part, backbone: Backbone, features: FloatArray
) -> None:
    entry = small_entry(tmp_path, part, backbone)
    fill(entry, features)
    path = entry.folder / "entry.json"
    record = unseal(path.read_bytes())
    assert record is not None
    path.write_bytes(seal({**record, "format": version}))
    with pytest.raises(BadCache, match=message):
        missing_shards(entry)


def test_an_entry_of_another_key_is_refused(
    tmp_path: Path, part: Part, backbone: Backbone, features: FloatArray
) -> None:
    entry = small_entry(tmp_path, part, backbone)
    fill(entry, features)
    other = dataclasses.replace(locate_entry(tmp_path, part, backbone, "bf16"), folder=entry.folder)
    with pytest.raises(BadCache, match="not the one its folder's name says"):
        missing_shards(other)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_never_written(
    value: float, tmp_path: Path, part: Part, backbone: Backbone, features: FloatArray
) -> None:
    entry = small_entry(tmp_path, part, backbone)
    features[3, 2] = value
    with pytest.raises(ValueError, match="finite"):
        fill(entry, features)


def changed(part: Part, **fields: object) -> Part:
    return dataclasses.replace(part, **fields)  # type: ignore[arg-type]


def test_the_key_holds_what_changes_the_numbers(part: Part, backbone: Backbone) -> None:
    def key(part: Part = part, backbone: Backbone = backbone, precision: str = "fp32") -> str:
        return locate_entry(Path("anywhere"), part, backbone, precision).key

    record = backbone.preprocess
    replace = dataclasses.replace
    changes = [
        key(backbone=replace(backbone, weights_sha256="1" + "0" * 63)),
        key(backbone=replace(backbone, name="tinier")),
        key(backbone=replace(backbone, tap="stage3")),
        key(backbone=replace(backbone, pooling="avg")),
        *(
            key(backbone=replace(backbone, preprocess=replace(record, **change)))
            for change in (
                {"resize": 37},
                {"crop": 31},
                {"interpolation": "bicubic"},
                {"antialias": False},
                {"mean": (0.5, 0.4, 0.31)},
                {"std": (0.2, 0.25, 0.31)},
            )
        ),
        key(precision="bf16"),
        key(part=changed(part, content=("f" * 64, *part.content[1:]))),
        key(part=changed(part, sample_ids=("renamed", *part.sample_ids[1:]))),
        key(part=changed(part, sample_ids=part.sample_ids[::-1], content=part.content[::-1])),
        key(part=make_part(ROWS + 1)),
    ]
    assert len({key(), *changes}) == len(changes) + 1
    same = [
        key(part=changed(part, labels=part.labels[::-1].copy())),
        key(part=changed(part, class_names=("x", "y", "z"))),
        key(part=changed(part, name="other", dataset="moved")),
        key(backbone=replace(backbone, weights="renamed.pth", parameters=7, head_parameters=1)),
    ]
    assert set(same) == {key()}


def test_the_key_is_pinned(part: Part, backbone: Backbone) -> None:
    # A change of this digest makes every cache on every disk cold: bump FEATURES_VERSION and say why.
    assert (
        locate_entry(Path(), part, backbone, "fp32").key
        == "0943a64465b4961f834458c4b9ea5e504954e529272da6c8b6082828e535b3fa"
    )


def test_the_key_of_a_tap_and_a_view_is_pinned(part: Part, backbone: Backbone) -> None:
    tapped = dataclasses.replace(backbone, name="timm:vit", tap="blocks.11:cls", pooling="cls")
    entry = locate_entry(Path(), part, tapped, "fp32", View(2, flips=True))
    assert entry.key == "b0f68ad23db5c0a0c3e6d2b8d68fc926601c6cb2d9ad97ba456fb8e0be5677d9"
    assert entry.folder.parts == ("toy", "timm--vit-blocks.11--cls", f"train@view2-{entry.key[:12]}")
    assert (entry.images, entry.view) == ("train", View(2, flips=True))
    assert relocate(entry, Path("other")).folder == "other" / entry.folder


def test_the_key_of_tokens_is_pinned(part: Part, backbone: Backbone) -> None:
    tapped = dataclasses.replace(backbone, tap="blocks.11:tokens", pooling="tokens", dim=15, tokens=3)
    entry = locate_entry(Path(), part, tapped, "fp32")
    assert (entry.inputs["dtype"], entry.inputs["tokens"]) == ("float16", 3)
    assert entry.key == "9b444f53e13c9ecf99984e1896aaeec38ebd20fa5783e7a1e9e1778ed1f90083"


def test_a_tap_of_any_name_is_stored_and_read(tmp_path: Path, part: Part, backbone: Backbone) -> None:
    entry = locate_entry(
        tmp_path, part, dataclasses.replace(backbone, tap="blocks.11:cls"), "fp32", View(1, flips=False)
    )
    features = np.random.default_rng(0).standard_normal((ROWS, 5)).astype(np.float32)
    fill(entry, features)
    again = open_entry(entry.folder)
    assert again == entry
    assert np.array_equal(read_features(again).features, features)


def shard_bytes(change: str) -> bytes:
    with h5py.File("shard", "w", driver="core", backing_store=False) as file:
        group = file.create_group("features")
        names = np.array([b"a", b"b"], dtype=h5py.string_dtype("utf-8", 1))
        file.create_dataset("sample_ids", data=names, chunks=(2,))
        values = np.zeros((2, 5), np.float32)
        if change == "external storage":
            group.create_dataset("penultimate", (2, 5), "f4", external=[("/etc/passwd", 0, 40)])
        elif change == "external link":
            group["penultimate"] = h5py.ExternalLink("other.h5", "/features")
        elif change == "soft link":
            group["penultimate"] = h5py.SoftLink("/sample_ids")
        elif change == "virtual data set":
            layout = h5py.VirtualLayout((2, 5), "f4")
            layout[:] = h5py.VirtualSource("other.h5", "x", shape=(2, 5))
            group.create_virtual_dataset("penultimate", layout)
        elif change == "filter":
            group.create_dataset("penultimate", data=values, chunks=(2, 5), compression="gzip")
        elif change == "float64":
            group.create_dataset("penultimate", data=values.astype(np.float64), chunks=(2, 5))
        elif change == "other shape":
            group.create_dataset("penultimate", data=values[:, :4], chunks=(2, 4))
        elif change == "group":
            group.create_group("penultimate")
        file.flush()
        return bytes(file.id.get_file_image())


@pytest.mark.parametrize(
    "change",
    [
        "external storage",
        "external link",
        "soft link",
        "virtual data set",
        "filter",
        "float64",
        "other shape",
        "group",
        "nothing",
    ],
)
def test_foreign_hdf5_is_refused(change: str, tmp_path: Path) -> None:
    with pytest.raises(BadCache, match="no shard of Probeline"):
        hdf5.decode(shard_bytes(change), "penultimate", 2, 5, tmp_path / "shard-00000.h5")


def test_what_is_no_hdf5_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"hello", b"\x89HDF\r\n\x1a\n" + bytes(500)):
        with pytest.raises(BadCache, match="no shard of Probeline"):
            hdf5.decode(data, "penultimate", 2, 5, tmp_path / "shard-00000.h5")


def test_equal_arrays_give_equal_bytes(features: FloatArray) -> None:
    ids = tuple(f"é{row}" for row in range(ROWS))
    data = hdf5.encode("penultimate", features, ids)
    assert data == hdf5.encode("penultimate", features.copy(), ids)
    values, names = hdf5.decode(data, "penultimate", ROWS, 5, Path("shard"))
    np.testing.assert_array_equal(values, features)
    assert names == ids
