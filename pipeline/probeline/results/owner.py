"""Whose report a folder holds: two data sets of the same name, from different places, have reports of their own."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from probeline import disk
from probeline.errors import CannotWrite
from probeline.identity import digest, seal, unseal

FILE = ".owner"
"""In the folder of a report: where its data set is."""


def claim_folder(folder: Path, place: Path, *, read_only: bool) -> Path:
    """Return the folder for the reports of the data set at a place: `folder`, unless it is another data set's.

    A folder is another's as long as that data set exists where it was; with eight digits in its name the other folder
    is unique to the place. Without `read_only` the folder is made and notes its owner; one that is there without an
    owner, since an earlier version made it, stays as it is.
    """
    own = os.path.abspath(place)  # noqa: PTH100 - a link is a place of its own, whatever it leads to
    owner = _owner(folder)
    if owner not in (None, own) and Path(str(owner)).exists():
        return folder.with_name(f"{folder.name}-{digest(own)[:8]}")
    if owner != own and not read_only and (owner or not folder.exists()):
        with contextlib.suppress(CannotWrite):
            disk.make_folder(folder)
            disk.publish(folder / FILE, seal({"place": own}), replace=True)
    return folder


def _owner(folder: Path) -> str | None:
    try:
        record = unseal(disk.read(folder / FILE))
    except OSError:
        return None
    place = record.get("place") if record else None
    return place if isinstance(place, str) else None
