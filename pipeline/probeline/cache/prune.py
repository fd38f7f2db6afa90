"""The entries of a cache with their sizes, and its unused files: leftovers of writers that died and of repairs."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeline import disk
from probeline.cache import locks
from probeline.cache.entry import Entry
from probeline.cache.format.layout import CHECKPOINT_FILE, CHECKPOINT_NAME, TOP_WRITER, WRITER, is_own, mark
from probeline.cache.proof import prove_cache
from probeline.cache.reading import entry_folders, is_done, is_newer, open_entry
from probeline.cache.samples import FILE_NAME as SAMPLES
from probeline.console import Console
from probeline.errors import BadOption, NewerFormat, ProbelineError
from probeline.files.levels import folders_at
from probeline.format import age, few, megabytes, plural

_DAY = 86_400
_MOMENT = 60
"""Seconds for which a file may still be in use: its writer may be on another machine that shares the disk."""


@dataclass(frozen=True)
class CachedEntry:
    """An entry in a listing; `entry` is None if its record is corrupt or missing, or of a newer version.

    It is corrupt if a record is not valid or a recorded shard is missing; the shards are not read. `bytes` is the size
    of all files in the folder, `age` the seconds since the newest of them was written.
    """

    folder: Path
    entry: Entry | None
    shards: int
    is_corrupt: bool
    is_newer: bool
    bytes: int
    age: float

    def line(self, cache: Path) -> str:
        """Return the line that `ls` prints."""
        entry = self.entry
        title = str(self.folder.relative_to(cache))
        if entry:
            title = f"{entry.title}  {entry.shape_in_words}  {self.shards} of {len(entry.shards)} shards"
        state = "  corrupt: run probeline verify" if self.is_corrupt else ""
        if self.is_newer:
            state = "  written by a newer version of Probeline"
        return f"{self.folder.name[-12:]}  {title}{state}  {megabytes(self.bytes)}  {age(self.age)}"

    def summary(self) -> dict[str, Any]:
        """Return these fields as JSON values."""
        return {
            "folder": str(self.folder),
            "key": self.entry.key if self.entry else None,
            "rows": len(self.entry) if self.entry else None,
            "shards": self.shards,
            "damaged": self.is_corrupt,
            "newer": self.is_newer,
            "bytes": self.bytes,
            "age_seconds": self.age,
        }


@dataclass(frozen=True)
class Removable:
    """What may be removed from a cache, with its sizes in bytes, and what stays in it although it is not the cache's.

    Attributes
    ----------
    paths : dict of Path to int
    others : tuple of Path
        Links, folders that cannot be read, and items in the folders of entries without a name of the cache.
    """

    paths: dict[Path, int]
    others: tuple[Path, ...]

    def bytes_in(self, folder: Path) -> int:
        """Return the size of what may be removed from one folder."""
        return sum(size for path, size in self.paths.items() if path.parent == folder)


def list_entries(cache: Path) -> list[CachedEntry]:
    """Return the entries of a cache; no shard is read."""
    entries = []
    now = time.time()
    for folder in entry_folders(cache):
        if files := [status for status in _items(folder).values() if stat.S_ISREG(status.st_mode)]:
            size, newest = sum(file.st_size for file in files), max(file.st_mtime for file in files)
            entries.append(CachedEntry(folder, *_inspect(folder), size, now - newest))
    return entries


def checkpoint_bytes(cache: Path) -> int:
    """Return the size of all files in the folders of checkpoints."""
    folders = [path for path in folders_at(cache, 3) if CHECKPOINT_NAME.fullmatch(path.name)]
    statuses = [status for folder in folders for status in _items(folder).values()]
    return sum(status.st_size for status in statuses if stat.S_ISREG(status.st_mode))


def find_entries(folders: Sequence[Path], cache: Path) -> Removable:
    """Return the files of some entries of a cache, and what stays in their folders; see `entry_files`."""
    paths = {path: size for folder in folders for path, size in entry_files(folder, cache).items()}
    prove_cache(cache)
    return Removable(paths, tuple(other_items(folders)))


def entry_files(folder: Path, cache: Path) -> dict[Path, int]:
    """Return the files of an entry's folder that the format names or a writer left, with their sizes in bytes.

    They are in the order in which they may be removed, so that at any moment what is left is a smaller entry and no
    corrupt one: a shard's record before the shard, the entry's own record before its samples, both last. A link of such
    a name is one of them.
    The cache is given with its links resolved. BadOption is raised for a folder that is not an entry of this cache, or
    that another process is working on.
    """
    is_inside = folder.resolve() == folder and len(folder.parts) == len(cache.parts) + 3 and cache in folder.parents
    files = {path: status for path, status in _items(folder).items() if is_own(path.name) and _is_file(status)}
    if not is_inside or any(CHECKPOINT_FILE.fullmatch(path.name) for path in files):
        raise BadOption(
            "not the folder of an entry in this cache",
            where=folder,
            expected=f"one below {cache}, not behind a link",
            remedy="see probeline cache ls",
        )
    if any(path.suffix == locks.SUFFIX and not locks.is_unlocked(path) for path in files):
        raise BadOption(
            "this entry is being processed by another process", where=folder, remedy="wait until it is finished"
        )

    def order(path: Path) -> tuple[bool, bool, bool, str]:
        return path.name == SAMPLES, path.name == "entry.json", path.suffix != ".json", path.name

    return {path: files[path].st_size for path in sorted(files, key=order)}


def other_items(folders: Iterable[Path]) -> list[Path]:
    """Return what lies in folders of entries and checkpoints without a name of the cache: it is never removed."""
    return [
        path
        for folder in folders
        for path, status in sorted(_items(folder).items())
        if not (is_own(path.name) and _is_file(status))
    ]


def find_leftovers(cache: Path) -> Removable:
    """Return the leftovers of a cache: of writers that died, of repairs, and empty entry folders.

    Only names that the cache's own format gives, in the folders where it puts them, count as leftovers; files of a
    process that still runs do not, nor anything in an entry that a newer version wrote. BadOption is raised for a
    folder that is not proven to be a cache.
    """
    if not cache.is_dir() or not any(cache.iterdir()):
        return Removable({}, ())
    contents = prove_cache(cache)
    found = [_leftovers_in(folder, cache) for folder in (cache, *contents.folders)]
    paths = {path: status.st_size for of_folder in found for path, status in of_folder.items()}
    return Removable(paths, (*contents.passed_over, *other_items(contents.folders)))


def _leftovers_in(folder: Path, cache: Path) -> dict[Path, os.stat_result]:
    found = {path: status for path in sorted(_items(folder)) if (status := _unused(path, cache))}
    if found and folder != cache and is_newer(folder):
        return {}
    own = _unused(folder, cache) if folder != cache else None
    return {folder: own} if own else found


def remove_entries(folders: Sequence[Path], cache: Path) -> dict[Path, int]:
    """Remove some entries of a cache; return the files."""
    return remove_files(find_entries(folders, cache).paths, cache)


def remove_leftovers(paths: dict[Path, int], cache: Path) -> dict[Path, int]:
    """Remove those of some leftovers that are still unused; return them."""
    # Another process may have started to use them while the user thought about it.
    return remove_files({path: size for path, size in paths.items() if _unused(path, cache)}, cache)


def remove_files(paths: dict[Path, int], cache: Path) -> dict[Path, int]:
    """Remove files and empty folders, then the folders above them that are empty, except the cache; return them."""
    mark(cache)  # one of an earlier version, proven by its entries, stays a cache without them
    folders = {path for path in paths if path.is_dir() and not path.is_symlink()}
    for path in paths:
        if path not in folders:
            disk.remove_below(cache, path)
    for folder in sorted(folders | {path.parent for path in paths if path not in folders} - {cache}, reverse=True):
        disk.remove_empty_folders(cache, folder)
    return paths


def remove_abandoned(folders: Iterable[Path], cache: Path) -> None:
    """Remove the entries of some folders, except those that another process may be working on.

    Nothing is removed in a folder that is not proven to be a cache.
    """
    top = cache.resolve()
    for folder in dict.fromkeys(folders):
        with contextlib.suppress(ProbelineError, OSError):
            prove_cache(top)
            remove_files(entry_files(folder.resolve(), top), top)


def remove_after_yes(
    found: Removable,
    question: str,
    remove: Callable[[], dict[Path, int]],
    console: Console,
    *,
    dry_run: bool,
    yes: bool,
) -> dict[str, Any]:
    """Remove files after a yes, and return how many were removed, or would be in a dry run, and their size.

    BadOption is raised where nobody can be asked.
    """
    if found.others:
        names = few([str(path) for path in found.others], 3)
        console.result(f"left in place, as not the cache's: {plural(len(found.others), 'item')}: {names}")
    if not found.paths:
        console.result("nothing to remove")
        return {"files": 0, "bytes": 0}
    answer = dry_run or yes or console.confirm(question)
    if answer is None:
        raise BadOption("nothing is removed without a yes", remedy="run it in a terminal, or with --yes")
    removed, done = (found.paths, "would be removed") if dry_run else (remove() if answer else {}, "removed")
    size = sum(removed.values())
    line = f"{plural(len(removed), 'file')} {done}, {megabytes(size)}"
    console.result(("dry run: " if dry_run else "") + (line if answer else "nothing was removed"))
    return {**({"dry_run": True} if dry_run else {}), "files": len(removed), "bytes": size}


def _inspect(folder: Path) -> tuple[Entry | None, int, bool, bool]:
    """Return the entry of a folder, how many shards are extracted, whether any of it is corrupt, or newer."""
    try:
        entry = open_entry(folder)
    except NewerFormat:
        return None, sum(1 for _ in folder.glob("shard-*.json")), False, True
    except ProbelineError:
        return None, sum(1 for _ in folder.glob("shard-*.json")), True, False
    shards, is_corrupt, is_later = 0, False, False
    for number in range(len(entry.shards)):
        try:
            done = is_done(entry, number)
        except NewerFormat:
            done, is_later = False, True
        except ProbelineError:
            done, is_corrupt = False, True
        shards += done
        is_corrupt |= done and not entry.shard_path(number).exists()
    return entry, shards, is_corrupt, is_later


def _items(folder: Path) -> dict[Path, os.stat_result]:
    """Return what is in a folder, without what is removed meanwhile; nothing if it cannot be listed."""
    items = {}
    with contextlib.suppress(NotADirectoryError, FileNotFoundError, PermissionError):
        for path in folder.iterdir():
            if status := _status(path):
                items[path] = status
    return items


def _is_file(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _unused(path: Path, cache: Path) -> os.stat_result | None:
    """Return the status of a leftover, or None if a process may need it."""
    status = _status(path)
    if status is None:
        return None
    seconds = locks.seconds_since(status)
    level = len(path.relative_to(cache).parts)
    if stat.S_ISDIR(status.st_mode):
        return status if level == 3 and seconds > _MOMENT and _is_empty(path) else None
    is_own_file = TOP_WRITER.fullmatch(path.name) if level == 1 else is_own(path.name)
    return status if is_own_file and stat.S_ISREG(status.st_mode) and _is_unused_file(path, status, seconds) else None


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except OSError:
        return False


def _is_unused_file(path: Path, status: os.stat_result, seconds: float) -> bool:
    if writer := WRITER.fullmatch(path.name) or TOP_WRITER.fullmatch(path.name):
        # Whoever shares the cache may work on another machine, whose processes have other numbers.
        may_run = status.st_uid != os.geteuid() or _is_running(int(writer["process"]))
        return seconds > (_DAY if may_run else _MOMENT)
    if path.suffix == locks.SUFFIX:
        return locks.is_unlocked(path)
    if path.name == SAMPLES:
        return seconds > _MOMENT and not os.path.lexists(path.with_name("entry.json"))
    return path.suffix == disk.ASIDE or (path.suffix == ".h5" and seconds > _MOMENT and _is_unrecorded(path))


def _is_unrecorded(path: Path) -> bool:
    return not os.path.lexists(path.with_suffix(".json")) and locks.is_unlocked(path.with_suffix(locks.SUFFIX))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
