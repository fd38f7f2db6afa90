"""The cache verb: what is there, and nothing removed without a yes."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probeline.cache.locks import ShardLocks
from probeline.cache.reading import entry_folders, missing_shards, open_entry, read_features
from probeline.cli import program as cli
from probeline.commands import cache as verb
from probeline.errors import BadOption, CannotWrite, MissingData, UnknownName
from probeline.identity import TOKENS_FORMAT_VERSION, digest, seal
from probeline.session import Session
from small_runs import Listening, configuration, extracted, shards, small_shards

pytestmark = pytest.mark.usefixtures("one_thread", "small_shards")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A cache with two entries: 60 digits in four shards, 30 in two."""
    cache = tmp_path_factory.mktemp("made") / "cache"
    with small_shards():
        extracted(cache)
        extracted(cache, limit=30)
    return cache


@pytest.fixture
def cache(made: Path, tmp_path: Path) -> Path:
    """A copy of `made` that a test may change."""
    shutil.copytree(made, tmp_path / "cache")
    return tmp_path / "cache"


class Asked(Listening):
    """A console whose user gives one answer."""

    def __init__(self, answer: bool | Callable[[], object] | None) -> None:
        super().__init__()
        self.answer = answer

    def confirm(self, question: str) -> bool | None:
        self.said.append(question)
        if callable(self.answer):  # what happens while the user thinks, who then says yes
            self.answer()
            return True
        return self.answer


def do(
    cache: Path, *words: str, answer: bool | Callable[[], object] | None = None, **options: Any
) -> tuple[dict[str, Any], list[str]]:
    console = Asked(answer)
    return verb.run(Session(configuration(cache, console=console, words=words, **options))), console.said


def keys(cache: Path) -> list[str]:
    return sorted(open_entry(folder).key for folder in entry_folders(cache))


def test_ls_tells_what_is_there(cache: Path) -> None:
    found, said = do(cache, "ls")
    assert [(entry["rows"], entry["shards"]) for entry in found["entries"]] == [(30, 2), (60, 4)]
    assert sorted(entry["key"] for entry in found["entries"]) == keys(cache)
    for entry, line in zip(found["entries"], said, strict=False):
        assert entry["bytes"] == sum(path.stat().st_size for path in Path(entry["folder"]).iterdir())
        assert line.startswith(entry["key"][:12])
        assert "squeezenet1_1" in line
        assert "old" in line
    assert "2 entries" in said[-1]


def test_ls_names_what_is_damaged_and_half_done(cache: Path) -> None:
    one, other = entry_folders(cache)
    (one / "entry.json").write_bytes(b"{}")
    for suffix in (".h5", ".json"):
        (other / f"shard-00002{suffix}").unlink()
    found, said = do(cache, "ls")
    assert "corrupt: run probeline verify" in said[0]
    assert "3 of 4 shards" in said[1]
    assert found["entries"][0]["key"] is None


@pytest.mark.parametrize("fault", ["no record of a shard's", "no shard", "no record of its own"])
def test_ls_finds_damage_without_reading_a_shard(fault: str, cache: Path) -> None:
    folder = list(entry_folders(cache))[1]
    if fault == "no record of a shard's":
        (folder / "shard-00001.json").write_bytes(b"{}")
    else:
        (folder / ("shard-00001.h5" if fault == "no shard" else "entry.json")).unlink()
    found, said = do(cache, "ls")
    assert [entry["damaged"] for entry in found["entries"]] == [False, True]
    assert ["corrupt" in line for line in said] == [False, True, False]


def test_ls_beside_a_writer(cache: Path) -> None:
    folder = next(iter(entry_folders(cache)))
    (folder / "shard-00000.h5.1-abcdef01.tmp").symlink_to("gone")  # as a file is that goes between name and size
    assert len(do(cache, "ls")[0]["entries"]) == 2


def test_an_empty_cache(tmp_path: Path) -> None:
    assert do(tmp_path / "none", "ls")[0]["entries"] == []
    assert do(tmp_path / "none", "gc")[0] == {"files": 0, "bytes": 0}
    with pytest.raises(MissingData):
        do(tmp_path / "none", "rm", "abcdef123456")


