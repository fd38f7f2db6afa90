"""Whose report a folder holds: two data sets of the same name, from different places, have reports of their own."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from probeline import disk
from probeline.errors import CannotWrite
from probeline.files.decode import BadRecord, decode, encode
from probeline.files.reading import RECORD, read_bytes
from probeline.identity import digest, seal, unseal

FILE = ".owner"
"""In the folder of a report: where its data set is, as it was named and with its links followed."""


@dataclass(frozen=True)
class Owner:
    """Where the data set of a report is: as it was named, and with its links followed."""

    place: str
    real: str


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
    own = Owner(os.path.abspath(place), str(place.resolve()))  # noqa: PTH100 - links stay
    owner = _owner(folder)
    is_own = owner is not None and (owner.place == own.place or owner.real == own.real)
    if owner and not is_own and os.path.exists(owner.place):  # noqa: PTH110 - no error for a name that no file can have
        return folder.with_name(f"{folder.name}-{digest(own.place)[:8]}")
    if owner != own and not read_only and (owner or not folder.exists()):
        disk.check_no_links(folder / FILE, folder.parent)
        with contextlib.suppress(CannotWrite):
            disk.make_folder(folder)
            disk.publish(folder / FILE, seal(encode(own)), replace=True)
    return folder


def _owner(folder: Path) -> Owner | None:
    """Return what a folder notes of its owner; None if it notes nothing."""
    try:
        return decode(Owner, unseal(read_bytes(folder / FILE, RECORD)))
    except (OSError, BadRecord):
        return None
