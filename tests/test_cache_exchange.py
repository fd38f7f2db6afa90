"""An entry as one file: it comes back row by row, or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from conftest import make_part
from probeline.cache import exchange
from probeline.cache.entry import ROWS_PER_SHARD, Entry, locate_entry
from probeline.cache.format import hdf5
from probeline.cache.locks import ShardLocks
from probeline.cache.reading import entry_folders, open_entry, read_features
from probeline.cache.writing import write_entry, write_shard
from probeline.errors import BadCache, BadData, BadOption, MissingData, ProbelineError
from probeline.identity import digest, digest_bytes, seal, unseal
from probeline.types import Backbone, FloatArray, samples_digest

of_three_shards = pytest.mark.parametrize("rows", [2 * ROWS_PER_SHARD + 2])
"""Gives a test an entry of as many rows instead of few."""


@pytest.fixture
def rows() -> int:
    """How many rows the entry has."""
    return 10


@pytest.fixture
def features(rows: int) -> FloatArray:
    return np.random.default_rng(0).standard_normal((rows, 5)).astype(np.float32)


@pytest.fixture
def entry(tmp_path: Path, backbone: Backbone, features: FloatArray) -> Entry:
    """A complete entry."""
    entry = locate_entry(tmp_path / "ours", make_part(len(features)), backbone, "fp32")
    write_entry(entry)
    for number, rows in enumerate(entry.shards):
        write_shard(entry, number, features[rows.start : rows.stop], {"seconds": 0.5 + number, "device": "CPU"})
    return entry


@pytest.fixture
def file(tmp_path: Path, entry: Entry) -> Path:
    exchange.export_entry(entry, tmp_path / "entry.h5")
    return tmp_path / "entry.h5"


def rows_in(cache: Path) -> FloatArray | None:
    folders = list(entry_folders(cache))
    return read_features(open_entry(folders[0])).features if folders else None


def import_known(file: Path, cache: Path) -> tuple[Entry, int]:
    """Import a file with its sha256: it is read in this process, much faster, and refused by the same code."""
    return exchange.import_entry(file, cache, digest_bytes(file.read_bytes()))


@of_three_shards
@pytest.mark.parametrize("told", [True, False])
def test_an_entry_comes_back_row_by_row(
    told: bool, tmp_path: Path, entry: Entry, file: Path, features: FloatArray
) -> None:
    sha256 = digest_bytes(file.read_bytes()) if told else None
    taken, new = exchange.import_entry(file, tmp_path / "theirs", sha256)
    assert new == 3
    assert taken.folder.relative_to(tmp_path / "theirs") == entry.folder.relative_to(tmp_path / "ours")
    found = read_features(taken)
    np.testing.assert_array_equal(found.features, features)
    assert (found.key, found.sample_ids, found.seconds) == (entry.key, entry.sample_ids, 0.5 + 1.5 + 2.5)
    assert [shard["imported"] for shard in found.provenance] == [True] * 3
    for number in range(3):
        assert taken.shard_path(number).read_bytes() == entry.shard_path(number).read_bytes()
    assert exchange.import_entry(file, tmp_path / "theirs", sha256)[1] == 0, "taking it in twice is harmless"
    assert exchange.import_entry(file, tmp_path / "ours", sha256)[1] == 0


@of_three_shards
def test_anybody_can_read_the_file(file: Path, entry: Entry, features: FloatArray) -> None:
    with h5py.File(file) as opened:
        np.testing.assert_array_equal(opened["features/penultimate"], features)
        assert [name.decode() for name in opened["sample_ids"]] == list(entry.sample_ids)
        assert [name.decode() for name in opened["content"]] == list(entry.content)


@of_three_shards
def test_the_same_entry_is_the_same_file(tmp_path: Path, file: Path, entry: Entry) -> None:
    before = file.stat().st_mtime_ns
    assert exchange.export_entry(entry, file) == digest_bytes(file.read_bytes())
    assert file.stat().st_mtime_ns == before
    (tmp_path / "other.h5").write_bytes(b"mine")
    with pytest.raises(BadData, match="another file has this name"):
        exchange.export_entry(entry, tmp_path / "other.h5")
    assert (tmp_path / "other.h5").read_bytes() == b"mine"


@of_three_shards
def test_what_is_not_whole_is_not_sent(tmp_path: Path, entry: Entry) -> None:
    path = entry.shard_path(1)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    with pytest.raises(BadCache, match="a shard is corrupt"):
        exchange.export_entry(entry, tmp_path / "entry.h5")
    path.unlink()
    path.with_suffix(".json").unlink()
    with pytest.raises(MissingData, match=r"1 of 3 shards.*run extract"):
        exchange.export_entry(entry, tmp_path / "entry.h5")
    assert not (tmp_path / "entry.h5").exists()


def test_a_folder_is_no_file_to_write(tmp_path: Path, entry: Entry) -> None:
    with pytest.raises(BadOption, match="this is a folder"):
        exchange.export_entry(entry, tmp_path)


@pytest.mark.parametrize("sha256", ["0" * 64, ""])
def test_another_file_than_the_one_that_was_sent_is_not_opened(sha256: str, tmp_path: Path, file: Path) -> None:
    # No HDF5: whoever opened it before the comparison would say that it cannot be trusted.
    garbage = tmp_path / "garbage.h5"
    garbage.write_bytes(b"no HDF5 at all")
    for path in (file, garbage):
        with pytest.raises(BadCache, match=r"not the file that was sent.*fetch it again"):
            exchange.import_entry(path, tmp_path / "theirs", sha256)
    assert not (tmp_path / "theirs").exists()


@of_three_shards
def test_shards_that_are_there_are_proven_and_kept(tmp_path: Path, file: Path, entry: Entry) -> None:
    path = entry.shard_path(1)
    for gone in (path, path.with_suffix(".json")):
        gone.unlink()
    before = entry.shard_path(2).stat().st_mtime_ns
    assert exchange.import_entry(file, tmp_path / "ours")[1] == 1
    assert entry.shard_path(2).stat().st_mtime_ns == before
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BadCache, match=r"a shard is corrupt.*shard-00001\.h5"):
        exchange.import_entry(file, tmp_path / "ours")


@of_three_shards
def test_a_shard_that_another_process_finishes_meanwhile_is_left_to_it(
    tmp_path: Path, file: Path, entry: Entry, features: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = slice(entry.shards[1].start, entry.shards[1].stop)
    # The other's rows differ in their last bits, as they do between machines: both files must not mix.
    theirs = features[second] * np.float32(1 + 1e-6)
    for suffix in (".h5", ".json"):
        entry.shard_path(1).with_suffix(suffix).unlink()
    with ShardLocks(entry, [1]) as other:
        assert list(other.lock_all()) == [1]

        sleep = time.sleep

        def finish(seconds: float) -> None:
            if not sys._getframe(1).f_globals["__name__"].startswith("probeline"):
                sleep(seconds)  # on a busy machine subprocess waits for the reading process so
                return
            write_shard(entry, 1, theirs, {})
            other.release(1)

        monkeypatch.setattr(time, "sleep", finish)
        assert exchange.import_entry(file, tmp_path / "ours")[1] == 0
    np.testing.assert_array_equal(read_features(entry).features[second], theirs)


def test_a_damaged_file_gives_the_same_rows_or_none(tmp_path: Path, file: Path, features: FloatArray) -> None:
    # With its sha256 it is read in this process, for speed; the flips at which HDF5 itself hangs or crashes are the
    # fault suite's.
    data = file.read_bytes()
    rng = np.random.default_rng(3)
    values = data.index(features.tobytes())
    places = [*rng.choice(range(values, values + features.nbytes), 100), *rng.choice(len(data) - 2048, 100) + 2048]
    refused = 0
    for number, place in enumerate(places):
        changed = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        bad, cache = tmp_path / "bad.h5", tmp_path / f"theirs{number}"
        bad.write_bytes(changed)
        try:
            exchange.import_entry(bad, cache, digest_bytes(changed))
        except ProbelineError:
            refused += 1
            assert not cache.exists()
        else:
            np.testing.assert_array_equal(rows_in(cache), features)
            assert number >= 100, "a changed value was taken in"
    assert refused >= 100


@pytest.mark.slow
def test_damage_where_hdf5_keeps_its_tables_is_survived(tmp_path: Path, file: Path, features: FloatArray) -> None:
    data = file.read_bytes()
    for number, place in enumerate(np.random.default_rng(4).choice(2048, 12, replace=False)):
        bad, cache = tmp_path / "bad.h5", tmp_path / f"theirs{number}"
        bad.write_bytes(data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :])
        try:
            exchange.import_entry(bad, cache)
        except BadCache:
            assert not cache.exists()
        else:
            np.testing.assert_array_equal(rows_in(cache), features)


@pytest.mark.parametrize("length", [0, 100, 5000, -1])
def test_a_cut_file_is_refused(length: int, tmp_path: Path, file: Path) -> None:
    bad = tmp_path / "bad.h5"
    bad.write_bytes(file.read_bytes()[:length])
    with pytest.raises(BadCache, match="this file cannot be trusted as an entry"):
        exchange.import_entry(bad, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.abort()", r"ends its reader \(exit code -6\)"),
        ("import time; time.sleep(60)", "takes more than 120 s to read"),
        ("import sys; sys.stderr.write('said why'); sys.exit(7)", "said why"),
    ],
)
def test_a_reader_that_dies_or_hangs_is_survived(
    code: str, words: str, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.run

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        quicker = {**options, "timeout": options["timeout"] / exchange.SECONDS}
        return real([sys.executable, "-c", code], **quicker)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(BadCache, match=words):
        exchange.import_entry(file, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_the_reader_has_little_memory(tmp_path: Path) -> None:
    """A few bytes that unfold to a terabyte of zeros."""
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("features/penultimate", (2**28, 1024), "f4", chunks=(256, 1024))
        file.create_dataset("manifest", data=np.zeros(4, np.uint8), chunks=(4,))
    assert path.stat().st_size < 100_000
    with pytest.raises(BadCache, match="this file cannot be trusted as an entry"):
        exchange.import_entry(path, tmp_path / "theirs")


def resealed(file: Path, manifest: bytes) -> None:
    """Put another manifest into an exported file, as somebody with bad intent would."""
    _, features = hdf5.decode_export(file.read_bytes())
    names = ("any",) * len(features)
    file.write_bytes(hdf5.encode_export("penultimate", features, names, names, manifest))


def manifest_of(file: Path) -> dict[str, Any]:
    record = unseal(hdf5.decode_export(file.read_bytes())[0])
    assert record is not None
    return record


def forged(file: Path, **changes: Any) -> None:
    """Change the record of an exported entry and seal the change."""
    record = manifest_of(file)
    record["entry"] = {**record["entry"], **changes}
    resealed(file, seal(record))


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../../escape",
        "/etc",
        ".hidden",
        "",
        "a\\b",
        "a\0b",
        "x" * 300,
        "é" * 150,
        "a\ud800",
        "a\x1b[31m",
        "a\u202eb",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("field", ["dataset", "part"])
def test_names_that_lead_elsewhere_are_refused(name: str, field: str, tmp_path: Path, file: Path) -> None:
    forged(file, **{field: name})
    with pytest.raises(BadCache, match=rf"names no folder|entry\.{field}: expected"):
        import_known(file, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "0" * 64},
        {"dim": 4},
        {"dim": 5.0},
        {"rows_per_shard": 0},
        {"rows_per_shard": 5},
        {"rows_per_shard": 2 * ROWS_PER_SHARD},
        {"rows_per_shard": float(ROWS_PER_SHARD)},
        {"rows_per_shard": True},
        {"samples": []},
        {"format": 9},
        {"tap": ["penultimate"]},
        {"tap": "other"},
        {"inputs": {}},
    ],
    ids=str,
)
def test_records_that_do_not_agree_with_themselves_are_refused(
    changes: dict[str, Any], tmp_path: Path, file: Path
) -> None:
    forged(file, **changes)
    with pytest.raises(BadCache, match="this file cannot be trusted as an entry"):
        import_known(file, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda samples, inputs: samples.__setitem__(1, [samples[1][0] + "\0", samples[1][1]]),
        lambda samples, inputs: samples.__setitem__(1, [samples[0][0], samples[1][1]]),
        lambda samples, inputs: samples.__setitem__(1, [samples[1][0], 5]),
        lambda samples, inputs: inputs.__setitem__("backbone", 7),
        lambda samples, inputs: inputs.pop("backbone"),
        lambda samples, inputs: inputs.__setitem__("tap", "other"),
    ],
    ids=["a name that ends in NUL", "a name twice", "a number for a hash", "a number for a net", "no net", "a tap"],
)
def test_entries_that_nothing_could_have_written_are_refused(
    change: Callable[[list[Any], dict[str, Any]], object], tmp_path: Path, file: Path
) -> None:
    told = manifest_of(file)["entry"]
    change(told["samples"], told["inputs"])
    told["inputs"]["samples_sha256"] = samples_digest(*zip(*told["samples"], strict=True))
    forged(file, **{**told, "key": digest(told["inputs"])})
    with pytest.raises(BadCache, match="does not agree with itself"):
        import_known(file, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


@of_three_shards
@pytest.mark.parametrize("seconds", ["1", [1], None, -1.0, 10**400])
def test_seconds_that_cannot_be_added_up_are_refused(seconds: Any, tmp_path: Path, file: Path) -> None:
    record = manifest_of(file)
    record["shards"][2]["provenance"]["seconds"] = seconds
    resealed(file, seal(record))
    with pytest.raises(BadCache, match="this file cannot be trusted as an entry"):
        import_known(file, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def sealed_by_hand(body: bytes) -> bytes:
    return body[:-1] + b',"sha256":"' + digest_bytes(body).encode() + b'"}\n'


@pytest.mark.parametrize("value", [b"[" * 100_000 + b"]" * 100_000, b"1" * 5000, b"NaN", b"1e999", b"\xff"])
def test_a_seal_around_anything_else_is_refused(value: bytes, tmp_path: Path, file: Path) -> None:
    body = json.dumps(manifest_of(file), sort_keys=True, separators=(",", ":")).encode()
    resealed(file, sealed_by_hand(body.replace(b'"seconds":0.5', b'"seconds":' + value)))
    with pytest.raises(BadCache, match="its seal does not prove"):
        import_known(file, tmp_path / "theirs")


@of_three_shards
def test_values_that_the_manifest_does_not_prove_are_refused(
    tmp_path: Path, file: Path, entry: Entry, features: FloatArray
) -> None:
    manifest, _ = hdf5.decode_export(file.read_bytes())
    features[1027, 2] = np.nextafter(features[1027, 2], np.float32(9))
    file.write_bytes(hdf5.encode_export("penultimate", features, entry.sample_ids, entry.content, manifest))
    with pytest.raises(BadCache, match="other values in rows 1024 to 2047"):
        exchange.import_entry(file, tmp_path / "theirs")


def test_external_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "external.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("features/penultimate", (2, 5), "f4", external=[("/etc/passwd", 0, 40)])
        file.create_dataset("manifest", data=np.zeros(4, np.uint8), chunks=(4,))
    with pytest.raises(BadCache, match="stored elsewhere or filtered"):
        exchange.import_entry(path, tmp_path / "theirs")


def test_links_are_not_followed(tmp_path: Path) -> None:
    # A pipe that nobody writes to: whoever opens it waits for ever.
    pipe, path = tmp_path / "pipe", tmp_path / "links.h5"
    os.mkfifo(pipe)
    with h5py.File(path, "w") as file:
        file["features"] = h5py.ExternalLink(str(pipe), "/features")
        file.create_dataset("manifest", data=np.zeros(4, np.uint8), chunks=(4,))
    program = "import sys\nfrom probeline.cache.format import hdf5\nhdf5.decode_export(open(sys.argv[1], 'rb').read())"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=30)
    assert "no plain features" in done.stderr


def test_names_in_a_foreign_file_are_not_printed_raw(tmp_path: Path) -> None:
    path = tmp_path / "escape.h5"
    with h5py.File(path, "w") as file:
        file["features/\x1b]0;title\x07"] = h5py.SoftLink("/nowhere")
        file.create_dataset("manifest", data=np.zeros(4, np.uint8), chunks=(4,))
    with pytest.raises(BadCache, match="no plain") as caught:
        exchange.import_entry(path, tmp_path / "theirs")
    assert str(caught.value).isprintable()


def test_the_reader_has_one_thread(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []
    real = subprocess.run

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        seen.append(options["env"])
        return real(command, **options)

    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "64")
    monkeypatch.setattr(subprocess, "run", run)
    exchange.import_entry(file, tmp_path / "theirs")
    assert seen[0]["OPENBLAS_NUM_THREADS"] == "1", "64 stacks take more address space than the reader may have"


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="no such file"):
        exchange.import_entry(tmp_path / "none.h5", tmp_path / "theirs")
