"""The samples of an entry: in a file of their own, read block by block; entries that list them are read as ever."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faults import producer
from probeline.cache import entry as entries
from probeline.cache import reading, samples
from probeline.cache.check import check_entry, set_aside_bad_files
from probeline.cache.entry import Entry
from probeline.cache.prune import find_leftovers, list_entries
from probeline.cache.writing import write_entry
from probeline.commands import cache as verb
from probeline.errors import BadCache
from probeline.files.decode import BadRecord
from probeline.files.sample_blocks import decode_block, encode_block
from probeline.identity import digest, seal
from probeline.session import Session
from small_runs import Listening, configuration

NAMES = ["a.jpg", "", "b/ü.png", "日本/犬.jpg", "c" * 300, *(f"d/{number}.jpg" for number in range(16))]
ROWS = len(NAMES)
BLOCK = 8


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """21 rows in three shards and three blocks."""
    for module in (entries, samples):
        monkeypatch.setattr(module, "ROWS_PER_BLOCK", BLOCK)
    part = producer.make_part([digest(row) for row in range(ROWS)], names=NAMES)
    located = entries.locate_entry(tmp_path / "cache", part, producer.BACKBONE, "fp32")
    made = dataclasses.replace(located, rows_per_shard=producer.ROWS)
    producer.extract(made)
    return made


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def listed(entry: Entry) -> None:
    """Turn an entry into one of format 1."""
    (entry.folder / "entry.json").write_bytes(seal(entry.listed_record()))
    entry.samples_path.unlink()


def test_an_opened_entry_has_the_samples_that_were_written(entry: Entry) -> None:
    opened = reading.open_entry(entry.folder)
    for column, right in ((opened.sample_ids, entry.sample_ids), (opened.content, entry.content)):
        assert column == right
        assert right == column
        assert list(column) == list(right)
        assert [column[row] for row in range(ROWS)] == list(right)
        assert column[-1] == right[-1]
        for piece in (slice(None), slice(3, 19), slice(7, 8), slice(8, 8), slice(-5, None), slice(None, None, -3)):
            assert column[piece] == right[piece]
        with pytest.raises(IndexError):
            column[ROWS]
        assert column != right[:-1]
        assert column != (*right[:-1], "x")
        assert column != "text"
    assert (opened.key, len(opened)) == (entry.key, ROWS)
    np.testing.assert_array_equal(reading.read_features(opened).features, producer.truth(entry))


def test_the_bytes_are_as_specified(entry: Entry) -> None:
    """As cache/README.md says: digests, then the ends of the ids, then the ids, block after block."""
    data, at = entry.samples_path.read_bytes(), 0
    record = json.loads((entry.folder / "entry.json").read_bytes())
    assert (record["format"], record["rows"], record["rows_per_block"]) == (2, ROWS, BLOCK)
    for number, block in enumerate(record["blocks"]):
        rows = range(number * BLOCK, min((number + 1) * BLOCK, ROWS))
        texts = [entry.sample_ids[row].encode() for row in rows]
        ends = b"".join(len(b"".join(texts[: count + 1])).to_bytes(4, "little") for count in range(len(rows)))
        expected = b"".join(bytes.fromhex(entry.content[row]) for row in rows) + ends + b"".join(texts)
        assert data[at : at + block["bytes"]] == expected
        at += block["bytes"]
    assert at == len(data)


def test_opening_reads_no_sample_and_a_row_reads_one_block(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    opening = samples.open_file
    monkeypatch.setattr(samples, "open_file", lambda path, kind: read.append(path) or opening(path, kind))
    opened = reading.open_entry(entry.folder)
    assert reading.missing_shards(opened) == []
    assert read == []
    assert (opened.sample_ids[9], opened.content[10]) == (entry.sample_ids[9], entry.content[10])
    assert read == [entry.samples_path]
    opened.sample_ids[9:17]
    assert len(read) == 2


def test_a_damaged_block_is_refused_and_the_others_are_read(entry: Entry) -> None:
    flip(entry.samples_path, -1)
    opened = reading.open_entry(entry.folder)
    assert opened.sample_ids[:16] == entry.sample_ids[:16]
    for read in (lambda: opened.sample_ids[16], lambda: list(opened.content), lambda: reading.verify_entry(entry)):
        with pytest.raises(BadCache, match=r"samples of a cache entry.*samples\.bin.*verify --repair"):
            read()


@pytest.mark.parametrize("size", [1, 10**15, 1 << 53])
def test_no_more_is_read_than_the_file_has(size: int, entry: Entry) -> None:
    """A record with a valid seal may claim any length of a block."""
    record = reading.read_entry_record(entry.folder)
    record["blocks"][1]["bytes"] = size
    (entry.folder / "entry.json").write_bytes(seal(record))
    opened = reading.open_entry(entry.folder)
    assert opened.sample_ids[:BLOCK] == entry.sample_ids[:BLOCK]
    with pytest.raises(BadCache, match=r"other bytes than entry\.json says"):
        list(opened.sample_ids)


@pytest.mark.parametrize("fault", ["flipped", "cut", "missing", "no file"])
def test_a_repair_writes_the_samples_again_and_keeps_every_shard(fault: str, entry: Entry) -> None:
    before = producer.files(entry)
    if fault == "flipped":
        flip(entry.samples_path, 40)
    elif fault == "cut":
        entry.samples_path.write_bytes(entry.samples_path.read_bytes()[:-1])
    else:
        entry.samples_path.unlink()
    if fault == "no file":
        os.mkfifo(entry.samples_path)
    for expected in (entry, None):
        checked = check_entry(entry.folder, expected)
        (problem,) = checked.problems
        assert problem.shard is None
        assert "samples.bin" in problem.message
    assert set_aside_bad_files(check_entry(entry.folder)) == []
    redone: list[int] = []
    producer.extract(entry, started=redone.append)
    assert redone == []
    assert producer.files(entry) == before


def test_samples_of_another_key_are_found_by_a_check(entry: Entry) -> None:
    """A valid seal over other samples: whoever can write the record can seal it."""
    other = dataclasses.replace(entry, sample_ids=(*entry.sample_ids[:-1], "other"))
    data = list(samples.encode_blocks(other.sample_ids, other.content))
    entry.samples_path.write_bytes(b"".join(data))
    blocks = [entries.BlockRecord(len(block), samples.hashlib.sha256(block).hexdigest()) for block in data]
    (entry.folder / "entry.json").write_bytes(seal(entry.record(blocks)))
    assert reading.open_entry(entry.folder).sample_ids[-1] == "other"
    (problem,) = check_entry(entry.folder, entry).problems
    assert "samples_sha256: expected the digest of samples" in problem.message
    with pytest.raises(BadCache, match="holds other rows"):
        reading.read_features(reading.open_entry(entry.folder))


def test_what_a_dead_writer_left_is_taken_over_or_replaced(entry: Entry) -> None:
    before = producer.files(entry)
    (entry.folder / "entry.json").unlink()
    status = entry.samples_path.stat()
    write_entry(entry)
    assert entry.samples_path.stat().st_ino == status.st_ino
    (entry.folder / "entry.json").unlink()
    flip(entry.samples_path, 5)
    write_entry(entry)
    assert producer.files(entry) == before


def test_samples_without_a_record_are_a_leftover_after_a_minute(entry: Entry) -> None:
    cache = entry.folder.parents[2]
    assert find_leftovers(cache).paths == {}
    (entry.folder / "entry.json").unlink()
    assert find_leftovers(cache).paths == {}, "its writer may be at work"
    old = entry.samples_path.stat().st_mtime - 3600
    os.utime(entry.samples_path, (old, old))
    assert list(find_leftovers(cache).paths) == [entry.samples_path]


def test_an_entry_that_lists_its_samples_is_read_and_goes_on(entry: Entry) -> None:
    listed(entry)
    for suffix in (".h5", ".json"):
        entry.shard_path(1).with_suffix(suffix).unlink()
    opened = reading.open_entry(entry.folder)
    assert (opened.sample_ids, opened.content, opened.key) == (entry.sample_ids, entry.content, entry.key)
    producer.extract(entry)
    np.testing.assert_array_equal(reading.read_features(entry).features, producer.truth(entry))
    assert not entry.samples_path.exists(), "it is upgraded on request alone"
    assert check_entry(entry.folder).problems == ()


class Warned(Listening):
    """A console that keeps warnings too."""

    def warn(self, line: str) -> None:
        self.said.append(line)


def run_upgrade(cache: Path, **options: Any) -> tuple[dict[str, Any], Listening]:
    console = Warned()
    return verb.run(Session(configuration(cache, console=console, words=("upgrade",), **options))), console


def test_an_upgrade_gives_the_files_that_an_extraction_gives(entry: Entry) -> None:
    cache, before = entry.folder.parents[2], producer.files(entry)
    listed(entry)
    found, console = run_upgrade(cache, dry_run=True)
    assert found == {"dry_run": True, "upgraded": [str(entry.folder)], "format": 2}
    assert "1 entry would be upgraded to format 2" in console.said
    assert not entry.samples_path.exists()
    assert run_upgrade(cache)[0] == {"upgraded": [str(entry.folder)], "format": 2}
    assert producer.files(entry) == before
    assert run_upgrade(cache)[0]["upgraded"] == []


def test_an_upgrade_passes_over_what_is_corrupt_or_newer(entry: Entry) -> None:
    cache, path = entry.folder.parents[2], entry.folder / "entry.json"
    path.write_bytes(seal({**entry.record([]), "format": 4}))
    found, console = run_upgrade(cache)
    assert found["upgraded"] == []
    assert console.said == ["0 entries upgraded to format 2"]
    path.write_bytes(seal(entry.listed_record())[:-3])
    found, console = run_upgrade(cache)
    assert found["upgraded"] == []
    assert str(path) in console.said[0]
    assert [listing.is_corrupt for listing in list_entries(cache)] == [True]


@pytest.mark.parametrize(
    "content", [["0" * 63], ["0" * 63 + "G"], ["A" * 64], ["0" * 63, "0" * 65], ["é" * 64], [" " + "0" * 63]]
)
def test_only_digests_are_written(content: list[str]) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        encode_block([str(number) for number in range(len(content))], content)


def test_bytes_that_are_no_block_are_refused() -> None:
    data = encode_block(["a", "bc", "ü"], [digest(row) for row in range(3)])
    assert decode_block(data, 3).sample_ids(0, 3) == ("a", "bc", "ü")
    for bad, rows in ((data, 2), (data, 4), (data[:-1], 3), (data + b"x", 3), (b"", 1), (data[:100], 3)):
        with pytest.raises(BadRecord, match="do not hold"):
            decode_block(bad, rows)
    swapped = data[:96] + data[100:104] + data[96:100] + data[104:]
    with pytest.raises(BadRecord, match="do not hold"):
        decode_block(swapped, 3)
    with pytest.raises(BadRecord, match="not UTF-8"):
        decode_block(data[:-1] + b"\xff", 3)
