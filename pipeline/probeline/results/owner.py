"""Whose report a folder holds, and which options give its images.

Two data sets of the same name, from different places, have reports of their own.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from probeline import disk
from probeline.errors import CannotWrite
from probeline.files.decode import BadRecord, decode, encode
from probeline.files.limits import Count, Name, Positive, Sha256
from probeline.files.reading import RECORD, read_bytes
from probeline.identity import digest, seal, unseal
from probeline.options.groups.data import DataOptions
from probeline.results.store import RecordKind

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


_PATHS = ("data", "labels", "images", "groups")


@dataclass(frozen=True)
class Origin:
    """The options of a data set, by name, for the splits with this sha256: what scores another net on the same images.

    Paths are absolute, so that commands work in any folder of the same machine.
    """

    splits: Sha256
    dataset: Name
    data: Name
    limit: Positive | None = None
    strict: bool = False
    data_seed: Count = 0
    labels: Name | None = None
    columns: tuple[str, ...] = ()
    images: Name | None = None
    groups: Name | None = None

    @classmethod
    def of(cls, splits: str, options: DataOptions) -> Origin:
        """Return the origin of some splits of a data set."""
        source, colon, argument = options.dataset.partition(":")
        path = os.path.expanduser(argument)  # noqa: PTH111 - expanduser of Path raises for an unknown user
        if argument and os.path.exists(path):  # noqa: PTH110 - no error for a name that no file can have
            argument = _absolute(path)
        return cls(
            splits=splits,
            dataset=f"{source}{colon}{argument}",
            data=_absolute(options.data),
            limit=options.limit,
            strict=options.strict,
            data_seed=options.data_seed,
            labels=None if options.labels is None else _absolute(options.labels),
            columns=options.columns,
            images=None if options.images is None else _absolute(options.images),
            groups=None if options.groups is None else _absolute(options.groups),
        )

    @property
    def options(self) -> dict[str, Any]:
        """The options by name, as settings take them."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "splits"}
        return {name: Path(value) if name in _PATHS and value is not None else value for name, value in own.items()}


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - links stay


def _file_name(splits: str) -> str:
    return f".data/{splits[:12]}.json"


ORIGINS = RecordKind("origin", 1, Origin, _file_name, (".data/*.json",))
