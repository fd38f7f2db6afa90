"""An entry as one file: it comes back row by row, or not at all."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from conftest import make_part
from probeline.errors import BadCache, BadData, MissingData, ProbelineError
from probeline.identity import digest_bytes, seal, unseal
from probeline.records import Backbone, FloatArray
from probeline.store import entry as store
from probeline.store import exchange, hdf5

ROWS = 10


@pytest.fixture
def features() -> FloatArray:
    return np.random.default_rng(0).standard_normal((ROWS, 5)).astype(np.float32)


@pytest.fixture
def entry(tmp_path: Path, backbone: Backbone, features: FloatArray) -> store.Entry:
    """A complete entry of three shards."""
    found = dataclasses.replace(store.locate(tmp_path / "ours", make_part(ROWS), backbone, "fp32"), rows_per_shard=4)
    store.begin(found)
    for number, rows in enumerate(found.shards):
        store.write_shard(found, number, features[rows.start : rows.stop], {"seconds": 0.5 + number, "device": "CPU"})
    return found


@pytest.fixture
def file(tmp_path: Path, entry: store.Entry) -> Path:
    exchange.export(entry, tmp_path / "entry.h5")
    return tmp_path / "entry.h5"


def rows_in(cache: Path) -> FloatArray | None:
    folders = list(store.entries(cache))
    return store.read(store.open_entry(folders[0])).features if folders else None


@pytest.mark.parametrize("told", [True, False])
def test_an_entry_comes_back_row_by_row(
    told: bool, tmp_path: Path, entry: store.Entry, file: Path, features: FloatArray
) -> None:
    sha256 = digest_bytes(file.read_bytes()) if told else None
    taken, new = exchange.take_in(file, tmp_path / "theirs", sha256)
    assert new == 3
    assert taken.folder.relative_to(tmp_path / "theirs") == entry.folder.relative_to(tmp_path / "ours")
    found = store.read(taken)
    np.testing.assert_array_equal(found.features, features)
    assert (found.key, found.sample_ids, found.seconds) == (entry.key, entry.sample_ids, 0.5 + 1.5 + 2.5)
    assert [shard["imported"] for shard in found.provenance] == [True] * 3
    for number in range(3):
        assert taken.shard_path(number).read_bytes() == entry.shard_path(number).read_bytes()
    assert exchange.take_in(file, tmp_path / "theirs", sha256)[1] == 0, "taking it in twice is harmless"
    assert exchange.take_in(file, tmp_path / "ours", sha256)[1] == 0


def test_anybody_can_read_the_file(file: Path, entry: store.Entry, features: FloatArray) -> None:
    with h5py.File(file) as opened:
        np.testing.assert_array_equal(opened["features/penultimate"], features)
        assert [name.decode() for name in opened["sample_ids"]] == list(entry.sample_ids)
        assert [name.decode() for name in opened["content"]] == list(entry.content)


def test_the_same_entry_is_the_same_file(tmp_path: Path, file: Path, entry: store.Entry) -> None:
    before = file.stat().st_mtime_ns
    assert exchange.export(entry, file) == digest_bytes(file.read_bytes())
    assert file.stat().st_mtime_ns == before
    (tmp_path / "other.h5").write_bytes(b"mine")
    with pytest.raises(BadData, match="another file has this name"):
        exchange.export(entry, tmp_path / "other.h5")
    assert (tmp_path / "other.h5").read_bytes() == b"mine"


def test_what_is_not_whole_is_not_sent(tmp_path: Path, entry: store.Entry) -> None:
    path = entry.shard_path(1)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    with pytest.raises(BadCache, match="a shard is damaged"):
        exchange.export(entry, tmp_path / "entry.h5")
    path.unlink()
    path.with_suffix(".json").unlink()
    with pytest.raises(MissingData, match=r"1 of 3 shards.*run extract"):
        exchange.export(entry, tmp_path / "entry.h5")
    assert not (tmp_path / "entry.h5").exists()


def test_another_file_than_the_one_that_was_sent_is_not_opened(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "decode_export", None)
    with pytest.raises(BadCache, match=r"not the file that was sent.*fetch it again"):
        exchange.take_in(file, tmp_path / "theirs", "0" * 64)


def test_a_damaged_file_gives_the_same_rows_or_none(
    tmp_path: Path, file: Path, features: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In this process for speed; the flips at which HDF5 itself hangs or crashes are the fault suite's.
    data = file.read_bytes()
    monkeypatch.setattr(exchange, "_foreign", lambda path: hdf5.decode_export(path.read_bytes(), path))
    rng = np.random.default_rng(3)
    values = data.index(features.tobytes())
    places = [*rng.choice(range(values, values + features.nbytes), 100), *rng.choice(len(data) - 2048, 100) + 2048]
    refused = 0
    for number, place in enumerate(places):
        changed = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        bad, cache = tmp_path / "bad.h5", tmp_path / f"theirs{number}"
        bad.write_bytes(changed)
        try:
            exchange.take_in(bad, cache)
        except ProbelineError:
            refused += 1
            assert not cache.exists()
        else:
            np.testing.assert_array_equal(rows_in(cache), features)
            assert number >= 100, "a changed value was taken in"
    assert refused >= 100


@pytest.mark.parametrize("length", [0, 100, 5000, -1])
def test_a_cut_file_is_refused(length: int, tmp_path: Path, file: Path) -> None:
    bad = tmp_path / "bad.h5"
    bad.write_bytes(file.read_bytes()[:length])
    with pytest.raises(BadCache, match="no entry that can be trusted"):
        exchange.take_in(bad, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.abort()", r"ends its reader \(exit code -6\)"),
        ("import time; time.sleep(60)", "takes more than 1 s to read"),
        ("import sys; sys.stderr.write('said why'); sys.exit(7)", "said why"),
    ],
)
def test_a_reader_that_dies_or_hangs_is_survived(
    code: str, words: str, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.run

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        return real([sys.executable, "-c", code], **options)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(exchange, "SECONDS", 1)
    with pytest.raises(BadCache, match=words):
        exchange.take_in(file, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_the_reader_has_little_memory(tmp_path: Path) -> None:
    """A few bytes that unfold to a terabyte of zeros."""
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("features/penultimate", (2**28, 1024), "f4", chunks=(256, 1024))
        file.create_dataset("manifest", data=np.zeros(4, np.uint8), chunks=(4,))
    assert path.stat().st_size < 100_000
    with pytest.raises(BadCache, match="no entry that can be trusted"):
        exchange.take_in(path, tmp_path / "theirs")


def forged(file: Path, **changes: Any) -> None:
    """Change the record of an exported entry and seal the change, as somebody with bad intent would."""
    manifest, features = hdf5.decode_export(file.read_bytes(), file)
    record = unseal(manifest)
    assert record is not None
    told = record["entry"]
    names, content = zip(*told["samples"], strict=True)
    record["entry"] = {**told, **changes}
    data = hdf5.encode_export("penultimate", features, names, content, seal(record))
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["..", "../../escape", "/etc", ".hidden", "", "a\\b", "a\0b", "x" * 300])
@pytest.mark.parametrize("field", ["dataset", "part"])
def test_names_that_lead_elsewhere_are_refused(name: str, field: str, tmp_path: Path, file: Path) -> None:
    forged(file, **{field: name})
    with pytest.raises(BadCache, match="names no folder"):
        exchange.take_in(file, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize(
    "changes", [{"key": "0" * 64}, {"dim": 4}, {"rows_per_shard": 0}, {"samples": []}, {"format": 9}]
)
def test_records_that_do_not_agree_with_themselves_are_refused(
    changes: dict[str, Any], tmp_path: Path, file: Path
) -> None:
    forged(file, **changes)
    with pytest.raises(BadCache, match="no entry that can be trusted"):
        exchange.take_in(file, tmp_path / "theirs")


def test_values_that_the_manifest_does_not_prove_are_refused(
    tmp_path: Path, file: Path, entry: store.Entry, features: FloatArray
) -> None:
    manifest, _ = hdf5.decode_export(file.read_bytes(), file)
    features[7, 2] = np.nextafter(features[7, 2], np.float32(9))
    file.write_bytes(hdf5.encode_export("penultimate", features, entry.sample_ids, entry.content, manifest))
    with pytest.raises(BadCache, match="other values in rows 4 to 7"):
        exchange.take_in(file, tmp_path / "theirs")


def test_external_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "external.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("features/penultimate", (2, 5), "f4", external=[("/etc/passwd", 0, 40)])
        file.create_dataset("manifest", data=np.zeros(4, np.uint8), chunks=(4,))
    with pytest.raises(BadCache, match="stored elsewhere or filtered"):
        exchange.take_in(path, tmp_path / "theirs")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no such file"):
        exchange.take_in(tmp_path / "none.h5", tmp_path / "theirs")
