"""The files and folders of an image folder, sorted, without hidden ones and without those of systems."""

from __future__ import annotations

import contextlib
import os
import posixpath
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from probeline.data.folders.contents import why_no_image
from probeline.errors import BadData
from probeline.types import Skipped

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


_DEEPEST = 100
"""Folders in each other that are searched for images."""


def is_system_folder(name: str) -> bool:
    """Return whether a folder of this name is put there by a system and is nobody's class."""
    return name.lower() in _SYSTEM_FOLDERS


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; False for a link to itself."""
    with contextlib.suppress(OSError):
        return entry.is_dir()
    return False


def is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a plain file or a link to one; False for a link to itself."""
    with contextlib.suppress(OSError):
        return entry.is_file()
    return False


def entries(folder: Path) -> Entries:
    """Return the visible entries of a folder by name in composed Unicode, sorted.

    Raises
    ------
    BadData
        The folder cannot be read, or a name in it is not valid Unicode or there twice.
    """
    try:
        with os.scandir(folder) as scan:
            visible = [entry for entry in scan if not entry.name.startswith(".")]
    except OSError as error:
        raise BadData("folder cannot be read", where=folder, got=error.strerror) from error
    by_name: dict[str, os.DirEntry[str]] = {}
    for entry in visible:
        name = unicodedata.normalize("NFC", entry.name)
        is_unicode = name == name.encode("utf-8", "ignore").decode()
        if name in by_name or not is_unicode:
            shown = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            raise BadData("name is taken twice or not valid Unicode", where=folder, got=shown, remedy="rename it")
        by_name[name] = entry
    return sorted(by_name.items(), key=lambda item: item[0])


def subfolders(folder: Path, name: str, skipped: list[Skipped]) -> dict[str, Path]:
    """Return the folders in a folder, sorted by name; files and folders of systems are added to `skipped`."""
    folders = {}
    for entry_name, entry in entries(folder):
        if not is_folder(entry):
            skipped.append(Skipped(posixpath.join(name, entry_name), "outside the class folders"))
        elif is_system_folder(entry_name):
            skipped.append(Skipped(posixpath.join(name, entry_name), SYSTEM))
        else:
            folders[entry_name] = Path(entry.path)
    return folders


SYSTEM = "a folder of the system"
"""Why a folder is skipped as a whole."""


def walk(
    folder: Path, name: str, skipped: list[Skipped], parents: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, Path]]:
    """Yield sample id and path of each image below a folder; `parents` identifies the folders it is in."""
    identity = identify(folder)
    if identity in parents:
        skipped.append(Skipped(name, "a link back to a folder around it"))
        return
    if len(parents) > _DEEPEST:
        skipped.append(Skipped(name, f"more than {_DEEPEST} folders deep"))
        return
    for entry_name, entry in entries(folder):
        sample_id = posixpath.join(name, entry_name)
        if is_folder(entry):
            if is_system_folder(entry_name):
                skipped.append(Skipped(sample_id, SYSTEM))
            else:
                yield from walk(Path(entry.path), sample_id, skipped, (*parents, identity))
        elif not is_file(entry):
            skipped.append(Skipped(sample_id, "not a file, or a link to none"))
        elif reason := why_no_image(entry.path, entry_name):
            skipped.append(Skipped(sample_id, reason))
        else:
            yield sample_id, Path(entry.path)


def list_images(folder: Path) -> list[Path]:
    """Return the images below a folder by name, through links, without hidden ones; BadData if it cannot be read."""
    return [path for _, path in walk(folder, "", [], ())]


def identify(folder: Path) -> tuple[int, int]:
    """Return the device and inode of a folder: the same for every path that leads to it."""
    status = folder.stat()
    return status.st_dev, status.st_ino
