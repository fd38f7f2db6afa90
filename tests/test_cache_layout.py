"""What belongs to a cache, by place and name, and where its marker is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conftest import make_part
from probeline.cache.entry import locate_entry
from probeline.cache.format.layout import MARKER, MARKER_TEXT, is_marked, is_own, look_into, mark
from probeline.cache.writing import write_entry
from probeline.types import Backbone

ENTRY = "digits/net-penultimate/all-0123456789ab"


@pytest.mark.parametrize(
    "name",
    [
        *("entry.json", "shard-00000.h5", "shard-123456.json", "shard-00000.lock", "best.json", "last.safetensors"),
        *("last.next.json", "entry.json.bad", "shard-00000.h5.2.bad", "last.next.safetensors.bad"),
        *("shard-00000.h5.1-abcdef01.tmp", "best.next.json.123456789-00000000.tmp"),
    ],
)
def test_names_of_its_own(name: str) -> None:
    assert is_own(name)


@pytest.mark.parametrize(
    "name",
    [
        *("Entry.json", "entry.json.bak", "shard-0000.h5", "shard-00000.h5.old", "worst.json", "x.bad", "a.lock"),
        *(
            "thesis.1-abcdef01.tmp",
            "shard-00000.h5.tmp",
            "shard-00000.h5.1-abcdef0.tmp",
            "shard-00000.h5.1-ABCDEF01.tmp",
        ),
        *("shard-00000.lock.bad", "shard-00000.h5.bad.bad", "entry.json\n", ".memo.json", MARKER, ""),
    ],
)
def test_names_of_others(name: str) -> None:
    assert not is_own(name)


def make(cache: Path, *names: str) -> Path:
    for name in (f"{ENTRY}/entry.json", *names):
        path = cache / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        else:
            path.touch()
    return cache


def test_a_cache_and_nothing_else(tmp_path: Path) -> None:
    checkpoint = "digits/net-finetune/seed0-0123456789ab-lr0.1"
    cache = make(
        tmp_path / "cache",
        *(".memo.json", ".unreadable.json", ".memo.json.1-abcdef01.tmp", "README.md", ".gitignore", ".DS_Store"),
        *("digits/.DS_Store", f"{ENTRY}/notes.txt", f"{checkpoint}/best.json"),
    )
    (cache / "new" / "net-tap").mkdir(parents=True)  # another process is about to make an entry
    (cache / "lost+found").mkdir()
    mark(cache)
    found = look_into(cache)
    assert found.is_only_a_cache
    assert found.folders == (cache / checkpoint, cache / ENTRY)
    assert (cache / MARKER).read_bytes() == MARKER_TEXT


@pytest.mark.parametrize(
    "name",
    [
        *("notes.txt", ".git/HEAD", "a/b.txt", "a/b/c.txt", "a/b/c/d.txt", "a/.hidden/x", "a/b/.git/HEAD"),
        *(".memo.json/x", "shard-00000.h5.1-abcdef01.tmp", f"digits/{MARKER}", "entry.json", "a/b/all-0123456789abc/x"),
    ],
)
def test_other_things_are_found_and_get_no_marker(name: str, tmp_path: Path) -> None:
    cache = make(tmp_path / "cache", name)
    mark(cache)
    found = look_into(cache)
    assert len(found.others) == 1
    assert (cache / name).is_relative_to(found.others[0])
    assert found.folders == (cache / ENTRY,)
    assert not is_marked(cache)


def test_links_are_passed_over_and_pipes_are_not_opened(tmp_path: Path) -> None:
    cache, outside = make(tmp_path / "cache"), make(tmp_path / "outside")
    for name in ("linked", "digits/linked", "digits/net-penultimate/all-ba9876543210", ".memo.json"):
        (cache / name).symlink_to(outside)
    found = look_into(cache)
    assert len(found.passed_over) == 4
    assert found.folders == (cache / ENTRY,)
    mark(cache)
    assert not is_marked(cache)
    os.mkfifo(cache / MARKER)
    assert not is_marked(cache)
    assert look_into(cache).others == (cache / MARKER,)


def test_the_count_of_other_things_ends_somewhere(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / str(number)).touch()
    assert len(look_into(tmp_path, most_others=3).others) == 3


@pytest.mark.parametrize("text", [b"", b"Signature: 8a477f597d28d172789f06886806bc55\n# of another program\n"])
def test_a_marker_of_another_program_is_not_ones_own(text: bytes, tmp_path: Path) -> None:
    cache = make(tmp_path / "cache")
    (cache / MARKER).write_bytes(text)
    mark(cache)
    assert (cache / MARKER).read_bytes() == text
    assert not is_marked(cache)
    (cache / MARKER).unlink()
    (cache / MARKER).symlink_to(tmp_path / "mine")
    (tmp_path / "mine").write_bytes(MARKER_TEXT)
    assert not is_marked(cache)


@pytest.mark.parametrize("others", [(), ("thesis.tex",)])
def test_an_entry_is_written_anywhere_and_marks_only_a_cache(
    others: tuple[str, ...], backbone: Backbone, tmp_path: Path
) -> None:
    for name in others:
        (tmp_path / name).touch()
    write_entry(locate_entry(tmp_path, make_part(4), backbone, "fp32"))
    assert is_marked(tmp_path) is (not others)
