"""What is in a cache folder, how much of it, and what nobody needs: leftovers of dead writers and of repairs."""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from probeline import disk
from probeline.errors import ProbelineError
from probeline.store import claims
from probeline.store import entry as store
from probeline.store.audit import ASIDE

_DAY = 86_400
_WRITER = re.compile(r"\.(\d+)-[0-9a-f]+" + re.escape(disk.TEMPORARY) + "$")
_OWN = re.compile(r"entry\.json|shard-\d{5,}\.(h5|json|lock)|(entry|shard-\d{5,})\.(h5|json)" + re.escape(ASIDE))


@dataclass(frozen=True)
class Stock:
    """One entry as `ls` shows it.

    Attributes
    ----------
    folder : Path
    entry : Entry or None
        None where its record is damaged.
    shards : int
        Extracted so far.
    bytes : int
        Of all files in the folder.
    age : float
        Seconds since the newest of them was written.
    """

    folder: Path
    entry: store.Entry | None
    shards: int
    bytes: int
    age: float


def take_stock(cache: Path) -> list[Stock]:
    """Return what is in a cache, told from names, sizes and records; no shard is read."""
    found = []
    now = time.time()
    for folder in store.entries(cache):
        files = [path.stat() for path in folder.iterdir()]
        entry = None
        with contextlib.suppress(ProbelineError):
            entry = store.open_entry(folder)
        shards = sum(1 for _ in folder.glob("shard-*.json"))
        age = now - max(status.st_mtime for status in files)
        found.append(Stock(folder, entry, shards, sum(status.st_size for status in files), age))
    return found


def own_files(folder: Path) -> list[Path]:
    """Return the files of an entry's folder that the format names or a writer left, its own record last."""
    found = [path for path in folder.iterdir() if _OWN.fullmatch(path.name) or _WRITER.search(path.name)]
    return sorted(found, key=lambda path: (path.name == "entry.json", path.name))


def leftovers(cache: Path) -> list[Path]:
    """Return the files below a cache that nobody needs: of writers that died, and put aside by repairs.

    A temporary file whose writer lives, a lock that is held and a shard whose lock is held stay.
    """
    return [path for path in sorted(cache.rglob("*")) if not path.is_symlink() and path.is_file() and _idle(path)]


def remove(paths: list[Path]) -> int:
    """Remove files, then the folders above them that are empty; return how many bytes that were.

    Raises
    ------
    CannotWrite
    """
    size = 0
    for path in paths:
        size += path.stat().st_size
        disk.remove(path)
    for folder in sorted({path.parent for path in paths}, reverse=True):
        with contextlib.suppress(OSError):
            while True:
                folder.rmdir()
                folder = folder.parent
    return size


def _idle(path: Path) -> bool:
    if writer := _WRITER.search(path.name):
        return _abandoned(path, int(writer[1]))
    if not _OWN.fullmatch(path.name):
        return False
    if path.suffix == claims.SUFFIX:
        return claims.is_free(path)
    return path.suffix == ASIDE or (path.suffix == ".h5" and _unrecorded(path))


def _unrecorded(path: Path) -> bool:
    record, lock = path.with_suffix(".json"), path.with_suffix(claims.SUFFIX)
    return not record.exists() and (not lock.exists() or claims.is_free(lock)) and _old(path, 60)


def _abandoned(path: Path, pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return _old(path, _DAY)


def _old(path: Path, seconds: float) -> bool:
    return time.time() - path.stat().st_mtime > seconds
