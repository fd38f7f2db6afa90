"""Is an entry what it says? Every byte of every file that the format names, held against what vouches for it."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from probeline import disk
from probeline.cache.entry import Entry
from probeline.cache.locks import SUFFIX as LOCK
from probeline.cache.reading import is_done, open_entry, read_shard
from probeline.errors import MissingData, OtherFormat, ProbelineError

_SHARD = re.compile(r"shard-(\d{5,})\.(h5|json)")


@dataclass(frozen=True)
class Finding:
    """Something wrong with an entry.

    Attributes
    ----------
    problem : str
        One line: what, where, and what to do.
    shard : int or None
        The shard that is to be made anew; None where the entry's own record is bad.
    """

    problem: str
    shard: int | None


@dataclass(frozen=True)
class Audit:
    """What was found of one entry.

    Attributes
    ----------
    folder : Path
    entry : Entry or None
        None where its record cannot be read, or is of another format.
    proven : tuple of int
        Shards whose record, hash, layout, order and values are right.
    missing : tuple of int
        Shards that are not extracted yet, which is no fault.
    findings : tuple of Finding
    leftovers : tuple of Path
        Files that the format does not name: of writers that died, or put aside by a repair.
    bytes : int
        Read and hashed.
    """

    folder: Path
    entry: Entry | None
    proven: tuple[int, ...]
    missing: tuple[int, ...]
    findings: tuple[Finding, ...]
    leftovers: tuple[Path, ...]
    bytes: int


def audit(folder: Path, expected: Entry | None = None) -> Audit:
    """Check one entry: the seal of each record, keys, row ranges, hashes, layout, order of the rows, finite values.

    Parameters
    ----------
    folder : Path
    expected : Entry, optional
        What the entry must be, where the data set and the net are at hand: its record may then be bad and its shards
        be checked all the same.
    """
    findings: list[Finding] = []
    entry = expected
    try:
        found = open_entry(folder)
        entry = expected or found
    except MissingData:
        findings.append(Finding(f"the record of an entry is gone: {folder / 'entry.json'}", None))
    except OtherFormat as error:  # no damage, and nothing to repair
        findings.append(Finding(str(error), None))
        entry = None
    except (ProbelineError, OSError) as error:
        findings.append(Finding(_told(error), None))
    if entry is None:
        return Audit(folder, None, (), (), tuple(findings), _leftovers(folder, 0), 0)
    proven, missing = [], []
    size = (folder / "entry.json").stat().st_size if not findings else 0
    for number in range(len(entry.shards)):
        try:
            if is_done(entry, number):
                read_shard(entry, number)
                path = entry.shard_path(number)
                size += path.stat().st_size + path.with_suffix(".json").stat().st_size
                proven.append(number)
            else:
                missing.append(number)
        except (ProbelineError, OSError) as error:
            findings.append(Finding(_told(error), number))
    leftovers = _leftovers(folder, len(entry.shards))
    return Audit(folder, entry, tuple(proven), tuple(missing), tuple(findings), leftovers, size)


def _leftovers(folder: Path, shards: int) -> tuple[Path, ...]:
    def named(path: Path) -> bool:
        shard = _SHARD.fullmatch(path.name)
        return path.name == "entry.json" or path.suffix == LOCK or bool(shard and int(shard[1]) < shards)

    with contextlib.suppress(OSError):
        return tuple(sorted(path for path in folder.iterdir() if not named(path)))
    return ()


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, ProbelineError):
        return f"{error.strerror}: {error.filename}"
    return str(error)


def put_aside(audited: Audit) -> list[int]:
    """Give the files of an audit's findings another name, so that extraction makes them anew; return the shards.

    Raises
    ------
    CannotWrite
    """
    shards = sorted({finding.shard for finding in audited.findings if finding.shard is not None})
    names = [f"shard-{number:05d}{suffix}" for number in shards for suffix in (".json", ".h5")]
    if any(finding.shard is None for finding in audited.findings):
        names.append("entry.json")
    for name in names:
        disk.put_aside(audited.folder / name)
    return shards
