"""Where the images of scores are from: what a command needs to score another net on the same ones."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from probeline.files.limits import Count, Name, Positive, Sha256
from probeline.options.groups.data import DataOptions
from probeline.results.store import RecordKind

_PATHS = ("data", "labels", "images", "groups")


@dataclass(frozen=True)
class Origin:
    """The options of a data set, by name, for the splits with this sha256.

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
