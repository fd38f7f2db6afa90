"""What is in one folder: its visible entries by name, and which of them are folders, files, or passed over and why."""

from __future__ import annotations

import errno
import os
import posixpath
import unicodedata
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from probeline.errors import BadData
from probeline.types import CANNOT_BE_READ, Skipped

Entries = list[tuple[str, "os.DirEntry[str]"]]
"""Names in composed Unicode (NFC), with what they name."""

_SYSTEM_FOLDERS = frozenset(
    (
        "@eadir",
        "@tmp",
        "@recycle",
        "@recently-snapshot",
        "@sharebin",
        "@sharesnap",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "found.000",
        "__macosx",
        "network trash folder",
        "temporary items",
        "lost+found",
        "lost.dir",
        "__pycache__",
    )
)
"""Folders that storage devices, systems and programs put among images: thumbnails, deleted files and the like."""

_SYSTEM_TREES = ("/proc", "/sys", "/dev")
"""Where a system shows itself as files. A link to them is no link to images; ``/dev/shm`` is plain memory."""


_LONG = 1000
"""Characters from which on the system may refuse a path, of which Linux takes 4,095 bytes."""


class Kind(Enum):
    """What is looked into."""

    FOLDER = "a folder, or a link to one"
    FILE = "a plain file, or a link to one"


@dataclass(frozen=True)
class PassedOver:
    """Why an entry is not looked into."""

    reason: str
    detail: str = ""
    """What ``-v`` shows after the reason."""
    is_folder: bool = True
    """Whether it is, or may be, a folder: nobody knows how many images are below it."""

    def at(self, name: str) -> Skipped:
        """Return it for the entry of this name."""
        return Skipped(name, self.reason, self.detail, self.is_folder)


SYSTEM = PassedOver("a folder of the system")
LINK_BACK = PassedOver("a link back to a folder around it")
ENDLESS_LINK = PassedOver("a link to itself, or through too many links")
TOO_LONG = PassedOver("a path that is too long")
NO_FILE = PassedOver("not a file, or a link to none", is_folder=False)


def unreadable(error: OSError) -> PassedOver:
    """Return why an entry that the system refuses to look up, or to list, is passed over."""
    if error.errno == errno.ELOOP:
        return ENDLESS_LINK
    if error.errno == errno.ENAMETOOLONG:
        return TOO_LONG
    return PassedOver(CANNOT_BE_READ, f" ({error.strerror})")


def classify(name: str, entry: os.DirEntry[str]) -> Kind | PassedOver:
    """Return whether an entry is a folder or a file, through links, or why it is passed over."""
    try:
        if entry.is_dir():
            if name.lower() in _SYSTEM_FOLDERS:
                return SYSTEM
            return (_check_link(entry.path) if entry.is_symlink() else None) or Kind.FOLDER
        if not entry.is_file():
            return NO_FILE
        if len(entry.path) > _LONG:
            entry.stat()
        return Kind.FILE
    except OSError as error:
        return unreadable(error)


def _check_link(path: str) -> PassedOver | None:
    """Return why a link to a folder is not followed, None if it is."""
    target, holder = os.path.realpath(path), os.path.realpath(os.path.dirname(path))  # noqa: PTH120 - as DirEntry has it
    if _is_below(holder, target):
        return LINK_BACK
    is_system = any(_is_below(target, tree) for tree in _SYSTEM_TREES) and not _is_below(target, "/dev/shm")  # noqa: S108
    return SYSTEM if is_system else None


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def scan(folder: str | Path) -> Entries:
    """Return the visible entries of a folder by name in composed Unicode, sorted.

    Raises
    ------
    OSError
        The folder cannot be read.
    BadData
        A name in it is not valid Unicode, or there twice.
    """
    with os.scandir(folder) as listing:
        visible = [entry for entry in listing if not entry.name.startswith(".")]
    by_name: dict[str, os.DirEntry[str]] = {}
    for entry in visible:
        name = unicodedata.normalize("NFC", entry.name)
        is_unicode = name == name.encode("utf-8", "ignore").decode()
        if name in by_name or not is_unicode:
            shown = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            raise BadData("name is taken twice or not valid Unicode", where=folder, got=shown, remedy="rename it")
        by_name[name] = entry
    return sorted(by_name.items(), key=lambda item: item[0])


def entries(folder: Path) -> Entries:
    """Return the visible entries of a folder by name in composed Unicode, sorted.

    Raises
    ------
    BadData
        The folder cannot be read, or a name in it is not valid Unicode or there twice.
    """
    try:
        return scan(folder)
    except OSError as error:
        raise BadData("folder cannot be read", where=folder, got=error.strerror) from error


def subfolders(folder: Path, name: str, skipped: list[Skipped]) -> dict[str, Path]:
    """Return the folders in a folder, sorted by name; all else is added to `skipped`."""
    folders = {}
    for entry_name, entry in entries(folder):
        kind, below = classify(entry_name, entry), posixpath.join(name, entry_name)
        if kind is Kind.FOLDER:
            folders[entry_name] = Path(entry.path)
        elif isinstance(kind, PassedOver):
            skipped.append(kind.at(below))
        else:
            skipped.append(Skipped(below, "outside the class folders"))
    return folders
