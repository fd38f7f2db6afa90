"""Records of a cache that nobody's extraction wrote: refused when they are read, named, and put aside by a repair."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults import producer
from faults.mutations import mutated, sealed
from probeline.cache import exchange, reading
from probeline.cache.check import check_entry, set_aside_bad_files
from probeline.cache.entry import Entry
from probeline.cache.format import hdf5
from probeline.cache.format.records import BlockRecord, EntryRecord, ListedEntryRecord, Manifest, ShardRecord
from probeline.errors import BadCache, OutOfMemory
from probeline.files.decode import BadRecord, decode
from probeline.identity import EXPORT_FORMAT_VERSION, digest, seal, unseal


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """An entry of two shards."""
    made = producer.make_entry(tmp_path / "cache", 2)
    producer.extract(made)
    return made


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = unseal(path.read_bytes())
    assert record is not None
    change(record)
    path.write_bytes(seal(record))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.pop("bytes"), "missing bytes"),
        (lambda r: r.pop("provenance"), "missing provenance"),
        (lambda r: r.update(more=1), "unknown more"),
        (lambda r: r.update(bytes=-1), "bytes: expected 1 to"),
        (lambda r: r.update(file_sha256="x"), "file_sha256: expected 64 hexadecimal digits"),
        (lambda r: r.update(rows=[0]), "rows: expected 2 values"),
        (lambda r: r["provenance"].update(origins="x"), "provenance.origins: expected an array"),
        (lambda r: r["provenance"].update(origins=[["x"]]), r"provenance.origins\[0\]: expected an object"),
        (lambda r: r["provenance"].update(seconds="1"), "provenance.seconds: expected a number"),
        (lambda r: r["provenance"].update(seconds=1e300), "provenance.seconds"),
        (lambda r: r["provenance"].update(device=["CPU"]), "provenance.device that is no text"),
        (lambda r: r["provenance"].update(row_facts={"9": {}}), "rows that a shard of 8 does not have"),
        (lambda r: r["provenance"].update(row_facts={"0": {"grey_max": -1}}), "grey_max: expected 0 to 65,535"),
        (lambda r: r["provenance"].update(row_facts=[]), "row_facts: expected an object"),
    ],
)
def test_a_bad_record_of_a_shard_is_named_and_only_that_shard_is_redone(
    change: Callable[[dict[str, Any]], object], words: str, entry: Entry
) -> None:
    before = producer.files(entry)
    path = entry.record_path(0)
    rewrite(path, change)
    for read in (reading.read_features, reading.missing_shards, reading.verify_entry):
        with pytest.raises(BadCache, match=words) as caught:
            read(entry)
        assert str(path) in str(caught.value)
        assert "verify --repair, then run extract again" in str(caught.value)
    checked = check_entry(entry.folder, entry)
    assert [problem.shard for problem in checked.problems] == [0]
    assert set_aside_bad_files(checked) == [0]
    redone: list[int] = []
    producer.extract(entry, started=redone.append)
    assert redone == [0]
    assert producer.files(entry) == before
    assert path.with_name(f"{path.name}.bad").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(dim=10**13), "dim: expected 1 to 4,194,304"),
        (lambda r: r.update(dim=1 << 22, rows_per_shard=1 << 20), "which no file may hold"),
        (lambda r: r.update(rows_per_shard=0), "rows_per_shard: expected 1 to"),
        (lambda r: r.update(rows=0), "rows: expected 1 to"),
        (lambda r: r.update(rows=1 << 17), "1 blocks of 65,536 for 131,072 rows"),
        (lambda r: r["blocks"].clear(), "0 blocks of 65,536 for 13 rows"),
        (lambda r: r["blocks"][0].update(bytes=0), r"blocks\[0\].bytes: expected 1 to"),
        (lambda r: r.update(format=True), "another format version"),
        (lambda r: r["inputs"].pop("backbone"), "inputs: missing backbone"),
        (lambda r: r["inputs"].update(view=[]), "inputs.view: expected an object"),
        (lambda r: r["inputs"]["preprocess"].pop("crop"), "inputs.preprocess: missing crop"),
        (lambda r: r.update(key="0" * 64), "key: expected the digest of inputs"),
    ],
)
def test_a_bad_record_of_an_entry_is_named(
    change: Callable[[dict[str, Any]], object], words: str, entry: Entry
) -> None:
    path = entry.folder / "entry.json"
    rewrite(path, change)
    with pytest.raises(BadCache, match=words) as caught:
        reading.open_entry(entry.folder)
    assert str(path) in str(caught.value)
    (problem,) = check_entry(entry.folder).problems
    assert problem.shard is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(samples=[]), "samples: expected a length of 1"),
        (lambda r: r["samples"].append(r["samples"][0]), "sample ids that repeat"),
        (lambda r: r["samples"][0].append("x"), r"samples\[0\]: expected 2 values"),
        (lambda r: r["samples"].reverse(), "samples_sha256: expected the digest of samples"),
    ],
)
def test_a_bad_record_that_lists_its_samples_is_named(
    change: Callable[[dict[str, Any]], object], words: str, entry: Entry
) -> None:
    path = entry.folder / "entry.json"
    path.write_bytes(seal(entry.listed_record()))
    reading.open_entry(entry.folder)
    rewrite(path, change)
    with pytest.raises(BadCache, match=words):
        reading.open_entry(entry.folder)


@pytest.mark.parametrize("field", ["dataset", "part"])
def test_an_audit_finds_a_sound_record_of_something_else(field: str, entry: Entry) -> None:
    """Extraction refuses it, so a repair must find it too."""
    rewrite(entry.folder / "entry.json", lambda record: record.update({field: "other"}))
    with pytest.raises(BadCache, match=f"expected {field} of key"):
        reading.missing_shards(entry)
    checked = check_entry(entry.folder, entry)
    assert [problem.shard for problem in checked.problems] == [None]
    set_aside_bad_files(checked)
    producer.extract(entry)
    assert producer.complaint(entry) == ""


def test_more_rows_than_memory_holds_are_a_line(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "memory_bytes", lambda: 4 * 13 * producer.DIM - 1)
    with pytest.raises(OutOfMemory, match=r"do not fit into memory.*at most 415 bytes, got 416"):
        reading.read_features(entry)


def export(entry: Entry, provenance: dict[str, Any]) -> bytes:
    """Return an exported file with these conditions of its second shard."""
    stored = reading.read_features(entry)
    shards = [
        {"features_sha256": hashlib.sha256(stored.features[r.start : r.stop].tobytes()).hexdigest(), "provenance": how}
        for r, how in zip(entry.shards, (stored.provenance[0], provenance), strict=True)
    ]
    manifest = seal({"format": EXPORT_FORMAT_VERSION, "entry": entry.listed_record(), "shards": shards})
    return hdf5.encode_export(entry.tap, stored.features, entry.sample_ids, entry.content, manifest)


@pytest.mark.parametrize(
    ("provenance", "words"),
    [
        ({"origins": "x"}, r"shards\[1\].provenance.origins: expected an array"),
        ({"origins": [{"device": []}]}, r"shards\[1\].provenance.origins\[0\].device"),
        ({"driver": 5}, "provenance.driver that is no text, in rows 8 to 12"),
        ({"row_facts": {"5": {}}}, "rows that a shard of 5 does not have"),
        ({"deep": json.loads("[" * 40 + "]" * 40)}, "levels of nested values"),
        ({"note": "x" * 70_000}, "at most 65,536 characters"),
    ],
)
def test_an_exported_file_with_other_conditions_is_refused_before_anything_is_written(
    provenance: dict[str, Any], words: str, entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "ROWS_PER_SHARD", producer.ROWS)
    file, cache = tmp_path / "sent.h5", tmp_path / "imported"
    data = export(entry, provenance)
    file.write_bytes(data)
    for sha256 in (None, hashlib.sha256(data).hexdigest()):
        with pytest.raises(BadCache, match=words) as caught:
            exchange.import_entry(file, cache, sha256)
        assert "nothing was written" in str(caught.value)
    assert not cache.exists()


def test_shards_that_no_reader_understands_are_named(entry: Entry) -> None:
    """A record vouches for bytes: what they hold is looked at when they are read."""
    stored = reading.read_shard(entry, 0)[0]
    path = entry.shard_path(0)
    for ids in ((b"\xff\xfe", *[b"x"] * 7), tuple(range(8))):
        data = _hdf5(entry.tap, stored, ids)
        path.write_bytes(data)
        facts = {"bytes": len(data), "file_sha256": hashlib.sha256(data).hexdigest()}
        rewrite(entry.record_path(0), lambda record, facts=facts: record.update(facts))  # type: ignore[misc]
        with pytest.raises(BadCache, match=r"no shard of Probeline.*ids that are no text"):
            reading.read_shard(entry, 0)


def test_a_data_set_that_claims_more_than_its_file_has_is_not_read(entry: Entry) -> None:
    import h5py

    with h5py.File("shard", "w", driver="core", backing_store=False) as file:
        file.create_dataset(f"features/{entry.tap}", shape=(1 << 20, 1 << 20), dtype="<f4", chunks=(8, 8))
        file.create_dataset("sample_ids", data=[b"x"], chunks=(1,))
        file.flush()
        data = bytes(file.id.get_file_image())
    with pytest.raises(BadCache, match="of more values than the file has"):
        hdf5.decode(data, entry.tap, 8, producer.DIM, entry.shard_path(0))


def _hdf5(tap: str, features: Any, ids: Any) -> bytes:
    import h5py
    import numpy as np

    with h5py.File("shard", "w", driver="core", backing_store=False) as file:
        file.create_dataset(f"features/{tap}", data=features, chunks=features.shape)
        file.create_dataset("sample_ids", data=np.array(ids), chunks=(len(ids),))
        file.flush()
        return bytes(file.id.get_file_image())


ENTRY = producer.make_entry(Path("cache"), 2)
SHARD = {
    "format": 1,
    "key": ENTRY.key,
    "shard": 0,
    "rows": [0, 8],
    "bytes": 2000,
    "file_sha256": digest(0),
    "provenance": {**producer.FACTS, "origins": [{"device": "CPU"}], "row_facts": {"1": {"one_colour": True}}},
}
MANIFEST = {
    "format": 1,
    "entry": ENTRY.listed_record(),
    "shards": [{"features_sha256": digest(0), "provenance": producer.FACTS}] * 2,
}


@pytest.mark.parametrize(
    ("record_class", "values"),
    [
        (EntryRecord, ENTRY.record([BlockRecord(1000, digest(0))])),
        (ListedEntryRecord, ENTRY.listed_record()),
        (ShardRecord, SHARD),
        (Manifest, MANIFEST),
    ],
    ids=["entry", "listed entry", "shard", "manifest"],
)
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_mutated_records_are_records_or_refused_in_a_line(
    record_class: type, values: dict[str, Any], chance: random.Random
) -> None:
    data = sealed(mutated(values, chance)[0], chance)
    told = ""
    try:
        assert isinstance(decode(record_class, unseal(data)), record_class)
    except BadRecord as error:
        told = str(error)
    assert told.isprintable()
