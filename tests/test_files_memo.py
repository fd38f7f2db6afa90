"""The memo remembers what was read from a file for exactly as long as the file stays as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from probeline.files.memo import Memo

LONG_AGO = 1_500_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"pixels")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def test_a_value_survives_a_new_process(file: Path, tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo" / "memo.json")
    memo.put("sha", [file], {"sha256": "abc"})
    memo.save()
    assert Memo(tmp_path / "memo" / "memo.json").get("sha", [file]) == {"sha256": "abc"}


def test_a_changed_file_is_forgotten(file: Path, tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.json")
    memo.put("sha", [file], "abc")
    os.utime(file, (LONG_AGO + 1, LONG_AGO + 1))
    assert memo.get("sha", [file]) is None
    os.utime(file, (LONG_AGO, LONG_AGO))
    assert memo.get("sha", [file]) == "abc"
    file.unlink()
    assert memo.get("sha", [file]) is None


def test_a_replaced_file_of_equal_size_and_time_is_forgotten(file: Path, tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.json")
    memo.put("sha", [file], "abc")
    other = tmp_path / "b.jpg"
    other.write_bytes(b"PIXELS")
    os.utime(other, (LONG_AGO, LONG_AGO))
    other.replace(file)
    assert memo.get("sha", [file]) is None


def test_a_file_that_may_still_change_is_not_remembered(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.jpg"
    fresh.write_bytes(b"pixels")
    memo = Memo(tmp_path / "memo.json")
    memo.put("sha", [fresh], "abc")
    assert memo.get("sha", [fresh]) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sha": 1}', b'{"sha": {"files": 3}}', b"\xff"])
def test_a_broken_memo_is_an_empty_one(content: bytes, file: Path, tmp_path: Path) -> None:
    path = tmp_path / "memo.json"
    path.write_bytes(content)
    assert Memo(path).get("sha", [file]) is None


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    Memo(tmp_path / "memo.json").save()
    assert not (tmp_path / "memo.json").exists()


def test_a_memo_that_cannot_be_written_is_no_error(file: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    memo = Memo(tmp_path / "taken" / "memo.json")
    memo.put("sha", [file], "abc")
    memo.save()
    assert memo.get("sha", [file]) == "abc"
