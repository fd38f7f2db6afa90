"""Folders of all kinds in which something is removed or repaired: what is not the cache's own is there afterwards."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from faults import producer
from faults.children import sweep
from faults.figures import Figures, summed
from probeline.cache import check
from probeline.cache.entry import Entry
from probeline.commands import cache as cache_verb
from probeline.commands import verify
from probeline.console import Silence
from probeline.errors import Mismatch, ProbelineError
from probeline.options.settings import Settings
from probeline.session import Session

SHARDS = 2
DEAD = 2**22 + 1
"""Above the largest number of a process."""

_DAY = 86_400
_MARKER = "CACHEDIR.TAG"

FOREIGN_NAMES = (
    *("notes.txt", "thesis.tex", "all.bad", "mine.lock", "Shard-00000.h5", "shard-0.h5", "shard-00000.h5.old"),
    *("entry.json.bak", "entry.JSON", "shard-00000.h5.bad.txt", f"thesis.{DEAD}-abcdef01.tmp", "best.pt", "x.tmp"),
    *("shard-00000.h5.tmp", f"shard-00000.h5.{DEAD}-abc.tmp", "seed0", "all-0123456789AB", "data.h5", ".hidden"),
)
"""Near the names of the cache's files, and none of them."""

LEFTOVERS = (
    *(f"shard-00000.h5.{DEAD}-abcdef01.tmp", f"entry.json.{DEAD}-0123abcd.tmp", "shard-00001.h5.bad"),
    *("shard-00000.json.2.bad", "entry.json.bad", "shard-00001.lock", "shard-00007.h5"),
)

ACTIONS = ("gc", "rm", "repair")
PLACES = (*("cache",) * 8, "its data set", "above")
"""What ``--cache`` names; mostly the cache itself."""


@dataclass(frozen=True)
class Trial:
    """One folder, made from a number, and what is done to it."""

    number: int
    action: str
    place: str


