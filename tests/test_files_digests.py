"""Digests of files: lines are added as they are computed, and none is believed that is not as it was written."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probeline.console import Silence
from probeline.data.source import LoadRequest, Subset
from probeline.data.sources import folder
from probeline.errors import CannotWrite
from probeline.files import digests
from probeline.files.digests import FileDigests
from probeline.files.fingerprint import fingerprint
from probeline.files.memo import Memo
from probeline.identity import digest, digest_bytes, seal, unseal

LONG_AGO = 1_500_000_000


def write(path: Path, data: bytes = b"pixels") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return write(tmp_path / "pictures" / "ü.jpg")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "hashes.jsonl"


def remember(log: Path, *files: str, sha256: str = digest("a")) -> FileDigests:
    known = FileDigests(log)
    for path in files:
        known.put(path, fingerprint(path), sha256)
    known.save()
    return known


def lines_of(log: Path) -> list[dict[str, Any]]:
    lines = [unseal(data + b"\n") for data in log.read_bytes().split(b"\n") if data]
    assert all(lines)
    return [{name: value for name, value in line.items() if name != "sha256"} for line in lines if line]


def test_a_digest_survives_a_new_process(log: Path, file: str) -> None:
    remember(log, file)
    assert FileDigests(log).get(file) == digest("a")
    assert log.stat().st_mode & 0o777 == 0o600
    assert FileDigests(log).get(f"{file}x") is None


@pytest.mark.parametrize("change", ["content", "time", "gone", "replaced"])
def test_a_changed_file_is_forgotten(change: str, log: Path, file: str) -> None:
    known, path = remember(log, file), Path(file)
    time.sleep(0.05)  # longer than a tick of the clock that file systems use, 10 ms at most
    if change == "content":
        write(path, b"PIXELS")
    elif change == "time":
        os.utime(path, (LONG_AGO + 1, LONG_AGO + 1))
    elif change == "gone":
        path.unlink()
    else:
        write(path.with_name("b.jpg"), b"PIXELS")
        path.with_name("b.jpg").replace(path)
    assert known.get(file) is None
    assert FileDigests(log).get(file) is None


def test_a_file_that_may_still_change_is_not_remembered(log: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.jpg"
    fresh.write_bytes(b"pixels")
    assert remember(log, str(fresh)).get(str(fresh)) is None
    assert not log.exists()


def test_lines_are_added_and_nothing_is_written_twice(log: Path, file: str, tmp_path: Path) -> None:
    known = remember(log, file)
    first = log.read_bytes()
    known.save()
    assert log.read_bytes() == first
    other = write(tmp_path / "pictures" / "b.jpg")
    known.put(other, fingerprint(other), digest("b"))
    known.save()
    assert log.read_bytes().startswith(first)
    again = FileDigests(log)
    assert (again.get(file), again.get(other)) == (digest("a"), digest("b"))


def test_a_line_that_was_cut_short_costs_itself_alone(log: Path, file: str, tmp_path: Path) -> None:
    remember(log, file)
    whole = log.read_bytes()
    other = write(tmp_path / "more" / "b.jpg")
    for length in (1, 20, len(whole) - 1):
        log.write_bytes(whole + whole[:length])
        known = FileDigests(log)
        assert known.get(file) == digest("a")
        known.put(other, fingerprint(other), digest("b"))
        known.save()
        assert [line["folder"] for line in lines_of(log)] == [str(Path(file).parent), str(Path(other).parent)]
        log.write_bytes(whole)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.update(digests=digest("b")),
        lambda line: line.update(folder="/"),
        lambda line: line.update(names=["x", "y"]),
    ],
)
def test_an_edited_line_is_no_line(change: Callable[[dict[str, Any]], object], log: Path, file: str) -> None:
    remember(log, file)
    sealed = log.read_bytes()
    (line,) = lines_of(log)
    change(line)
    log.write_bytes(seal(line)[:-67] + sealed[-67:])
    assert FileDigests(log).get(file) is None


@pytest.mark.parametrize(
    "odd",
    [
        {"format": 2},
        {"names": []},
        {"names": ["a", "b"]},
        {"names": [1]},
        {"names": "ü.jpg"},
        {"facts": ""},
        {"facts": "!"},
        {"facts": "AAAA"},
        {"digests": "x" * 64},
        {"digests": digest("a").upper()},
        {"digests": digest("a") * 2},
        {"digests": None},
        {"folder": 3},
        {"more": 1},
    ],
    ids=str,
)
def test_an_odd_line_with_a_valid_seal_is_no_line(odd: dict[str, Any], log: Path, file: str) -> None:
    remember(log, file)
    (line,) = lines_of(log)
    log.write_bytes(seal({**line, **odd}) + seal(line))
    known = FileDigests(log)
    assert known.get(file) == digest("a")
    log.write_bytes(seal({**line, **odd}))
    assert FileDigests(log).get(file) is None


@pytest.mark.parametrize("content", [b"", b"\n\n", b"[]\n", b"\xff" * 100, b"{" * 100_000, seal({"a": 1})])
def test_a_broken_file_is_an_empty_one(content: bytes, log: Path, file: str) -> None:
    log.write_bytes(content)
    assert FileDigests(log).get(file) is None
    assert remember(log, file).get(file) == digest("a")
    assert FileDigests(log).get(file) == digest("a")


def test_what_is_out_of_date_is_rewritten_at_some_time(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_SPARE", 4)
    files = [write(tmp_path / f"{number}.jpg") for number in range(3)]
    sizes = []
    for turn in range(8):
        remember(log, *files, sha256=digest(turn))
        sizes.append(len(lines_of(log)))
    assert max(sizes) <= 4
    assert {FileDigests(log).get(path) for path in files} == {digest(7)}


def test_a_file_that_others_may_write_to_is_not_used_and_replaced(log: Path, file: str) -> None:
    remember(log, file)
    log.chmod(0o664)
    said: list[str] = []
    known = FileDigests(log, warn=said.append)
    assert known.get(file) is None
    assert said == [f"memo: {log} can be changed by other users: it is not used, and files are hashed anew"]
    known.put(file, fingerprint(file), digest("b"))
    known.save()
    assert log.stat().st_mode & 0o777 == 0o600
    assert FileDigests(log).get(file) == digest("b")


def test_the_file_of_another_user_stays(log: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(log, file)
    before, said = log.read_bytes(), list[str]()
    monkeypatch.setattr("probeline.files.fingerprint.os.geteuid", lambda: 4242)
    known = FileDigests(log, warn=said.append)
    assert known.get(file) is None
    assert said == [f"memo: {log} belongs to another user and is not used; yours is hashes-4242.jsonl"]
    known.put(file, fingerprint(file), digest("a"))
    known.save()
    assert log.read_bytes() == before
    assert log.with_name("hashes-4242.jsonl").exists()


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_nothing_is_added_to_what_is_no_file(kind: str, log: Path, file: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"somebody's")
    known = FileDigests(log)
    known.put(file, fingerprint(file), digest("a"))
    os.mkfifo(log) if kind == "pipe" else log.symlink_to(target)
    known.save()
    assert target.read_bytes() == b"somebody's"
    assert known.get(file) == digest("a")


def test_a_read_only_memo_writes_nothing(log: Path, file: str) -> None:
    known = FileDigests(log, read_only=True)
    known.put(file, fingerprint(file), digest("a"))
    known.save()
    assert known.get(file) == digest("a")
    assert not log.exists()


def test_dropping_forgets_all(log: Path, file: str) -> None:
    known = remember(log, file)
    known.drop()
    assert known.get(file) is None
    assert not log.exists()


def test_threads_may_remember_while_others_save(log: Path, tmp_path: Path) -> None:
    files = [write(tmp_path / "many" / f"{number}.jpg") for number in range(400)]
    known = FileDigests(log)

    def work(some: list[str]) -> None:
        for path in some:
            known.put(path, fingerprint(path), digest(path))
            known.save()

    threads = [threading.Thread(target=work, args=(files[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = FileDigests(log)
    assert all(again.get(path) == digest(path) for path in files)


def test_an_interrupted_first_pass_keeps_what_it_has_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [Path(write(tmp_path / "pictures" / f"{number:02}.jpg", b"%d" % number)) for number in range(60)]
    monkeypatch.setattr(digests, "_SECONDS", 0)
    request = LoadRequest(tmp_path, Subset(), Memo(tmp_path / "memo.json"), Silence())
    reading = folder.read_leased

    def interrupted(path: Path, lease: Any) -> bytes:
        if path == files[50]:
            raise KeyboardInterrupt
        return reading(path, lease)

    monkeypatch.setattr(folder, "read_leased", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folder.hash_files(files, request)
    again = FileDigests(tmp_path / "memo-hashes.jsonl")
    kept = [again.get(str(path)) for path in files]
    # Those after the interrupted one may have been hashed by other threads, and were not waited for.
    assert kept[:50] == [digest_bytes(b"%d" % number) for number in range(50)]


def test_a_folder_of_many_files_is_remembered_whole(log: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digests of a few thousand files are a longer text than a record may have."""
    facts = fingerprint(file)
    monkeypatch.setattr(digests, "fingerprint", lambda path: facts)
    names = [f"/data/photos/{number}.jpg" for number in range(5000)]
    known = FileDigests(log)
    for name in names:
        known.put(name, facts, digest(name))
    known.save()
    again = FileDigests(log)
    assert [again.get(name) for name in names] == [digest(name) for name in names]


