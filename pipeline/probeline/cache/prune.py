"""What is in a cache folder, how much of it, and what nobody needs: leftovers of dead writers and of repairs."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from probeline import disk
from probeline.cache import locks
from probeline.cache.entry import Entry
from probeline.cache.reading import entry_folders, is_done, open_entry
from probeline.errors import BadOption, ProbelineError

_DAY = 86_400
_MOMENT = 60
"""Seconds for which a file may still be somebody's: its writer may be on another machine that shares the disk."""

_WRITER = re.compile(r".+\.(\d{1,9})-[0-9a-f]+" + re.escape(disk.TEMPORARY))
_OWN = re.compile(
    r"entry\.json|shard-\d{5,}\.(h5|json|lock)|(entry|shard-\d{5,}|best|last)\.(h5|json|safetensors)(\.\d+)?"
    + re.escape(disk.ASIDE)
)

_OWN_FOLDER = re.compile(r".+-[0-9a-f]{12}")
"""PART-KEY12 of an entry, seedN-KEY12 of a checkpoint."""


@dataclass(frozen=True)
class Stock:
    """One entry as `ls` shows it.

    Attributes
    ----------
    folder : Path
    entry : Entry or None
        None where its record is damaged or gone.
    shards : int
        Extracted so far.
    damaged : bool
        A record cannot be believed, or what it describes is gone. What is in the shards is not looked at.
    bytes : int
        Of all files in the folder.
    age : float
        Seconds since the newest of them was written.
    """

    folder: Path
    entry: Entry | None
    shards: int
    damaged: bool
    bytes: int
    age: float


def take_stock(cache: Path) -> list[Stock]:
    """Return what is in a cache, told from names, sizes and records; no shard is read."""
    found = []
    now = time.time()
    for folder in entry_folders(cache):
        files = _files(folder)
        if not files:
            continue
        entry, shards, damaged = _entry(folder)
        age = now - max(status.st_mtime for status in files.values())
        found.append(Stock(folder, entry, shards, damaged, sum(status.st_size for status in files.values()), age))
    return found


def files_of(folder: Path, cache: Path) -> dict[Path, int]:
    """Return the files of an entry's folder that the format names or a writer left, with their sizes in bytes.

    They are in the order in which they may be removed: a shard's record before the shard, so that what is left at any
    moment is a smaller entry, and no damaged one; the entry's own record last.

    Raises
    ------
    BadOption
        The folder is none of an entry in this cache, or another process is at work on it.
    """
    top = cache.resolve()
    if folder.resolve() != folder.absolute() or len(folder.parts) != len(top.parts) + 3 or top not in folder.parents:
        raise BadOption(
            "not the folder of an entry in this cache", where=folder, expected=f"one below {top}, not behind a link"
        )
    found = _files(folder)
    if any(path.suffix == locks.SUFFIX and not locks.is_unlocked(path) for path in found):
        raise BadOption("another process is at work on this entry", where=folder, remedy="wait for its end")

    def turn(path: Path) -> tuple[bool, bool, str]:
        return path.name == "entry.json", path.suffix != ".json", path.name

    own = [path for path in found if _OWN.fullmatch(path.name) or _WRITER.fullmatch(path.name)]
    return {path: found[path].st_size for path in sorted(own, key=turn)}


def leftovers(cache: Path) -> dict[Path, int]:
    """Return the leftovers of a cache with their sizes in bytes: of writers that died, of repairs, empty entry folders.

    Only names that the cache's own format gives, in the folders where it puts them, count as leftovers. A temporary
    file whose writer is alive, a lock that is held and a shard whose lock is held are none.

    Raises
    ------
    BadOption
        The folder holds files and no entry: it is no cache.
    """
    if not cache.is_dir() or not any(cache.iterdir()):
        return {}
    if not _is_cache(cache):
        raise BadOption(
            "not a cache of Probeline: nothing is removed",
            where=cache,
            expected="a folder with at least one entry whose record can be read",
            remedy="name the cache with --cache FOLDER",
        )
    return {path: status.st_size for path in _candidates(cache) if (status := _idle(path))}


