"""The folders and files that make up a cache, by place and name: whatever else lies in it is somebody else's."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probeline import disk
from probeline.errors import CannotWrite
from probeline.files.reading import TEXT, read_beginning

MARKER = "CACHEDIR.TAG"
"""In the top folder of a cache."""

FOLDER_NAME = re.compile(r".+-[0-9a-f]{12}")
"""PART-KEY12 of an entry, seedN-KEY12 of a checkpoint."""

CHECKPOINT_NAME = re.compile(r"seed-?[0-9]+-[0-9a-f]{12}(-.+)?")
"""seedN-KEY12 of a checkpoint, with the options of its training if there are several."""

ENTRY_FILE = re.compile(r"entry\.json|shard-[0-9]{5,}\.(h5|json)")
"""What makes a folder an entry or the remains of one."""

CHECKPOINT_FILE = re.compile(r"(best|last)(\.next)?\.(json|safetensors)")

_MARKER_BEGINNING = b"""\
Signature: 8a477f597d28d172789f06886806bc55
# This folder is a cache of Probeline.
"""

MARKER_TEXT = (
    _MARKER_BEGINNING
    + b"""\
# It may be deleted at any time: what it holds can be computed again.
# Keep no files of your own in it. Programs that make backups leave it out, see https://bford.info/cachedir/.
"""
)
"""The first line is that of every cache, the second one is Probeline's."""

_DATA = rf"({ENTRY_FILE.pattern}|samples\.bin|{CHECKPOINT_FILE.pattern})"
_TOP = r"(\.memo(-[0-9]+)?\.json|\.memo-hashes(-[0-9]+)?\.jsonl|\.unreadable\.json|CACHEDIR\.TAG)"

_PROCESS = r"\.(?P<process>[0-9]{1,9})-[0-9a-f]{8}" + re.escape(disk.TEMPORARY)
WRITER = re.compile(_DATA + _PROCESS)
"""A file being written into the folder of an entry or checkpoint, or left by a writer that died."""

TOP_WRITER = re.compile(_TOP + _PROCESS)
"""The same in the top folder."""

_OWN_FILE = re.compile(rf"{_DATA}(\.[0-9]+)?{re.escape(disk.ASIDE)}|{_DATA}|shard-[0-9]{{5,}}\.lock|{WRITER.pattern}")
_OWN_TOP_FILE = re.compile(rf"{_TOP}|{TOP_WRITER.pattern}")

_TOLERATED = re.compile(
    r"README(\.md|\.txt)?|\.git(ignore|keep)|\.DS_Store|\._.*|Thumbs\.db|desktop\.ini|\.nfs[0-9a-f]+"
)
"""Files that people and systems put into any folder."""

_OF_VOLUMES = "lost+found"
"""A folder at the top of disks."""

MOST_OTHERS = 1000
"""Other items that are counted: a folder may hold the whole disk."""


@dataclass(frozen=True)
class Contents:
    """What a folder holds that may be a cache.

    Attributes
    ----------
    folders : tuple of Path
        Those of entries and checkpoints, by place and name, sorted.
    others : tuple of Path
        Items that have no place in a cache, at most `MOST_OTHERS`.
    passed_over : tuple of Path
        Links, which are never followed, and folders that cannot be read.
    """

    folders: tuple[Path, ...]
    others: tuple[Path, ...]
    passed_over: tuple[Path, ...]

    @property
    def is_only_a_cache(self) -> bool:
        """Whether everything has its place in a cache."""
        return not self.others and not self.passed_over


def is_own(name: str) -> bool:
    """Return whether the format gives this name to a file in the folder of an entry or checkpoint."""
    return _OWN_FILE.fullmatch(name) is not None


def look_into(cache: Path, most_others: int = MOST_OTHERS) -> Contents:
    """Return what a folder holds, down to the folders of entries and checkpoints; these are not listed.

    No link below the folder is followed. The walk ends at so many other items.
    """
    found: dict[str, list[Path]] = {"folder": [], "other": [], "passed over": []}
    for kind, path in _walk(cache, 1):
        found[kind].append(path)
        if kind == "other" and len(found["other"]) == most_others:
            break
    return Contents(*(tuple(found[kind]) for kind in found))


def _walk(folder: Path, level: int) -> Iterator[tuple[str, Path]]:
    try:
        with os.scandir(folder) as scan:
            items = sorted(scan, key=lambda item: item.name)
    except FileNotFoundError:  # removed meanwhile
        return
    except OSError:
        yield "passed over", folder
        return
    for item in items:
        path = folder / item.name
        if item.is_symlink():
            yield "passed over", path
        elif item.name == _OF_VOLUMES:
            continue
        elif not item.is_dir(follow_symlinks=False):
            is_own_file = level == 1 and item.is_file(follow_symlinks=False) and _is_own_top_file(path)
            if not is_own_file and not _TOLERATED.fullmatch(item.name):
                yield "other", path
        elif item.name.startswith("."):
            yield "other", path
        elif level < 3:
            yield from _walk(path, level + 1)
        elif FOLDER_NAME.fullmatch(item.name) or CHECKPOINT_NAME.fullmatch(item.name):
            yield "folder", path
        else:
            yield "other", path


def _is_own_top_file(path: Path) -> bool:
    return is_marked(path.parent) if path.name == MARKER else _OWN_TOP_FILE.fullmatch(path.name) is not None


def is_marked(folder: Path) -> bool:
    """Return whether a folder carries the marker of a cache, a plain file that begins as this program writes it."""
    path = folder / MARKER
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        return read_beginning(path, TEXT, len(_MARKER_BEGINNING)) == _MARKER_BEGINNING
    except OSError:
        return False


def mark(cache: Path) -> None:
    """Write the marker of a cache, unless it has one or its folder holds anything else; no error if that fails.

    Programs that make backups leave out a folder with this file, so it must not get into somebody's folder.
    """
    if not is_marked(cache) and look_into(cache, most_others=1).is_only_a_cache:
        with contextlib.suppress(CannotWrite):
            disk.publish(cache / MARKER, MARKER_TEXT)
