"""Checking an entry: every byte of every file that the format names, against the checksum that is recorded of it."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeline import disk
from probeline.cache.entry import Entry
from probeline.cache.locks import SUFFIX as LOCK
from probeline.cache.reading import is_done, open_entry, read_shard
from probeline.errors import MissingData, OtherFormat, ProbelineError

_SHARD = re.compile(r"shard-(\d{5,})\.(h5|json)")


@dataclass(frozen=True)
class Problem:
    """Something wrong with an entry.

    Attributes
    ----------
    message : str
        One line: what, where, and what to do.
    shard : int or None
        The shard that must be extracted again; None if the entry's own record is bad.
    """

    message: str
    shard: int | None


@dataclass(frozen=True)
class EntryCheck:
    """What the check of one entry came to.

    Attributes
    ----------
    folder : Path
    entry : Entry or None
        None if its record cannot be read, or is of another format.
    verified : tuple of int
        Shards whose record, hash, layout, order and values are right.
    missing : tuple of int
        Shards that are not extracted yet, which is no problem.
    problems : tuple of Problem
    leftovers : tuple of Path
        Files that the format does not name: of writers that died, or set aside by a repair.
    bytes : int
        Read and hashed.
    """

    folder: Path
    entry: Entry | None
    verified: tuple[int, ...]
    missing: tuple[int, ...]
    problems: tuple[Problem, ...]
    leftovers: tuple[Path, ...]
    bytes: int

    def summary(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {
            "folder": str(self.folder),
            "rows": len(self.entry) if self.entry else 0,
            "proven_shards": len(self.verified),
            "missing_shards": len(self.missing),
            "bytes": self.bytes,
        }


def check_entry(folder: Path, expected: Entry | None = None) -> EntryCheck:
    """Return the check of one entry: records, keys, row ranges, checksums, layout, order of the rows, finite values.

    Parameters
    ----------
    folder : Path
    expected : Entry, optional
        What the entry must be, if the data set and the net are known: its shards are then checked even if its record
        is bad.
    """
    problems: list[Problem] = []
    entry = expected
    try:
        entry = open_entry(folder)
        entry = expected or entry
    except MissingData:
        problems.append(Problem(f"the record of an entry is missing: {folder / 'entry.json'}", None))
    except OtherFormat as error:  # nothing that a repair could change
        problems.append(Problem(str(error), None))
        entry = None
    except (ProbelineError, OSError) as error:
        problems.append(Problem(_describe(error), None))
    if entry is None:
        return EntryCheck(folder, None, (), (), tuple(problems), _leftovers(folder, 0), 0)
    verified, missing = [], []
    size = (folder / "entry.json").stat().st_size if not problems else 0
    for number in range(len(entry.shards)):
        try:
            if is_done(entry, number):
                read_shard(entry, number)
                path = entry.shard_path(number)
                size += path.stat().st_size + path.with_suffix(".json").stat().st_size
                verified.append(number)
            else:
                missing.append(number)
        except (ProbelineError, OSError) as error:
            problems.append(Problem(_describe(error), number))
    leftovers = _leftovers(folder, len(entry.shards))
    return EntryCheck(folder, entry, tuple(verified), tuple(missing), tuple(problems), leftovers, size)


def _leftovers(folder: Path, shards: int) -> tuple[Path, ...]:
    def named(path: Path) -> bool:
        shard = _SHARD.fullmatch(path.name)
        return path.name == "entry.json" or path.suffix == LOCK or bool(shard and int(shard[1]) < shards)

    with contextlib.suppress(OSError):
        return tuple(sorted(path for path in folder.iterdir() if not named(path)))
    return ()


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, ProbelineError):
        return f"{error.strerror}: {error.filename}"
    return str(error)


def set_aside_bad_files(check: EntryCheck) -> list[int]:
    """Give the bad files of an entry another name, so that they are extracted again; return the shards.

    Raises
    ------
    CannotWrite
    """
    shards = sorted({problem.shard for problem in check.problems if problem.shard is not None})
    names = [f"shard-{number:05d}{suffix}" for number in shards for suffix in (".json", ".h5")]
    if any(problem.shard is None for problem in check.problems):
        names.append("entry.json")
    for name in names:
        disk.put_aside(check.folder / name)
    return shards
