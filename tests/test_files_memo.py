"""The memo remembers what was read from a file for exactly as long as the file stays as it is, and trusts nobody."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from probeline import disk
from probeline.files.memo import Memo
from probeline.identity import seal, unseal

LONG_AGO = 1_500_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"pixels")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def kept(file: Path, tmp_path: Path) -> Path:
    """A memo on the disk that holds a text for the file."""
    memo = Memo(tmp_path / "memo.json")
    memo.put("sha", [file], "abc")
    memo.save()
    return tmp_path / "memo.json"


def entries_of(path: Path) -> dict[str, Any]:
    record = unseal(path.read_bytes())
    assert record
    entries: dict[str, Any] = record["entries"]
    return entries


def test_a_value_survives_a_new_process(kept: Path, file: Path) -> None:
    assert Memo(kept).get("sha", [file], str) == "abc"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_changed_file_is_forgotten(file: Path, tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.json")
    memo.put("sha", [file], "abc")
    assert memo.get("sha", [file], str) == "abc"
    os.utime(file, (LONG_AGO + 1, LONG_AGO + 1))
    assert memo.get("sha", [file], str) is None
    file.unlink()
    assert memo.get("sha", [file], str) is None


def test_a_file_that_changed_in_place_and_got_its_old_time_back_is_forgotten(file: Path, tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.json")
    memo.put("sha", [file], "abc")
    time.sleep(0.05)  # longer than a tick of the clock that file systems use, 10 ms at most
    file.write_bytes(b"PIXELS")
    os.utime(file, (LONG_AGO, LONG_AGO))
    assert memo.get("sha", [file], str) is None


def test_a_replaced_file_of_equal_size_and_time_is_forgotten(file: Path, tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.json")
    memo.put("sha", [file], "abc")
    other = tmp_path / "b.jpg"
    other.write_bytes(b"PIXELS")
    os.utime(other, (LONG_AGO, LONG_AGO))
    other.replace(file)
    assert memo.get("sha", [file], str) is None


def test_a_file_that_may_still_change_is_not_remembered(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.jpg"
    fresh.write_bytes(b"pixels")
    memo = Memo(tmp_path / "memo.json")
    memo.put("sha", [fresh], "abc")
    assert memo.get("sha", [fresh], str) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"sha": {"files": 3}}',
        seal({"entries": 3, "format": 2}),
        seal({"entries": {"sha": 1}, "format": 2}),
        seal({"entries": {"sha": {"files": 3, "value": "abc"}}, "format": 2}),
        seal({"entries": {"sha": {"value": "abc"}}, "format": 2}),
    ],
)
def test_a_broken_memo_is_an_empty_one(content: bytes, file: Path, tmp_path: Path) -> None:
    path = tmp_path / "memo.json"
    path.write_bytes(content)
    assert Memo(path).get("sha", [file], str) is None
    assert Memo(path).get("sha", [Path("\0"), Path("x" * 5000)], str) is None


def test_an_edited_memo_is_an_empty_one(kept: Path, file: Path) -> None:
    record = json.loads(kept.read_bytes())
    record["entries"]["sha"]["value"] = "other"
    kept.write_text(json.dumps(record))
    assert Memo(kept).get("sha", [file], str) is None


def test_a_memo_of_an_earlier_or_later_format_is_an_empty_one(kept: Path, file: Path) -> None:
    entries = entries_of(kept)
    for content in (json.dumps(entries).encode(), seal({"entries": entries, "format": 3}), seal(entries)):
        kept.write_bytes(content)
        assert Memo(kept).get("sha", [file], str) is None
    kept.write_bytes(seal({"entries": entries, "format": 2}))
    assert Memo(kept).get("sha", [file], str) == "abc"


@pytest.mark.parametrize("value", [None, {}, [{}], ["x"], "x", 1.5, [[[]]]])
def test_a_value_of_another_type_counts_as_missing(value: object, kept: Path, file: Path) -> None:
    entries = entries_of(kept)
    entries["sha"]["value"] = value
    kept.write_bytes(seal({"entries": entries, "format": 2}))
    memo = Memo(kept)
    assert [memo.get("sha", [file], hint) for hint in (int, bool, tuple[int, ...])] == [None, None, None]


def test_a_memo_that_others_may_write_to_is_not_used_and_replaced(kept: Path, file: Path) -> None:
    said: list[str] = []
    kept.chmod(0o664)
    memo = Memo(kept, warn=said.append)
    assert memo.get("sha", [file], str) is None
    assert said == [f"memo: {kept} can be changed by other users: it is not used, and files are hashed anew"]
    memo.put("sha", [file], "abc")
    memo.save()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert Memo(kept, warn=said.append).get("sha", [file], str) == "abc"
    assert len(said) == 1


def test_a_memo_of_another_user_stays_and_ones_own_is_beside_it(
    kept: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, said = kept.read_bytes(), list[str]()
    monkeypatch.setattr("probeline.files.fingerprint.os.geteuid", lambda: 4242)
    memo = Memo(kept, warn=said.append)
    assert memo.get("sha", [file], str) is None
    assert said == [f"memo: {kept} belongs to another user and is not used; yours is memo-4242.json"]
    memo.put("sha", [file], "abc")
    memo.save()
    assert kept.read_bytes() == before
    own = kept.with_name("memo-4242.json")
    assert "sha" in entries_of(own)
    # The file is still of this test's user, as one that somebody laid there for the other would be.
    assert Memo(kept, warn=said.append).get("sha", [file], str) is None
    assert said[1:] == [f"memo: {own} can be changed by other users: it is not used, and files are hashed anew"]
    memo.drop()
    assert kept.exists()
    assert not own.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others")
def test_ones_own_memo_in_a_shared_cache_is_used_in_silence(kept: Path, file: Path) -> None:
    said: list[str] = []
    kept.with_name("memo-0.json").write_bytes(kept.read_bytes())
    os.chown(kept, 4242, 4242)
    assert Memo(kept, warn=said.append).get("sha", [file], str) == "abc"
    assert said == []


def test_a_pipe_with_the_memos_name_is_not_waited_for(file: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "memo.json")
    memo = Memo(tmp_path / "memo.json")
    memo.put("sha", [file], "abc")
    memo.save()
    assert Memo(tmp_path / "memo.json").get("sha", [file], str) == "abc"


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    Memo(tmp_path / "memo.json").save()
    assert not (tmp_path / "memo.json").exists()


def test_a_memo_that_cannot_be_written_is_no_error(file: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    memo = Memo(tmp_path / "taken" / "memo.json")
    memo.put("sha", [file], "abc")
    memo.save()
    assert memo.get("sha", [file], str) == "abc"


def test_a_published_file_has_no_more_permissions_than_its_mode(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        disk.publish(tmp_path / "a", b"", mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
