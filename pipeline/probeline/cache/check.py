"""Checking an entry: every byte of every file that the format names, against its recorded checksum."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeline import disk
from probeline.cache.entry import Entry, check_samples
from probeline.cache.locks import SUFFIX as LOCK
from probeline.cache.reading import check_entry_record, is_done, open_entry, read_shard
from probeline.cache.samples import FILE_NAME as SAMPLES
from probeline.errors import MissingData, NewerFormat, OtherFormat, ProbelineError
from probeline.files.decode import BadRecord


@dataclass(frozen=True)
class Problem:
    """Something wrong with an entry, the shard to extract again, if any, and the files that a repair puts aside."""

    message: str
    shard: int | None
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class EntryCheck:
    """The result of a check; `entry` is None if its record is unreadable or of another format.

    What a newer version wrote makes it `is_newer`; that is neither verified nor a problem. Leftovers are files that the
    format does not name, of writers that died or set aside by a repair; `bytes` counts what was read and hashed.
    """

    folder: Path
    entry: Entry | None
    verified: tuple[int, ...]
    missing: tuple[int, ...]
    problems: tuple[Problem, ...]
    leftovers: tuple[Path, ...]
    bytes: int
    is_newer: bool = False

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

    If it is known what entry to expect, its shards are checked even if its record is bad.
    """
    problems: list[Problem] = []
    entry, is_later = expected, False
    try:
        opened = open_entry(folder)
        check_entry_record(expected or opened)
        check_samples(opened)
        entry = expected or opened
    except MissingData:
        problems.append(Problem(f"the record of an entry is missing: {folder / 'entry.json'}", None))
    except NewerFormat:
        return EntryCheck(folder, None, (), (), (), (), 0, is_newer=True)
    except OtherFormat as error:  # nothing that a repair could change
        problems.append(Problem(str(error), None))
        entry = None
    except BadRecord as error:
        message = f"the samples of an entry are not those of its key: {folder}: {error}"
        problems.append(Problem(message, None, ("entry.json", SAMPLES)))
    except (ProbelineError, OSError) as error:
        # The record is written again with the samples, and without a record they are taken over if they are right.
        is_about_samples = getattr(error, "where", None) == folder / SAMPLES
        files = ("entry.json", SAMPLES) if is_about_samples else ("entry.json",)
        problems.append(Problem(_describe(error), None, files))
    if entry is None:
        return EntryCheck(folder, None, (), (), tuple(problems), _find_leftovers(folder, ()), 0)
    verified, missing = [], []
    own_files = [path for path in (folder / "entry.json", entry.samples_path) if path.exists()]
    size = 0 if problems else sum(path.stat().st_size for path in own_files)
    for number in range(len(entry.shards)):
        try:
            if not is_done(entry, number):
                missing.append(number)
                continue
            read_shard(entry, number)
            size += entry.shard_path(number).stat().st_size + entry.record_path(number).stat().st_size
            verified.append(number)
        except NewerFormat:
            is_later = True
        except (ProbelineError, OSError) as error:
            files = (f"shard-{number:05d}.json", f"shard-{number:05d}.h5")
            problems.append(Problem(_describe(error), number, files))
    leftovers = _find_leftovers(folder, entry.shards)
    return EntryCheck(folder, entry, tuple(verified), tuple(missing), tuple(problems), leftovers, size, is_later)


def _find_leftovers(folder: Path, shards: Sequence[range]) -> tuple[Path, ...]:
    names = {
        "entry.json",
        SAMPLES,
        *(f"shard-{number:05d}{end}" for number in range(len(shards)) for end in (".h5", ".json")),
    }
    with contextlib.suppress(OSError):
        return tuple(sorted(path for path in folder.iterdir() if path.name not in names and path.suffix != LOCK))
    return ()


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, ProbelineError):
        return f"{error.strerror}: {error.filename}"
    return str(error)


def set_aside_bad_files(check: EntryCheck) -> list[int]:
    """Give the bad files of an entry another name, so that they are extracted again; return the shards."""
    shards = sorted({problem.shard for problem in check.problems if problem.shard is not None})
    for name in dict.fromkeys(name for problem in check.problems for name in problem.files):
        disk.put_aside(check.folder / name)
    return shards
