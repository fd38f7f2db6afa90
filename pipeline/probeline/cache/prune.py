"""The entries of a cache with their sizes, and its unused files: leftovers of writers that died and of repairs."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeline import disk
from probeline.cache import locks
from probeline.cache.entry import Entry
from probeline.cache.reading import FOLDER_NAME, entry_folders, is_done, open_entries, open_entry
from probeline.errors import BadOption, ProbelineError
from probeline.format import age, megabytes

_DAY = 86_400
_MOMENT = 60
"""Seconds for which a file may still be in use: its writer may be on another machine that shares the disk."""

_WRITER = re.compile(r".+\.(\d{1,9})-[0-9a-f]+" + re.escape(disk.TEMPORARY))
_OWN = re.compile(
    r"entry\.json|shard-\d{5,}\.(h5|json|lock)|(entry|shard-\d{5,}|best|last)\.(h5|json|safetensors)(\.\d+)?"
    + re.escape(disk.ASIDE)
)


@dataclass(frozen=True)
class CachedEntry:
    """An entry in a listing; `entry` is None if its record is corrupt or missing.

    It is corrupt if a record is not valid or a recorded shard is missing; the shards are not read. `bytes` is the size
    of all files in the folder, `age` the seconds since the newest of them was written.
    """

    folder: Path
    entry: Entry | None
    shards: int
    is_corrupt: bool
    bytes: int
    age: float

    def line(self, cache: Path) -> str:
        """Return the line that `ls` prints."""
        entry = self.entry
        title = str(self.folder.relative_to(cache))
        if entry:
            title = f"{entry.title}  {len(entry):,} x {entry.dim}  {self.shards} of {len(entry.shards)} shards"
        corrupt = "  corrupt: run probeline verify" if self.is_corrupt else ""
        return f"{self.folder.name[-12:]}  {title}{corrupt}  {megabytes(self.bytes)}  {age(self.age)}"

    def summary(self) -> dict[str, Any]:
        """Return these fields as JSON values."""
        return {
            "folder": str(self.folder),
            "key": self.entry.key if self.entry else None,
            "rows": len(self.entry) if self.entry else None,
            "shards": self.shards,
            "damaged": self.is_corrupt,
            "bytes": self.bytes,
            "age_seconds": self.age,
        }


def list_entries(cache: Path) -> list[CachedEntry]:
    """Return the entries of a cache; no shard is read."""
    entries = []
    now = time.time()
    for folder in entry_folders(cache):
        if files := _files(folder).values():
            size, newest = sum(file.st_size for file in files), max(file.st_mtime for file in files)
            entries.append(CachedEntry(folder, *_inspect(folder), size, now - newest))
    return entries


def entry_files(folder: Path, cache: Path) -> dict[Path, int]:
    """Return the files of an entry's folder that the format names or a writer left, with their sizes in bytes.

    They are in the order in which they may be removed, so that at any moment what is left is a smaller entry and no
    corrupt one: a shard's record before the shard, the entry's own record last. BadOption is raised for a folder that
    is not an entry of this cache, or that another process is working on.
    """
    top = cache.resolve()
    if folder.resolve() != folder.absolute() or len(folder.parts) != len(top.parts) + 3 or top not in folder.parents:
        raise BadOption(
            "not the folder of an entry in this cache",
            where=folder,
            expected=f"one below {top}, not behind a link",
            remedy="see probeline cache ls",
        )
    files = _files(folder)
    if any(path.suffix == locks.SUFFIX and not locks.is_unlocked(path) for path in files):
        raise BadOption(
            "this entry is being processed by another process", where=folder, remedy="wait until it is finished"
        )

    def order(path: Path) -> tuple[bool, bool, str]:
        return path.name == "entry.json", path.suffix != ".json", path.name

    own = [path for path in files if _OWN.fullmatch(path.name) or _WRITER.fullmatch(path.name)]
    return {path: files[path].st_size for path in sorted(own, key=order)}


def find_leftovers(cache: Path) -> dict[Path, int]:
    """Return the leftovers of a cache with their sizes in bytes: of writers that died, of repairs, empty entry folders.

    Only names that the cache's own format gives, in the folders where it puts them, count as leftovers; files of a
    process that still runs do not. BadOption is raised for a folder of files without an entry: it is no cache.
    """
    if not cache.is_dir() or not any(cache.iterdir()):
        return {}
    if next(open_entries(entry_folders(cache), lambda _: None), None) is None:
        raise BadOption(
            "not a cache of Probeline: nothing is removed",
            where=cache,
            expected="a folder with at least one entry whose record can be read",
            remedy="name the cache with --cache FOLDER",
        )
    return {path: status.st_size for path in _candidates(cache) if (status := _unused(path))}


def _candidates(cache: Path) -> list[Path]:
    """Return the folders that entries and checkpoints have by the cache's layout, and the files in them, sorted."""
    candidates: list[Path] = []
    for folder in cache.glob("*/*/*"):
        above = (folder.parents[1], folder.parent, folder)
        if FOLDER_NAME.fullmatch(folder.name) and not any(p.is_symlink() or p.name.startswith(".") for p in above):
            candidates.append(folder)
            with contextlib.suppress(NotADirectoryError, FileNotFoundError):
                candidates.extend(path for path in folder.iterdir() if not path.is_dir())
    return sorted(candidates)