@pytest.mark.parametrize("answer", [None, False])
def test_nothing_is_removed_without_a_yes(answer: bool | None, cache: Path) -> None:
    before = shards(cache)
    if answer is None:
        with pytest.raises(BadOption, match=r"without a yes.*--yes"):
            do(cache, "rm", keys(cache)[0])
    else:
        assert do(cache, "rm", keys(cache)[0], answer=answer)[0] == {"files": 0, "bytes": 0}
    assert shards(cache) == before


@pytest.mark.parametrize("asked", [True, False])
def test_rm_removes_the_entry_and_no_other(asked: bool, cache: Path) -> None:
    gone, kept = list(entry_folders(cache))
    stranger = gone / "notes.txt"
    stranger.write_text("mine", encoding="utf-8")
    files = [path for path in gone.iterdir() if path != stranger]
    size = sum(path.stat().st_size for path in files)
    options: dict[str, Any] = {"answer": True} if asked else {"yes": True}
    found, said = do(cache, "rm", gone.name[-12:], **options)
    assert found == {"files": len(files), "bytes": size}
    assert ("remove 1 entry for good?" in said) is asked
    assert list(gone.iterdir()) == [stranger], "what is not the cache's own stays"
    assert list(entry_folders(cache)) == [kept]


def test_rm_takes_empty_folders_along(cache: Path) -> None:
    gone = next(iter(entry_folders(cache)))
    do(cache, "rm", str(gone), yes=True)
    assert not gone.parent.parent.exists()
    assert cache.exists()


def test_rm_leaves_the_cache_itself(cache: Path) -> None:
    (cache / ".memo.json").unlink(missing_ok=True)
    do(cache, "rm", *keys(cache), yes=True)
    assert [path.name for path in cache.iterdir()] == ["CACHEDIR.TAG"]
    assert do(cache, "gc")[0]["files"] == 0, "it still is a cache"


def test_rm_removes_what_is_damaged(cache: Path) -> None:
    gone, kept = entry_folders(cache)
    (gone / "entry.json").write_bytes(b"{}")
    do(cache, "rm", gone.name[-12:], yes=True)
    assert not gone.exists()
    assert list(entry_folders(cache)) == [kept]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_rm_does_not_follow_links_out_of_the_cache(level: int, cache: Path, tmp_path: Path) -> None:
    entry = next(iter(entry_folders(cache)))
    before = shards(cache)
    parts = entry.relative_to(cache).parts[:level]
    link = tmp_path / "links" / Path(*parts)
    link.parent.mkdir(parents=True)
    link.symlink_to(cache / Path(*parts))
    for name in (entry.name[-12:], str(entry), str(cache), str(tmp_path)):
        with pytest.raises(BadOption, match="not the folder of an entry in this cache"):
            do(tmp_path / "links", "rm", name, yes=True)
    assert shards(cache) == before


def test_rm_waits_for_no_writer(cache: Path) -> None:
    entry = open_entry(next(iter(entry_folders(cache))))
    (entry.folder / "shard-00001.json").unlink()
    before = shards(cache)
    with ShardLocks(entry, [1]) as locks:
        assert list(locks.lock_all()) == [1]
        with pytest.raises(BadOption, match="this entry is being processed by another process"):
            do(cache, "rm", entry.key, yes=True)
        assert shards(cache) == before
    do(cache, "rm", entry.key, yes=True)
    assert not entry.folder.exists()


