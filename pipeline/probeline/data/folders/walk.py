"""The images below a folder: every folder is listed once, whatever links lead to it; what is passed over is named."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

from probeline.data.folders.contents import why_no_image
from probeline.data.folders.entries import LINK_BACK, Entries, Kind, PassedOver, classify, scan, unreadable
from probeline.errors import BadData
from probeline.format import abridge, few, plural
from probeline.types import Skipped

MOST_DEEP = 100
"""Folders in each other that are searched for images."""

MOST_REPEATED = 250_000
"""Files and folders of a data set that are listed again, since links put their folder into several classes or parts.

They may be more if they are no more than those that are listed for the first time.
"""

TOO_DEEP = PassedOver(f"more than {MOST_DEEP} folders deep")
REPEATED = "a folder that is listed already"

ENDLESS = (LINK_BACK.reason, REPEATED, TOO_DEEP.reason)
"""Why folders are passed over that a program which follows every link would not come to the end of."""

Identity = tuple[int, int] | str
"""Of a folder: the same for every path that leads to it."""


class FolderWalk:
    """The walks through the class folders of one data set, or through one folder.

    A walk lists each folder once, by the path with the fewest links in it: first all folders that no link leads to,
    then those behind the links that were found, and so on. So it ends, however the links are tied to each other.
    Another walk of the same data set lists a folder again, as that of another class or part; how many images are so is
    in `notes`. Files and folders that are passed over are added to `skipped`.
    """

    def __init__(self, skipped: list[Skipped]) -> None:
        self.skipped = skipped
        self._first: dict[Identity, str] = {}
        self._again: dict[str, str] = {}
        self._listed = self._repeated = self._images_again = 0

    def images(self, folder: Path, name: str) -> Iterator[tuple[str, str]]:
        """Yield sample id and path of each image below a folder whose own sample id is `name`.

        Raises
        ------
        BadData
            A name is not valid Unicode, or there twice; or links repeat the same folders too often.
        """
        for own, _, files in self.folders(folder, name):
            above = f"{own}/" if own else ""
            for file_name, entry in files:
                sample_id = above + file_name
                if reason := why_no_image(entry.path, file_name):
                    self.skipped.append(Skipped(sample_id, reason))
                else:
                    self._images_again += own in self._again
                    yield sample_id, entry.path

    def folders(self, folder: Path, name: str) -> Iterator[tuple[str, Path, Entries]]:
        """Yield name and path of each folder from this one on, with the files that are directly in it."""
        listed = _folders_around(folder)
        level = [(name, str(folder), 0)]
        while level:
            links: list[tuple[str, str, int]] = []
            level.sort(reverse=True)
            while level:
                own, path, depth = level.pop()
                if (found := self._enter(own, path, depth, listed)) is None:
                    continue
                above = f"{own}/" if own else ""
                files = []
                inner: list[tuple[str, str, int]] = []
                for entry_name, entry in found:
                    kind = classify(entry_name, entry)
                    if kind is Kind.FILE:
                        files.append((entry_name, entry))
                    elif isinstance(kind, PassedOver):
                        self.skipped.append(kind.at(above + entry_name))
                    else:
                        (links if entry.is_symlink() else inner).append((above + entry_name, entry.path, depth + 1))
                level += reversed(inner)
                yield own, Path(path), files
            level = links

    def _enter(self, own: str, path: str, depth: int, listed: dict[Identity, str]) -> Entries | None:
        """Return the entries of a folder, None if it is passed over; `listed` has the folders of this walk by name."""
        try:
            if depth > MOST_DEEP:
                self.skipped.append(TOO_DEEP.at(own))
                return None
            identity = identify(path)
            if (known := listed.setdefault(identity, own)) != own:
                reason = PassedOver(REPEATED, f": {known}") if known else LINK_BACK
                self.skipped.append(reason.at(own))
                return None
            found = scan(path)
        except OSError as error:
            self.skipped.append(unreadable(error).at(own))
            return None
        if (first := self._first.setdefault(identity, own)) == own:
            self._listed += len(found)
            return found
        self._again[own] = first
        self._repeated += len(found)
        if self._repeated > max(MOST_REPEATED, self._listed):
            raise BadData(
                "links put the same folders into many classes or parts",
                where=path,
                expected=f"at most {MOST_REPEATED:,} files that are listed again",
                got=f"{plural(len(self._again), 'folder')}, such as {abridge(own)}, which is {abridge(first)}",
                remedy="remove these links",
            )
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """One line about the images that are listed several times, since links put their folder into several places."""
        if not self._images_again:
            return ()
        top = [
            f"{abridge(own)} is {abridge(first)}"
            for own, first in self._again.items()
            if posixpath.dirname(own) not in self._again
        ]
        listed = "is listed twice, once" if self._images_again == 1 else "are listed again,"
        return (f"folder: {plural(self._images_again, 'image')} {listed} through links: {few(top, 3)}",)


def list_images(folder: Path, skipped: list[Skipped]) -> list[Path]:
    """Return the images below a folder by name, through links, without hidden ones; what is passed over is added."""
    images = sorted(FolderWalk(skipped).images(folder, ""), key=lambda image: image[0].split("/"))
    return [Path(path) for _, path in images]


def list_folders(folder: Path, skipped: list[Skipped]) -> list[Path]:
    """Return a folder and all folders below it, each once; what is passed over is added to `skipped`."""
    return [path for _, path, _ in FolderWalk(skipped).folders(folder, "")]


def identify(folder: str | Path) -> Identity:
    """Return device and inode of a folder, or its path without links on a file system without inodes."""
    status = os.stat(folder)  # noqa: PTH116 - a Path for each of a million folders takes seconds
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(folder)


def _folders_around(folder: Path) -> dict[Identity, str]:
    """Return the folders above a folder, on its path and where links on that really lead."""
    paths = (Path(os.path.abspath(folder)), Path(os.path.realpath(folder)))  # noqa: PTH100 - links stay in the first
    around = {}
    for above in (parent for path in paths for parent in path.parents):
        with contextlib.suppress(OSError):
            around[identify(above)] = ""
    return around