class Tree:
    """A folder with a cache, beside things of others, which are also within it."""

    def __init__(self, top: Path, rng: random.Random) -> None:
        self.top, self.rng = top, rng
        self.cache, self.outside = top / "cache", top / "outside"
        self.entries: list[Entry] = []
        self.foreign: list[Path] = []

    def make(self) -> None:
        """Make the whole tree; what is of others is listed in `foreign`."""
        self._make_outside()
        self.cache.mkdir()
        for number in range(self.rng.choice((0, 1, 1, 1, 2, 2))):
            self._make_entry(number)
        if self.rng.random() < 0.3:
            self._make_checkpoints()
        if self.rng.random() < 0.3:
            (self.cache / _MARKER).unlink(missing_ok=True)
        everywhere = [self.cache, self.cache / "photos", self.cache / "photos" / "2024"]
        inside = [entry.folder for entry in self.entries]
        everywhere += [*inside, *(folder.parent for folder in inside)]
        places = everywhere if not inside or self.rng.random() < 0.4 else inside
        for _ in range(self.rng.choice((0, 1, 2, 4))):
            self._put_foreign(self.rng.choice(places))
        if self.entries and self.rng.random() < 0.3:
            self._link_away()
        for path in (path for path in self.top.rglob("*") if not path.is_symlink()):
            age = self.rng.choice((0, 30, 7200, 3 * _DAY, 20_000 * _DAY, -7200, -400 * _DAY))
            os.utime(path, times=(path.stat().st_mtime - age,) * 2)

    def _make_outside(self) -> None:
        """Make a folder of somebody else that looks as much like a cache as it can."""
        entry = producer.make_entry(self.outside, SHARDS)
        producer.extract(entry)
        for name in (*LEFTOVERS, *FOREIGN_NAMES):
            (entry.folder / name).write_text(name)
        (self.outside / "empty" / "net-tap" / "all-0123456789ab").mkdir(parents=True)
        self.foreign += self.outside.rglob("*")

    def _make_entry(self, number: int) -> None:
        entry = producer.make_entry(self.cache, SHARDS + number)
        producer.extract(entry)
        for shard in range(len(entry.shards)):
            if self.rng.random() < 0.3:  # not extracted, or damaged
                entry.record_path(shard).unlink()
                entry.shard_path(shard).unlink()
            elif self.rng.random() < 0.2:
                entry.shard_path(shard).write_bytes(b"damage")
        for name in self.rng.sample(LEFTOVERS, self.rng.randrange(4)):
            if not (entry.folder / name).exists():
                (entry.folder / name).write_bytes(b"left")
        if self.rng.random() < 0.1:
            (entry.folder / "entry.json").write_bytes(b"{}")
        self.entries.append(entry)

    def _make_checkpoints(self) -> None:
        folder = (
            self.cache / "made" / "made-finetune" / self.rng.choice(("seed0-0123456789ab", "seed1-ab0123456789-lr0.1"))
        )
        folder.mkdir(parents=True)
        for name in self.rng.sample(("best.json", "best.safetensors", "last.next.json", "last.json.bad"), 2):
            (folder / name).write_bytes(b"damage")

    def _put_foreign(self, where: Path) -> None:
        """Put something of somebody else into a folder of the cache."""
        path = where / self.rng.choice(FOREIGN_NAMES)
        if where not in {entry.folder for entry in self.entries} and self.rng.random() < 0.3:
            path = where / self.rng.choice(LEFTOVERS)  # the right name in a wrong place
        if os.path.lexists(path):
            return
        above = [folder for folder in path.parents if self.cache in folder.parents and not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rng.choice((_put_file, _put_file, _put_folder, _put_empty, _put_repository, self._put_link))(path)
        self.foreign += [*above, path, *([] if path.is_symlink() else path.rglob("*"))]

    def _put_link(self, path: Path) -> None:
        path.symlink_to(self.rng.choice((self.outside, self.top / "nowhere", next(self.outside.rglob("*.h5")))))

    def _link_away(self) -> None:
        """Put a link to somebody's file or folder in the place of one of an entry's, or of a folder above it."""
        entry = self.rng.choice(self.entries)
        if self.rng.random() < 0.5:
            path = entry.folder / self.rng.choice(("shard-00000.h5", "shard-00001.h5.bad", "shard-00005.h5"))
            path.unlink(missing_ok=True)
            path.symlink_to(next(self.outside.rglob("shard-00000.h5")))
            return
        level = self.rng.choice((1, 2, 3))
        link = self.cache / Path(*entry.folder.relative_to(self.cache).parts[:level])
        away = self.top / f"away{level}"
        link.rename(away)
        link.symlink_to(away)
        self.foreign = [path for path in self.foreign if link not in path.parents]
        self.foreign += [link, away, *away.rglob("*")]
        self.entries = [entry for entry in self.entries if link not in (entry.folder, *entry.folder.parents)]


def _put_file(path: Path) -> None:
    path.write_text(f"mine: {path.name}")


def _put_empty(path: Path) -> None:
    path.mkdir()


def _put_folder(path: Path) -> None:
    for name in ("a/b/notes.txt", "shard-00000.h5.bad", "entry.json"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        _put_file(path / name)


def _put_repository(path: Path) -> None:
    """Make what a repository is whose refs are packed: it needs its empty folders."""
    for name in (".git/refs/heads", ".git/refs/tags", ".git/objects/pack"):
        (path / name).mkdir(parents=True)
    for name in (".git/HEAD", ".git/packed-refs", ".git/config"):
        _put_file(path / name)


def look(path: Path) -> object:
    """Return what an item is, without following a link; None if it is gone."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(mode):
        return str(path.readlink())
    return "folder" if stat.S_ISDIR(mode) else path.read_bytes()


def act(trial: Trial, tree: Tree) -> dict[str, Any]:
    """Do what a trial is about, as the command line would."""
    folder = {"cache": tree.cache, "above": tree.top, "its data set": tree.cache / "made"}[trial.place]
    options: dict[str, Any] = {"cache": folder, "console": Silence(), "yes": True}
    if trial.action == "gc":
        return cache_verb.run(Session(Settings.of(**options, words=("gc",))))
    if trial.action == "rm":
        entries = [entry.folder for entry in tree.entries] or [
            folder / "made" / "made-penultimate" / "all-0123456789ab"
        ]
        return cache_verb.run(Session(Settings.of(**options, words=("rm", str(tree.rng.choice(entries))))))
    expected = {entry.folder: (entry, producer.BACKBONE) for entry in tree.entries}

    def extract_again(_: Session, entry: Entry, __: object, found: check.EntryCheck) -> check.EntryCheck:
        check.set_aside_bad_files(found)
        producer.extract(entry)
        return check.check_entry(entry.folder, entry)

    with (
        mock.patch.object(verify, "expected_entries", return_value=(expected, [])),
        mock.patch.object(verify, "repair_entry", extract_again),
    ):
        return verify.run(Session(Settings.of(**options, repair=True, canary=0)))


def attempt(trial: Trial, place: Path, seed: int) -> str:
    """Make a tree and do what the trial is about; return what went wrong, or begin with what became of it."""
    top = place / f"trial-{trial.number}"
    top.mkdir()
    tree = Tree(top, random.Random(seed * 1_000_003 + trial.number))
    tree.make()
    before = {path: look(path) for path in tree.foreign}
    proven = {entry.folder: producer.proven(entry) for entry in tree.entries}
    count = sum(1 for _ in top.rglob("*"))
    try:
        act(trial, tree)
        outcome = "done"
    except ProbelineError as error:
        outcome = "done" if isinstance(error, Mismatch) else "refused"  # what nobody may repair is still corrupt
        if "\n" in str(error):
            return f"an error of several lines: {error}"
    except Exception as error:
        return f"an error of another kind: {error!r}"
    changed = [path for path, state in before.items() if look(path) != state]
    if changed:
        return f"{trial.action} of {trial.place} took {changed[0].relative_to(top)}"
    if trial.action != "rm":
        lost = [entry.folder.name for entry in tree.entries if not producer.proven(entry) >= proven[entry.folder]]
        if lost:
            return f"{trial.action} lost proven shards of {lost[0]}"
    gone = max(0, count - sum(1 for _ in top.rglob("*")))
    return f"{outcome} {gone} {len(before)}"


def run(count: int, seed: int) -> Figures:
    """Tidy up, remove and repair in so many random folders."""
    rng = random.Random(seed)
    trials = [Trial(number, rng.choice(ACTIONS), rng.choice(PLACES)) for number in range(count)]
    with producer.workplace() as place:

        def one(trial: Trial) -> str:
            try:
                return attempt(trial, place, seed)
            finally:
                shutil.rmtree(place / f"trial-{trial.number}", ignore_errors=True)

        results = sweep(trials, one, limit=60)
    held = [line.split() for line in results if line.startswith(("done", "refused"))]
    removed, foreign = (sum(int(words[column]) for words in held) for column in (1, 2))
    refused = sum(words[0] == "refused" for words in held)
    note = (
        "random folders of entries, checkpoints, leftovers, files and folders of others, links, repositories and odd "
        f"dates, in which gc, rm and verify --repair run; {foreign:,} items of others are as they were; {refused:,} "
        f"folders were refused, in the others {removed:,} items of the cache were removed"
    )
    complaint: Callable[[str], str] = lambda line: "" if line.startswith(("done", "refused")) else line  # noqa: E731
    return summed("Removing and repairing among other people's files", [complaint(line) for line in results], note)