@pytest.mark.parametrize("here", ["", "a/of a"], ids=["classes", "no classes"])
@pytest.mark.parametrize("root", [".", "./", "absolute", "up and down"])
def test_hashes_are_found_however_the_folder_is_named(
    root: str, here: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = tmp_path / "pictures"
    for name in ("a", "b"):
        for number in range(3):
            write(pictures / name / f"of {name}" / f"{number}.jpg", b"%d" % number)
    place = pictures / here
    monkeypatch.chdir(place)
    spec = {"absolute": str(place), "up and down": f"../{place.name}"}.get(root, root)
    request = LoadRequest(tmp_path, Subset(), Memo(tmp_path / "memo.json"), Silence())
    content = folder.load(spec, request).parts["all"].content
    request.memo.save()
    again = LoadRequest(tmp_path, Subset(), Memo(tmp_path / "memo.json"), Silence())
    monkeypatch.setattr(folder, "_hash_file", lambda request, path: pytest.fail(f"{path} is hashed again"))
    assert folder.load(spec, again).parts["all"].content == content


@pytest.mark.parametrize(("seconds", "most"), [(0.0, 1), (0.001, 16)])
def test_look_ups_wait_for_a_slow_disk_in_many_threads(
    seconds: float, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [Path(write(tmp_path / "pictures" / f"{number:02}.jpg", b"%d" % number)) for number in range(80)]
    request = LoadRequest(tmp_path, Subset(), Memo(tmp_path / "memo.json"), Silence())
    content = folder.hash_files(files, request)
    monkeypatch.setattr(folder, "_TRIED", 10)
    getting, threads = request.memo.digests.get, set[int]()

    def slow(path: str) -> str | None:
        time.sleep(seconds)
        threads.add(threading.get_ident())
        return getting(path)

    monkeypatch.setattr(request.memo.digests, "get", slow)
    monkeypatch.setattr(folder, "_hash_file", lambda request, path: pytest.fail(f"{path} is hashed again"))
    assert folder.hash_files(files, request) == content
    assert (len(threads) == 1) == (most == 1)


def test_a_disk_that_refuses_is_no_error(log: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CannotWrite("cannot write", where=log)

    monkeypatch.setattr(digests.disk, "append", refuse)
    assert remember(log, file).get(file) == digest("a")