def test_an_rm_that_dies_leaves_a_smaller_entry(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = open_entry(list(entry_folders(cache))[1])
    files = len(list(entry.folder.iterdir()))
    unlink = os.unlink
    calls = 0

    def dying(name: str, *, dir_fd: int) -> None:
        nonlocal calls
        unlink(name, dir_fd=dir_fd)
        calls += 1
        raise OSError("the machine dies here")

    monkeypatch.setattr(os, "unlink", dying)
    while entry.folder.exists() and calls < files:
        with pytest.raises(CannotWrite):
            do(cache, "rm", str(entry.folder), yes=True)
        stock = do(cache, "ls")[0]["entries"]
        assert not any(found["damaged"] for found in stock), f"after {calls} files"
    assert calls == files


def old(path: Path, seconds: float = 2 * 86_400) -> Path:
    path.touch()
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def test_gc_removes_what_nobody_needs_and_nothing_else(cache: Path) -> None:
    folder = next(iter(entry_folders(cache)))
    before = shards(cache)
    dead = 2**22 + 1  # above the largest number of a process
    gone = [
        old(folder / f"shard-00000.h5.{dead}-abcdef01.tmp"),
        old(folder / f"shard-00000.h5.{os.getpid()}-abcdef02.tmp"),
        old(folder / "shard-00001.h5.bad"),
        old(folder / "shard-00001.lock"),
        old(folder / "shard-00002.h5"),
    ]
    kept = [
        old(folder / f"shard-00000.h5.{os.getpid()}-abcdef03.tmp", 60),
        old(folder / "shard-00003.lock"),
        old(folder / "shard-00003.h5"),
        old(folder / "notes.bad.txt"),
        cache / ".memo.json",
    ]
    outside = cache.parent / "outside.h5.bad"
    outside.touch()
    (folder / "shard-00007.h5.bad").symlink_to(outside)
    held = os.open(kept[1], os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        assert do(cache, "gc", answer=False)[0]["files"] == 0
        found, said = do(cache, "gc", answer=True)
    finally:
        os.close(held)
    assert found["files"] == len(gone)
    assert "remove 5 leftovers?" in said
    assert not [path for path in gone if path.exists()]
    assert all(path.exists() for path in (*kept, outside))
    left = shards(cache)
    left.pop(str(kept[2].relative_to(cache)))
    assert left == before


@pytest.mark.parametrize("action", ["rm", "gc"])
def test_a_dry_run_counts_and_removes_nothing(action: str, cache: Path) -> None:
    folder = next(iter(entry_folders(cache)))
    leftover = old(folder / "shard-00001.h5.bad")
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    words = ("gc",) if action == "gc" else ("rm", str(folder))
    found, said = do(cache, *words, dry_run=True)
    files = [leftover] if action == "gc" else list(folder.iterdir())
    assert found == {"dry_run": True, "files": len(files), "bytes": sum(path.stat().st_size for path in files)}
    assert str(leftover if action == "gc" else folder) in said[0]
    assert said[-1].startswith(f"dry run: {len(files)} file")
    assert {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()} == before


def test_gc_asks_again_what_is_idle_after_the_yes(cache: Path) -> None:
    folder = list(entry_folders(cache))[1]
    record, aside = folder / "shard-00002.json", cache.parent / "record"
    record.rename(aside)
    old(folder / "shard-00002.h5")
    gone = old(folder / f"shard-00000.h5.{2**22 + 1}-abcdef01.tmp")

    def meanwhile() -> None:
        aside.rename(record)  # another process finishes the shard
        gone.unlink()

    assert do(cache, "gc", answer=meanwhile)[0] == {"files": 0, "bytes": 0}
    assert missing_shards(open_entry(folder)) == []
    assert len(read_features(open_entry(folder)).features) == 60


def test_gc_leaves_young_files_to_writers_on_other_machines(cache: Path) -> None:
    folder = next(iter(entry_folders(cache)))
    kept = [folder / f"shard-00000.h5.{2**22 + 1}-abcdef01.tmp", folder / "shard-00002.h5", cache / "new"]
    kept[0].touch()
    kept[1].touch()
    kept[2].mkdir()
    unknown = old(folder / f"shard-00000.h5.{'9' * 30}-abcdef01.tmp")
    assert do(cache, "gc", yes=True)[0]["files"] == 0
    assert all(path.exists() for path in (*kept, unknown))


def test_gc_removes_empty_folders(cache: Path) -> None:
    before = shards(cache)
    inner = cache / "digits-limit7" / "tiny-penultimate" / "all-0123456789ab"
    inner.mkdir(parents=True)
    old(inner)
    assert do(cache, "gc", yes=True)[0]["files"] == 1
    assert not inner.parents[1].exists()
    assert shards(cache) == before


def git(*arguments: str, where: Path) -> str:
    identity = ("-c", "user.email=a@example.org", "-c", "user.name=a")
    return subprocess.run(["git", *identity, *arguments], cwd=where, check=True, capture_output=True, text=True).stdout


def packed_repository(folder: Path) -> Path:
    """Make a repository whose refs are packed: all its folders for refs are empty and old."""
    folder.mkdir(exist_ok=True)
    git("init", "-q", ".", where=folder)
    git("commit", "-q", "--allow-empty", "-m", "x", where=folder)
    git("pack-refs", "--all", where=folder)
    for path in folder.rglob("*"):
        if path.is_dir():
            old(path)
    return folder


def test_gc_refuses_a_folder_that_is_no_cache(tmp_path: Path) -> None:
    repository = packed_repository(tmp_path / "repository")
    before = sorted(repository.rglob("*"))
    with pytest.raises(BadOption, match=r"not a cache of Probeline.*1 other item: \.git\); name the cache"):
        do(repository, "gc", yes=True)
    assert sorted(repository.rglob("*")) == before
    assert "nothing to commit" in git("status", where=repository)


def everything(folder: Path) -> dict[str, bytes | str]:
    """Return the bytes of every file, and where every link leads to, without following any."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = "folder" if path.is_dir() else path.read_bytes()
    return found


DEAD = f"shard-00000.h5.{2**22 + 1}-abcdef01.tmp"


def put(cache: Path, name: str) -> Path:
    """Put something old into a cache that has no place in it."""
    if name == ".git":
        packed_repository(cache)
        return cache / ".git"
    path = cache / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return old(path)


@pytest.mark.parametrize("action", ["gc", "rm"])
@pytest.mark.parametrize(
    "name",
    [
        ".git",
        "thesis.tex",
        DEAD,
        "photos/2024/one.jpg",
        f"photos/{DEAD}",
        "photos/2024/shard-00000.h5.bad",
        "photos/2024/all-0123456789abc/one.jpg",
        "CACHEDIR.TAG",
        ".cache/a/all-0123456789ab/shard-00000.h5.bad",
    ],
)
def test_a_cache_that_holds_other_things_is_refused(name: str, action: str, cache: Path) -> None:
    entry = list(entry_folders(cache))[1]
    leftover = old(entry / "shard-00001.h5.bad")
    if name == "CACHEDIR.TAG":
        (cache / name).write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55\n# of another program\n")
    else:
        put(cache, name)
    before = everything(cache)
    shown = name.removesuffix("/one.jpg") if "abc/" in name else ".cache" if name.startswith(".cache") else name
    with pytest.raises(BadOption, match=rf"nothing was changed.*1 other item: {re.escape(shown)}\); ") as caught:
        do(cache, *(("gc",) if action == "gc" else ("rm", str(entry))), yes=True)
    assert "\n" not in str(caught.value)
    assert ("move what is yours elsewhere" in str(caught.value)) is (name != "CACHEDIR.TAG")
    assert everything(cache) == before
    assert leftover.exists()


@pytest.mark.parametrize("place", ["/", "home", "working folder", "empty folders", "a file"])
def test_places_that_are_no_cache_are_refused(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = packed_repository(tmp_path / "repository")
    monkeypatch.chdir(repository)
    folders = {
        "/": Path("/"),
        "home": Path.home(),
        "working folder": Path(),
        "empty folders": repository / ".git" / "refs",
    }
    before = everything(repository)
    (tmp_path / "file").touch()
    if place == "a file":
        assert do(tmp_path / "file", "gc", yes=True)[0]["files"] == 0
    else:
        with pytest.raises(BadOption, match="not a cache of Probeline: nothing was changed"):
            do(folders[place], "gc", yes=True)
    assert everything(repository) == before


def test_gc_leaves_alone_what_has_no_name_of_the_cache_or_lies_behind_a_link(cache: Path) -> None:
    folder, other = entry_folders(cache)
    elsewhere = cache.parent / "elsewhere" / "net-tap" / "all-0123456789ab"
    elsewhere.mkdir(parents=True)
    (cache / "linked").symlink_to(cache.parent / "elsewhere")
    (folder / "all-0123456789ab").mkdir()
    (cache / "photos" / "new").mkdir(parents=True)
    for name in (DEAD, "shard-00001.h5.bad", "shard-00007.h5"):
        old(elsewhere / name)
        old(folder / "all-0123456789ab" / name)
    names = (f"thesis.{2**22 + 1}-abcdef01.tmp", "thesis.bad", "notes.h5", "my.lock", "README.md")
    for path in (folder / name for name in names):
        old(path)
    (other / "shard-00009.h5").symlink_to(cache.parent / "elsewhere" / "gone")
    for path in (cache.parent / "elsewhere").rglob("*"):
        os.utime(path, (1, 1))
    before, outside = everything(cache), everything(cache.parent / "elsewhere")
    found, said = do(cache, "gc", yes=True)
    assert found["files"] == 0
    assert "left in place, as not the cache's: 7 items: " in said[0]
    assert (everything(cache), everything(cache.parent / "elsewhere")) == (before, outside)


def test_rm_removes_a_link_and_never_what_it_leads_to(cache: Path, tmp_path: Path) -> None:
    entry = list(entry_folders(cache))[1]
    outside = tmp_path / "mine.h5"
    outside.write_bytes(b"mine")
    (entry / "shard-00001.h5").unlink()
    (entry / "shard-00001.h5").symlink_to(outside)
    (entry / "shard-00002.h5.bad").symlink_to(tmp_path)
    do(cache, "rm", str(entry), yes=True)
    assert not entry.exists()
    assert outside.read_bytes() == b"mine"


def test_rm_goes_by_the_folder_and_not_by_what_a_forged_record_says(cache: Path, tmp_path: Path) -> None:
    forged, kept = entry_folders(cache)
    record = open_entry(forged).listed_record()
    inputs = {**record["inputs"], "backbone": "../../../../outside"}
    key = digest(inputs)
    victim = tmp_path / "outside"
    victim.mkdir()
    (victim / "shard-00000.h5").touch()
    target = forged.with_name(f"all-{key[:12]}")
    forged.rename(target)
    (target / "entry.json").write_bytes(seal({**record, "inputs": inputs, "dataset": "../..", "key": key}))
    do(cache, "rm", target.name[-12:], yes=True)
    assert not target.exists()
    assert (victim / "shard-00000.h5").exists()
    assert list(entry_folders(cache)) == [kept]


def test_rm_refuses_a_folder_of_checkpoints(cache: Path) -> None:
    folder = cache / "digits-limit60" / "net-finetune" / "seed0-0123456789ab"
    folder.mkdir(parents=True)
    for name in ("best.json", "best.safetensors"):
        (folder / name).touch()
    with pytest.raises(BadOption, match="not the folder of an entry"):
        do(cache, "rm", str(folder), yes=True)
    assert len(list(folder.iterdir())) == 2


def test_a_link_that_appears_while_the_user_thinks_is_not_followed(cache: Path, tmp_path: Path) -> None:
    folder = next(iter(entry_folders(cache)))
    old(folder / "shard-00001.h5.bad")

    def meanwhile() -> None:
        folder.parent.rename(tmp_path / "moved")
        folder.parent.symlink_to(tmp_path / "moved")

    with pytest.raises(CannotWrite, match=r"shard-00001\.h5\.bad"):
        do(cache, "gc", answer=meanwhile)
    assert (tmp_path / "moved" / folder.name / "shard-00001.h5.bad").exists()


def test_a_cache_of_an_earlier_version_is_taken_over(cache: Path) -> None:
    (cache / "CACHEDIR.TAG").unlink()
    (cache / "digits-limit60" / ".DS_Store").touch()
    leftover = old(next(iter(entry_folders(cache))) / "shard-00001.h5.bad")
    assert do(cache, "gc", dry_run=True)[0]["files"] == 1
    assert not (cache / "CACHEDIR.TAG").exists()
    assert do(cache, "gc", yes=True)[0]["files"] == 1
    assert not leftover.exists()
    do(cache, "rm", *keys(cache), yes=True)
    assert do(cache, "gc")[0]["files"] == 0, "without its entries it still is a cache"


def test_a_folder_without_the_marker_and_a_readable_entry_is_refused(cache: Path) -> None:
    (cache / "CACHEDIR.TAG").unlink()
    for folder in entry_folders(cache):
        (folder / "entry.json").write_bytes(b"{}")
        old(folder / "shard-00001.h5.bad")
    before = everything(cache)
    for words in (("gc",), ("rm", str(next(iter(entry_folders(cache)))))):
        with pytest.raises(BadOption, match=r"expected its CACHEDIR\.TAG, or an entry whose record can be read"):
            do(cache, *words, yes=True)
    assert everything(cache) == before


def test_gc_goes_by_the_age_of_a_leftover_whatever_its_date_says(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = next(iter(entry_folders(cache)))
    future = old(folder / DEAD, -400 * 86_400)
    assert do(cache, "gc", yes=True)[0]["files"] == 0, "it was written a moment ago"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 120)
    assert do(cache, "gc", yes=True)[0]["files"] == 1
    assert not future.exists()
    ahead = folder / DEAD
    for seconds, files in ((-7200, 0), (-3 * 86_400, 1)):
        # The clock was ahead when it was written.
        ahead.touch()
        monkeypatch.setattr(time, "time", lambda seconds=seconds: now + seconds)
        assert do(cache, "gc", yes=True)[0]["files"] == files


def test_gc_and_ls_leave_the_entry_of_a_newer_version_alone(cache: Path) -> None:
    folder = list(entry_folders(cache))[1]
    record = open_entry(folder).listed_record()
    (folder / "entry.json").write_bytes(seal({**record, "format": TOKENS_FORMAT_VERSION + 1}))
    for name in (DEAD, "shard-00001.h5.bad", "shard-00007.h5"):
        old(folder / name)
    before = everything(cache)
    assert do(cache, "gc", yes=True)[0]["files"] == 0
    assert everything(cache) == before
    found, said = do(cache, "ls")
    assert "written by a newer version of Probeline" in said[1]
    assert not any("corrupt" in line for line in said)
    assert [(entry["damaged"], entry["newer"]) for entry in found["entries"]] == [(False, False), (False, True)]


def test_export_and_import(cache: Path, tmp_path: Path) -> None:
    entry = open_entry(list(entry_folders(cache))[1])
    sent, said = do(cache, "export", entry.key[:8], str(tmp_path / "entry.h5"))
    assert said[0].endswith(sent["sha256"])
    assert f"--sha256 {sent['sha256']}" in said[1]
    found, said = do(tmp_path / "other", "import", str(tmp_path / "entry.h5"), sha256=sent["sha256"])
    assert (found["key"], found["new_shards"]) == (entry.key, 4)
    theirs = {name: data for name, data in shards(cache).items() if str(entry.folder.relative_to(cache)) in name}
    assert shards(tmp_path / "other") == theirs
    assert "already in the cache" in do(tmp_path / "other", "import", str(tmp_path / "entry.h5"))[1][0]
    extracted(tmp_path / "other")  # as good as extracted here
    assert shards(tmp_path / "other") == theirs


@pytest.mark.parametrize("words", [("rm",), ("ls", "x"), ("export", "abcdef"), ("import",), ("gc", "now")])
def test_bad_arguments_are_told_the_usage(words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=f"expected probeline cache {words[0]}"):
        do(tmp_path / "cache", *words)


def test_unknown_actions_and_entries(cache: Path) -> None:
    with pytest.raises(UnknownName, match="one of: ls, rm, gc, export, import, upgrade"):
        do(cache, "drop")
    with pytest.raises(UnknownName, match="unknown key"):
        do(cache, "rm", "0123456789ab", yes=True)


def test_the_command_line_reaches_it(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cache", "ls", f"--cache={cache}"]) == 0
    assert "2 entries" in capsys.readouterr().out
    assert cli.main(["cache", "rm", keys(cache)[0], f"--cache={cache}"]) == 2
    assert "nothing is removed without a yes" in capsys.readouterr().err
    assert cli.main(["cache", "rm", keys(cache)[0], "--yes", f"--cache={cache}"]) == 0
    assert len(keys(cache)) == 1
