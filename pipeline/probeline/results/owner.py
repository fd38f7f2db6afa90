"""Whose report a folder holds: two data sets of the same name, from different places, have reports of their own."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from probeline import disk
from probeline.errors import CannotWrite
from probeline.files.reading import RECORD, read_bytes
from probeline.identity import digest, seal, unseal

FILE = ".owner"
"""In the folder of a report: where its data set is, as it was named and with its links followed."""


def claim_folder(folder: Path, place: Path, *, read_only: bool) -> Path:
    """Return the folder for the reports of the data set at a place: `folder`, unless it is another data set's.

    A folder is another's as long as that data set exists where it was; with eight digits in its name the other folder
    is unique to the place. A link and what it leads to are one place. Without `read_only` the folder is made and notes
    its owner; an existing folder without an owner, made by an earlier version, stays as it is.

    Raises
    ------
    BadOption
        The folder or the note in it is a link.
    """
    own = {"place": os.path.abspath(place), "real": str(place.resolve())}  # noqa: PTH100 - links stay
    owner = _owner(folder)
    is_own = bool(owner) and (owner["place"] == own["place"] or owner["real"] == own["real"])
    if owner and not is_own and Path(owner["place"]).exists():
        return folder.with_name(f"{folder.name}-{digest(own['place'])[:8]}")
    if owner != own and not read_only and (owner or not folder.exists()):
        disk.check_no_links(folder / FILE, folder.parent)
        with contextlib.suppress(CannotWrite):
            disk.make_folder(folder)
            disk.publish(folder / FILE, seal(own), replace=True)
    return folder


def _owner(folder: Path) -> dict[str, str]:
    """Return what a folder notes of its owner; empty if it notes nothing."""
    try:
        record = unseal(read_bytes(folder / FILE, RECORD)) or {}
    except OSError:
        return {}
    is_whole = all(isinstance(record.get(name), str) for name in ("place", "real"))
    return {name: record[name] for name in ("place", "real")} if is_whole else {}