def _is_cache(cache: Path) -> bool:
    """Return whether at least one entry in the folder has a valid record."""
    for folder in entry_folders(cache):
        with contextlib.suppress(ProbelineError):
            open_entry(folder)
            return True
    return False


def _candidates(cache: Path) -> list[Path]:
    """Return the folders that entries and checkpoints have by the cache's layout, and the files in them, sorted."""
    found: list[Path] = []
    for folder in cache.glob("*/*/*"):
        above = (folder.parents[1], folder.parent, folder)
        if _OWN_FOLDER.fullmatch(folder.name) and not any(p.is_symlink() or p.name.startswith(".") for p in above):
            found.append(folder)
            with contextlib.suppress(NotADirectoryError, FileNotFoundError):
                found.extend(path for path in folder.iterdir() if not path.is_dir())
    return sorted(found)


def remove_leftovers(paths: dict[Path, int], cache: Path) -> dict[Path, int]:
    """Remove those of some leftovers that still are leftovers; return them.

    Raises
    ------
    CannotWrite
    """
    # Somebody may have gone on with them while the user thought about it.
    return remove({path: size for path, size in paths.items() if _idle(path)}, cache)


def remove(paths: dict[Path, int], cache: Path) -> dict[Path, int]:
    """Remove files and empty folders, then the folders above them that are empty, the cache not among them.

    Raises
    ------
    CannotWrite
    """
    for path in paths:
        if not path.is_dir():
            disk.remove(path)
    for folder in sorted({path if path.is_dir() else path.parent for path in paths}, reverse=True):
        with contextlib.suppress(OSError):
            while folder.resolve() != cache.resolve():
                folder.rmdir()
                folder = folder.parent
    return paths


def _entry(folder: Path) -> tuple[Entry | None, int, bool]:
    """Return the entry of a folder, how many of its shards are there, and whether any of it is damaged."""
    try:
        entry = open_entry(folder)
    except ProbelineError:
        return None, sum(1 for _ in folder.glob("shard-*.json")), True
    shards, damaged = 0, False
    for number in range(len(entry.shards)):
        try:
            done = is_done(entry, number)
        except ProbelineError:
            done, damaged = False, True
        shards += done
        damaged |= done and not entry.shard_path(number).exists()
    return entry, shards, damaged


def _files(folder: Path) -> dict[Path, os.stat_result]:
    """Return the plain files in a folder, without those that go while they are looked at."""
    found = {}
    with contextlib.suppress(NotADirectoryError):
        for path in folder.iterdir():
            if (status := _status(path)) and stat.S_ISREG(status.st_mode):
                found[path] = status
    return found


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _idle(path: Path) -> os.stat_result | None:
    """Return what is known of a leftover, or None where somebody may need it."""
    status = _status(path)
    if status is None:
        return None
    age = time.time() - status.st_mtime
    if stat.S_ISDIR(status.st_mode):
        return status if age > _MOMENT and not any(path.iterdir()) else None
    return status if stat.S_ISREG(status.st_mode) and _is_idle_file(path, age) else None


def _is_idle_file(path: Path, age: float) -> bool:
    if writer := _WRITER.fullmatch(path.name):
        return age > (_DAY if _lives(int(writer[1])) else _MOMENT)
    if not _OWN.fullmatch(path.name):
        return False
    if path.suffix == locks.SUFFIX:
        return locks.is_unlocked(path)
    return path.suffix == disk.ASIDE or (path.suffix == ".h5" and age > _MOMENT and _is_unrecorded(path))


def _is_unrecorded(path: Path) -> bool:
    record, lock = path.with_suffix(".json"), path.with_suffix(locks.SUFFIX)
    return not record.exists() and (not lock.exists() or locks.is_unlocked(lock))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