def remove_leftovers(paths: dict[Path, int], cache: Path) -> dict[Path, int]:
    """Remove those of some leftovers that are still unused; return them."""
    # Another process may have started to use them while the user thought about it.
    return remove_files({path: size for path, size in paths.items() if _unused(path)}, cache)


def remove_files(paths: dict[Path, int], cache: Path) -> dict[Path, int]:
    """Remove files and empty folders, then the folders above them that are empty, except the cache; return them."""
    for path in paths:
        if not path.is_dir():
            disk.remove(path)
    for folder in sorted({path if path.is_dir() else path.parent for path in paths}, reverse=True):
        with contextlib.suppress(OSError):
            while folder.resolve() != cache.resolve():
                folder.rmdir()
                folder = folder.parent
    return paths


def remove_abandoned(folders: Iterable[Path], cache: Path) -> None:
    """Remove the entries of some folders, except those that another process may be working on."""
    for folder in dict.fromkeys(folders):
        with contextlib.suppress(ProbelineError, OSError):
            remove_files(entry_files(folder, cache), cache)


def _inspect(folder: Path) -> tuple[Entry | None, int, bool]:
    """Return the entry of a folder, how many of its shards are extracted, and whether any of it is corrupt."""
    try:
        entry = open_entry(folder)
    except ProbelineError:
        return None, sum(1 for _ in folder.glob("shard-*.json")), True
    shards, is_corrupt = 0, False
    for number in range(len(entry.shards)):
        try:
            done = is_done(entry, number)
        except ProbelineError:
            done, is_corrupt = False, True
        shards += done
        is_corrupt |= done and not entry.shard_path(number).exists()
    return entry, shards, is_corrupt


def _files(folder: Path) -> dict[Path, os.stat_result]:
    """Return the plain files in a folder, without those that are removed meanwhile."""
    files = {}
    with contextlib.suppress(NotADirectoryError):
        for path in folder.iterdir():
            if (status := _status(path)) and stat.S_ISREG(status.st_mode):
                files[path] = status
    return files


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _unused(path: Path) -> os.stat_result | None:
    """Return the status of a leftover, or None if a process may need it."""
    status = _status(path)
    if status is None:
        return None
    seconds = time.time() - status.st_mtime
    if stat.S_ISDIR(status.st_mode):
        return status if seconds > _MOMENT and not any(path.iterdir()) else None
    return status if stat.S_ISREG(status.st_mode) and _is_unused_file(path, seconds) else None


def _is_unused_file(path: Path, seconds: float) -> bool:
    if writer := _WRITER.fullmatch(path.name):
        return seconds > (_DAY if _is_running(int(writer[1])) else _MOMENT)
    if not _OWN.fullmatch(path.name):
        return False
    if path.suffix == locks.SUFFIX:
        return locks.is_unlocked(path)
    return path.suffix == disk.ASIDE or (path.suffix == ".h5" and seconds > _MOMENT and _is_unrecorded(path))


def _is_unrecorded(path: Path) -> bool:
    record, lock = path.with_suffix(".json"), path.with_suffix(locks.SUFFIX)
    return not record.exists() and (not lock.exists() or locks.is_unlocked(lock))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
